#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {

/// How much one column of the data matters to a model.
struct ColumnImportance {
  std::string column;
  double value = 0;
  double deviation = 0;  ///< standard deviation over repeats; 0 where nothing is repeated
};

struct PermutationOptions {
  int repeats = 5;         ///< permutations of each column, at least 1
  std::uint64_t seed = 0;  ///< of the permutations
  Arena* arena = nullptr;
};

/// Permutation importance (Breiman 2001) of any model: how much worse a metric gets on `data` when the values of one
/// feature column are shuffled over the rows, mean over `repeats`. One entry per feature column, in the order of
/// `model.schema()`. Correlated columns share what they know: shuffling one of them alone may cost little.
///
/// `metric` is a name of `Evaluation`; "" means log_loss for classification, rmse for regression. Positive values mean
/// that the column helps, whichever direction the metric has. Rows without a target are left out. Deterministic by
/// seed at any thread count; holds one copy of the encoded rows per thread.
/// Error(not_found) for an unknown metric, Error(invalid_argument) for bad options or classes the model does not know.
std::vector<ColumnImportance> permutation_importance(const Model& model, const Dataset& data,
                                                     const std::string& metric = "",
                                                     const PermutationOptions& options = {});

/// The same for a metric of one's own: `score(outputs)` of the rows x outputs() predictions for `data`, more is better.
/// Called from several threads at a time.
std::vector<ColumnImportance> permutation_importance(const Model& model, const Dataset& data,
                                                     function_ref<double(MatrixView<const float> outputs)> score,
                                                     const PermutationOptions& options = {});

}  // namespace redoubt
