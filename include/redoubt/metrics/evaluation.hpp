#pragma once
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/data/schema.hpp"
#include "redoubt/metrics/bootstrap.hpp"
#include "redoubt/metrics/classification.hpp"
#include "redoubt/metrics/ranking.hpp"

namespace redoubt {

/// How an evaluation is made.
struct EvaluationOptions {
  BootstrapOptions bootstrap;  ///< `resamples = 0` leaves the intervals out
  int reliability_bins = 15;   ///< equal-width bins of the calibration error
};

/// How good predictions were: every metric of the task by name, most with an interval.
///
/// Classification: accuracy, log_loss, brier, calibration_error, roc_auc, pr_auc, f1_macro, and per class
/// "precision.NAME", "recall.NAME", "f1.NAME". For two classes the last is the positive one: roc_auc, pr_auc and
/// brier are about it, and "precision", "recall", "f1" are its; brier is then the mean square of (probability -
/// truth). For more classes roc_auc and pr_auc are the mean over classes of one against the rest, and brier sums the
/// squares over the classes. Where only one class occurs roc_auc is NaN.
/// Regression: rmse, mae, r2 (NaN if the truth is constant).
/// Value type. Building one is deterministic at any thread count.
class Evaluation {
 public:
  Evaluation() = default;

  /// truth: codes into `classes`, none missing; probabilities: truth.size() x classes.size(); weights: empty or one
  /// per row. Throws Error(shape_mismatch) or Error(invalid_argument) with the row that is wrong.
  static Evaluation classification(std::vector<std::string> classes, std::span<const std::int32_t> truth,
                                   MatrixView<const float> probabilities, std::span<const double> weights = {},
                                   const EvaluationOptions& options = {}, Arena* arena = nullptr);
  static Evaluation regression(std::span<const double> truth, std::span<const double> predicted,
                               std::span<const double> weights = {}, const EvaluationOptions& options = {},
                               Arena* arena = nullptr);

  Task task() const noexcept { return task_; }
  std::size_t rows() const noexcept { return rows_; }
  const std::vector<std::string>& classes() const noexcept { return classes_; }

  std::vector<std::string> names() const;  ///< of all metrics, sorted
  bool has(std::string_view name) const noexcept { return values_.find(name) != values_.end(); }
  /// Error(not_found) lists the names that exist.
  double value(std::string_view name) const;
  /// Bootstrap percentile interval; Error(not_found) for a metric without one (see `has_interval`).
  Interval interval(std::string_view name) const;
  bool has_interval(std::string_view name) const noexcept { return intervals_.find(name) != intervals_.end(); }
  double level() const noexcept { return level_; }  ///< of the intervals, 0.95 by default

  // --- classification only, empty otherwise ---------------------------------------------------------
  const Confusion& confusion() const noexcept { return confusion_; }
  /// Bins of the calibration of the predicted class's probability (two classes: of the positive class).
  const std::vector<ReliabilityBin>& reliability() const noexcept { return reliability_; }
  /// Two classes only: the ROC curve, thinned to at most 500 points.
  const std::vector<RocPoint>& roc() const noexcept { return roc_; }

  /// One JSON object, keys sorted; NaN becomes null.
  std::string to_json() const;

 private:
  Task task_ = Task::none;
  std::size_t rows_ = 0;
  double level_ = 0;
  std::vector<std::string> classes_;
  std::map<std::string, double, std::less<>> values_;
  std::map<std::string, Interval, std::less<>> intervals_;
  Confusion confusion_;
  std::vector<ReliabilityBin> reliability_;
  std::vector<RocPoint> roc_;
};

/// A readable table: metrics with intervals, then the confusion matrix.
std::ostream& operator<<(std::ostream& stream, const Evaluation& evaluation);

}  // namespace redoubt
