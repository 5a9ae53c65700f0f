#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace redoubt {

/// What a model must reach before it may be published; kept in a JSON file beside the application:
/// `{"target": "genuine", "metric": "roc_auc", "threshold": 0.9, "latency_budget_us": 500}`.
struct Goal {
  std::string target;    ///< name of the target column. Required
  std::string metric;    ///< a name of Evaluation: "roc_auc", "recall.fraud", "rmse", ... Required
  double threshold = 0;  ///< to be reached: at least this, or at most for an error such as log_loss or rmse. Required
  double latency_budget_us = 0;  ///< one prediction may take this many microseconds; 0: no budget
  double max_regression = 0;     ///< how much worse than the champion is still accepted, in units of the metric
  double max_canary_flips = -1;  ///< largest share of the champion's confident right answers that may be lost; < 0: off
  std::vector<std::string> slices;    ///< categorical columns; the metric is checked for each of their values
  double min_slice = 0;               ///< threshold of the metric within each slice
  std::uint64_t min_slice_rows = 50;  ///< smaller slices are not judged

  bool operator==(const Goal&) const = default;

  /// Error(parse_error) with `origin`, line and column for broken JSON, an unknown or repeated key, a missing required
  /// key, or a value of the wrong type or range.
  static Goal from_json(std::string_view text, std::string_view origin = "goal");
  /// Error(not_found) if there is no such file.
  static Goal read(const std::string& path);
  std::string to_json() const;
};

/// Whether larger values of a metric are worse: log_loss, brier, calibration_error, rmse, mae.
bool lower_is_better(std::string_view metric) noexcept;

}  // namespace redoubt
