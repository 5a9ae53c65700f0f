#include "redoubt/trees/importance.hpp"

#include <fmt/format.h>

#include "redoubt/core/error.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/trees/forest.hpp"

namespace redoubt {

std::vector<double> importance(const Forest& forest, Importance kind) {
  const ForestArrays& arrays = forest.arrays();
  std::vector<double> sums(forest.inputs());
  for (std::size_t i = 0; i < arrays.feature.size(); ++i)
    sums[arrays.feature[i]] += kind == Importance::gain    ? arrays.gain[i]
                               : kind == Importance::cover ? arrays.cover[i]
                                                           : 1;
  return sums;
}

std::vector<ColumnImportance> importance(const Model& model, Importance kind) {
  const auto* forest = dynamic_cast<const Forest*>(&model.predictor());
  if (!forest)
    detail::fail(errc::unsupported, fmt::format("importance: a model of form '{}' has no trees; permutation_importance "
                                                "works on any model",
                                                model.predictor().form()));
  const Encoder& encoder = model.encoder();
  std::vector<ColumnImportance> result(encoder.schema().size());
  for (std::size_t c = 0; c < result.size(); ++c) result[c].column = encoder.schema()[c].name;
  const auto origins = encoder.origins();
  const std::vector<double> encoded = importance(*forest, kind);
  for (std::size_t c = 0; c < encoded.size(); ++c) result[origins[c]].value += encoded[c];
  return result;
}

}  // namespace redoubt
