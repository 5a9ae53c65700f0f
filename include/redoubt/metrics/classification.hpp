#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"

namespace redoubt {

// Everywhere: `truth` and `predicted` are class codes 0..classes-1; `weights` is empty (all ones) or has one
// non-negative finite weight per row. Sizes are checked: Error(shape_mismatch) names both; a code or number outside its
// range is Error(invalid_argument) naming the row. Zero rows, or a total weight of zero, are Error(invalid_argument).

/// Weighted counts of (true class, predicted class).
struct Confusion {
  std::size_t classes = 0;
  std::vector<double> counts;  ///< classes x classes, row = truth, column = prediction

  double operator()(std::size_t truth, std::size_t predicted) const noexcept {
    return counts[truth * classes + predicted];
  }
  double total() const noexcept;
  double accuracy() const noexcept;
  /// 0 where the class was never predicted (precision), never true (recall), or both (f1).
  double precision(std::size_t label) const noexcept;
  double recall(std::size_t label) const noexcept;
  double f1(std::size_t label) const noexcept;
  double f1_macro() const noexcept;  ///< mean over the classes that occur in truth or prediction
  bool operator==(const Confusion&) const = default;
};

Confusion confusion(std::span<const std::int32_t> truth, std::span<const std::int32_t> predicted, std::size_t classes,
                    std::span<const double> weights = {});
double accuracy(std::span<const std::int32_t> truth, std::span<const std::int32_t> predicted,
                std::span<const double> weights = {});

/// Most probable class per row; the first of equals.
std::vector<std::int32_t> most_probable(MatrixView<const double> probabilities);
std::vector<std::int32_t> most_probable(MatrixView<const float> probabilities);

/// Mean of -ln p(true class), with p clipped to [eps, 1 - eps], eps = 2^-52: one confident mistake costs 36 and not
/// infinity. Rows are taken as they are, not scaled to sum to 1.
double log_loss(std::span<const std::int32_t> truth, MatrixView<const double> probabilities,
                std::span<const double> weights = {});
/// Two classes: mean (p - y)^2 of the positive class (G. Brier, 1950, halved as is usual for two classes).
double brier(std::span<const std::int32_t> truth, std::span<const double> positive,
             std::span<const double> weights = {});
/// Any number of classes: mean over rows of the squares summed over classes, in [0, 2].
double brier(std::span<const std::int32_t> truth, MatrixView<const double> probabilities,
             std::span<const double> weights = {});

/// One equal-width bin [low, high) of predicted probability; the last includes 1.
struct ReliabilityBin {
  double low = 0, high = 0;
  double weight = 0;     ///< of the rows that fall in it
  double predicted = 0;  ///< their mean probability; 0 if empty
  double observed = 0;   ///< share of them for which the event came true; 0 if empty
  bool operator==(const ReliabilityBin&) const = default;
};

/// `event[i]` (0 or 1) against its predicted probability.
std::vector<ReliabilityBin> reliability(std::span<const std::int32_t> event, std::span<const double> probability,
                                        std::size_t bins = 15, std::span<const double> weights = {});
/// Expected calibration error: weighted mean of |observed - predicted| over the bins (Naeini et al., AAAI 2015).
double calibration_error(std::span<const ReliabilityBin> bins) noexcept;

}  // namespace redoubt
