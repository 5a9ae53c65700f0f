#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/trees/target.hpp"

namespace redoubt {

/// Names for `GradientBoostingOptions::metrics`. Weighted means over rows; where it says so, more is better.
///   numbers:  l2, rmse, l1, huber, quantile, poisson (p - y log p), gamma (y/p + log p), tweedie
///   classes:  log_loss, error, auc and average_precision (more is better; several classes: mean of one against all)
///   queries:  ndcg@K (gains 2^y - 1), map@K (relevant: y > 0), unweighted means over queries, more is better; a query
///             without a relevant row counts 1
/// huber, quantile and tweedie take the parameter of the loss of that name. Definitions as in LightGBM.
std::vector<std::string> boosting_metrics();
/// Whether more is better. Error(invalid_argument) for a name that is none of the above lists them.
bool higher_is_better(std::string_view metric);

/// A metric of the user's own. Called from one thread at a time; an exception ends the fit and is passed on.
class CustomMetric {
 public:
  virtual ~CustomMetric() = default;
  virtual std::string name() const = 0;
  virtual bool higher_is_better() const { return false; }
  /// `rows`: those to judge. `scores`: outputs x rows of the target, before the link.
  virtual double evaluate(const TreeTarget& target, std::span<const std::uint32_t> rows,
                          MatrixView<const float> scores) const = 0;
};

}  // namespace redoubt
