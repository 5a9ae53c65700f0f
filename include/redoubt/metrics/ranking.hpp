#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"

namespace redoubt {

// `truth` holds 0 (negative) or 1 (positive), `score` is larger for rows that look positive; equal scores count as
// equal. `weights`, sizes and errors as in classification.hpp; a score that is NaN is Error(invalid_argument).

/// Area under the ROC curve = P(score of a positive > of a negative) + P(equal) / 2. NaN if a class is absent.
double roc_auc(std::span<const std::int32_t> truth, std::span<const double> score,
               std::span<const double> weights = {});
/// Mean over the classes of one class against the rest; truth are class codes, scores rows x classes. NaN if a class
/// is absent.
double roc_auc(std::span<const std::int32_t> truth, MatrixView<const double> score,
               std::span<const double> weights = {});

/// Average precision: sum over thresholds of (recall step) x precision, without interpolation. NaN without positives.
double pr_auc(std::span<const std::int32_t> truth, std::span<const double> score, std::span<const double> weights = {});
/// Mean over the classes of one class against the rest. NaN if a class is absent.
double pr_auc(std::span<const std::int32_t> truth, MatrixView<const double> score,
              std::span<const double> weights = {});

/// One corner of the ROC curve: rates when every score >= threshold is called positive.
struct RocPoint {
  double false_positive_rate = 0, true_positive_rate = 0;
  double threshold = 0;  ///< +infinity at the origin
  bool operator==(const RocPoint&) const = default;
};

/// From (0, 0) to (1, 1); corners on a straight line are left out. Empty if a class is absent.
std::vector<RocPoint> roc_curve(std::span<const std::int32_t> truth, std::span<const double> score,
                                std::span<const double> weights = {});

}  // namespace redoubt
