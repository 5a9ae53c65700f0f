#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/metrics/classification.hpp"

// What one row contributes to a metric, computed once and then weighted many times by the bootstrap.
namespace redoubt::detail {

/// -ln p(true class), as log_loss defines it.
std::vector<double> log_losses(std::span<const std::int32_t> truth, MatrixView<const double> probabilities);
/// Squared distance to the truth, two classes (positive class only) or summed over all.
std::vector<double> brier_rows(std::span<const std::int32_t> truth, std::span<const double> positive);
std::vector<double> brier_rows(std::span<const std::int32_t> truth, MatrixView<const double> probabilities);
/// Index of the reliability bin of each probability.
std::vector<std::uint32_t> bin_rows(std::span<const double> probability, std::size_t bins);
std::vector<ReliabilityBin> fill_bins(std::span<const std::int32_t> event, std::span<const double> probability,
                                      std::span<const std::uint32_t> bin_of, std::size_t bins,
                                      std::span<const double> weights);

/// Rows by falling score, with marks at the end of each run of equal scores.
class ScoreOrder {
 public:
  explicit ScoreOrder(std::span<const double> score);  ///< Error(invalid_argument) naming a row whose score is NaN

  /// Calls visit(positive weight, negative weight, row) for each run of equal scores; row is one of the run.
  template <class IsPositive, class Visit>
  void for_each_run(IsPositive is_positive, std::span<const double> weights, Visit visit) const {
    double positive = 0, negative = 0;
    for (std::size_t i = 0; i < order_.size(); ++i) {
      const std::size_t row = order_[i];
      (is_positive(row) ? positive : negative) += weights.empty() ? 1.0 : weights[row];
      if (!ends_run_[i]) continue;
      visit(positive, negative, row);
      positive = negative = 0;
    }
  }
  /// `label` counts as positive, every other code as negative.
  double roc_auc(std::span<const std::int32_t> truth, std::int32_t label, std::span<const double> weights) const;
  double pr_auc(std::span<const std::int32_t> truth, std::int32_t label, std::span<const double> weights) const;

 private:
  std::vector<std::uint32_t> order_;
  std::vector<std::uint8_t> ends_run_;
};

}  // namespace redoubt::detail
