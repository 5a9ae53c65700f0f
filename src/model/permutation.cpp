#include "redoubt/model/permutation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/model/predictor.hpp"

namespace redoubt {
namespace {

/// Rows with a target, in the model's terms.
struct Truth {
  std::vector<std::size_t> rows;
  std::vector<std::int32_t> labels;
  std::vector<double> values, weights;
};

Truth truth_of(const Model& model, const Dataset& data) {
  Truth truth;
  const bool classify = model.task() == Task::classification;
  if (model.task() == Task::none || data.task() != model.task())
    detail::fail(errc::invalid_argument, fmt::format("permutation importance: the model's task is {}, the data's {}",
                                                     to_string(model.task()), to_string(data.task())));
  for (std::size_t r = 0; r < data.rows(); ++r) {
    if (classify) {
      if (data.labels()[r] < 0) continue;
      const std::string& name = data.classes()[static_cast<std::size_t>(data.labels()[r])];
      const auto at = std::find(model.classes().begin(), model.classes().end(), name);
      if (at == model.classes().end())
        detail::fail(errc::invalid_argument, fmt::format("row {} has the class \"{}\", which the model does not know",
                                                         data.row_ids()[r], name));
      truth.labels.push_back(static_cast<std::int32_t>(at - model.classes().begin()));
    } else {
      if (std::isnan(data.targets()[r])) continue;
      truth.values.push_back(data.targets()[r]);
    }
    truth.rows.push_back(r);
    if (!data.weights().empty()) truth.weights.push_back(data.weights()[r]);
  }
  if (truth.rows.empty()) detail::fail(errc::invalid_argument, "permutation importance: no row has a target");
  return truth;
}

bool smaller_is_better(const std::string& metric) {
  for (const char* name : {"log_loss", "brier", "calibration_error", "rmse", "mae"})
    if (metric == name) return true;
  return false;
}

}  // namespace

std::vector<ColumnImportance> permutation_importance(const Model& model, const Dataset& data,
                                                     function_ref<double(MatrixView<const float>)> score,
                                                     const PermutationOptions& options) {
  if (options.repeats < 1)
    detail::fail(errc::invalid_argument,
                 fmt::format("permutation importance: repeats is {}, must be at least 1", options.repeats));
  const Encoder& encoder = model.encoder();
  const Tensor<float> encoded = encoder.apply(data, options.arena);
  const std::size_t rows = encoded.rows(), width = encoded.cols();
  const auto predict = [&](MatrixView<const float> x) {
    Tensor<float> out({rows, model.predictor().outputs()});
    model.predictor().predict_batch(x, out, options.arena);
    return score(out);
  };
  const double whole = predict(encoded);
  const auto origins = encoder.origins();
  const std::size_t columns = encoder.schema().size(), repeats = static_cast<std::size_t>(options.repeats);
  std::vector<double> lost(columns * repeats);
  // Shuffling the encoded columns that came from a column is shuffling it: rows are encoded one by one.
  parallel_for(
      lost.size(), 1,
      [&](std::size_t begin, std::size_t end) {
        std::vector<std::uint32_t> order(rows);
        for (std::size_t task = begin; task < end; ++task) {
          Tensor<float> shuffled = encoded;
          std::iota(order.begin(), order.end(), 0u);
          Random(options.seed, task).shuffle(order);
          for (std::size_t c = 0; c < width; ++c)
            if (origins[c] == task / repeats)
              for (std::size_t r = 0; r < rows; ++r) shuffled(r, c) = encoded(order[r], c);
          lost[task] = whole - predict(shuffled);
        }
      },
      options.arena);
  std::vector<ColumnImportance> result;
  for (std::size_t c = 0; c < columns; ++c) {
    ColumnImportance importance{encoder.schema()[c].name};
    for (std::size_t i = 0; i < repeats; ++i) importance.value += lost[c * repeats + i];
    importance.value /= static_cast<double>(repeats);
    double squares = 0;
    for (std::size_t i = 0; i < repeats; ++i) squares += std::pow(lost[c * repeats + i] - importance.value, 2);
    if (repeats > 1) importance.deviation = std::sqrt(squares / static_cast<double>(repeats - 1));
    result.push_back(std::move(importance));
  }
  return result;
}

std::vector<ColumnImportance> permutation_importance(const Model& model, const Dataset& data, const std::string& metric,
                                                     const PermutationOptions& options) {
  const Truth truth = truth_of(model, data);
  const bool classify = model.task() == Task::classification;
  const std::string name = !metric.empty() ? metric : classify ? "log_loss" : "rmse";
  const double sign = smaller_is_better(name) ? -1 : 1;
  EvaluationOptions evaluation;
  evaluation.bootstrap.resamples = 0;
  const Dataset known = data.take(truth.rows);
  return permutation_importance(
      model, known,
      [&](MatrixView<const float> outputs) {
        if (classify)
          return sign * Evaluation::classification(model.classes(), truth.labels, outputs, truth.weights, evaluation)
                            .value(name);
        std::vector<double> predicted;
        for (std::size_t r = 0; r < outputs.rows(); ++r) predicted.push_back(outputs(r, 0));
        return sign * Evaluation::regression(truth.values, predicted, truth.weights, evaluation).value(name);
      },
      options);
}

}  // namespace redoubt
