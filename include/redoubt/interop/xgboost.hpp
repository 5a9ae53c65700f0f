#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "redoubt/core/shared.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

struct XgboostOptions {
  /// Only the trees up to `best_iteration`, which early stopping leaves in the file, as XGBoost's scikit-learn classes
  /// predict. false: all trees, as `Booster.predict` does. Without effect on files that name no best iteration.
  bool best_iteration = false;
};

/// Takes over a model that XGBoost saved as JSON or UBJ (`Booster.save_model`); the bytes decide which it is.
///
/// The forest routes every float32 row to the same leaves as XGBoost: `x < t` becomes `x <= the float below t`, missing
/// values take the default direction, categorical codes in a node's set go right, all others left. (One exception:
/// numbers between -1 and 0 in a categorical column, which XGBoost takes for invalid, count as code 0.) Scores differ
/// from XGBoost's float sums by float rounding. Outputs are those of `predict`, with the base score (a number or one
/// per output) taken out of the space of the outputs as the objective asks, and dart's tree weights multiplied in.
/// Node and leaf covers are sums of hessians, gains the loss changes.
///
/// Columns are numeric and named as in the file, else f0, f1, ...; categorical ones take codes as numbers. Binary
/// objectives that give a probability: classes "0" and "1"; multi:softprob and multi:softmax: probabilities of "0",
/// "1",
/// ... (softmax in XGBoost only names the largest); anything else: one value (binary:hinge 0 or 1, binary:logitraw and
/// rankers the score).
///
/// Errors: not_found and io_error of the file; corrupt naming file and byte offset or key; unsupported for gblinear,
/// leaves that are vectors (multi_strategy=multi_output_tree), unknown objectives. Nothing is trusted: sizes are
/// checked before memory is taken, nesting is bounded.
Model read_xgboost(const std::string& path, const XgboostOptions& options = {});
/// The same from memory; `origin` is the name in errors.
Model read_xgboost_bytes(std::span<const std::byte> bytes, const XgboostOptions& options = {},
                         std::string_view origin = "memory");
/// Only the forest, also where a Model cannot be made of it: several targets or quantiles. The leaves of a tree are
/// ordered by their node number in XGBoost.
Shared<const Forest> read_xgboost_forest(const std::string& path, const XgboostOptions& options = {});
Shared<const Forest> read_xgboost_forest_bytes(std::span<const std::byte> bytes, const XgboostOptions& options = {},
                                               std::string_view origin = "memory");

}  // namespace redoubt
