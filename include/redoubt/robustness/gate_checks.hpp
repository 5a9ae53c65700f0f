#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

// Checks of a candidate on a frozen set before it is published. Metrics are those of Evaluation by name; an empty name
// is roc_auc for classification and rmse for regression. Rows without a target do not count.

/// The candidate reaches a metric. Error(not_found) for an unknown metric lists the known ones.
struct MetricThreshold {
  static constexpr std::string_view id = "metric_threshold";
  static constexpr Stage stage = Stage::gate;
  static constexpr Need needs = Need::probabilities;

  std::string metric;
  double threshold = 0.5;  ///< at least this; at most this for log_loss, brier, calibration_error, rmse and mae

  void update(const Batch& batch);
  void merge(const MetricThreshold& other);
  Verdict finish() const;  ///< score: the metric

  // What was seen so far; no options. Public so that the check stays an aggregate.
  Dataset data_;
  std::vector<float> outputs_;
};

/// The candidate is not worse than the champion, overall and in every slice.
struct ChampionChallenger {
  static constexpr std::string_view id = "champion_challenger";
  static constexpr Stage stage = Stage::gate;
  static constexpr Need needs = Need::probabilities | Need::reference;

  std::string metric;
  std::string slice_metric;         ///< empty: accuracy or mae
  std::vector<std::string> slices;  ///< categorical columns, each category is a slice; empty: overall only
  double max_loss =
      0.01;  ///< worsening that is tolerated overall; for errors (rmse, log_loss) relative to the champion
  double max_slice_loss = 0.05;     ///< the same in a slice
  std::size_t min_slice_rows = 50;  ///< smaller slices say too little

  void update(const Batch& batch);
  void merge(const ChampionChallenger& other);
  Verdict finish() const;  ///< score: the largest worsening beyond what is tolerated; findings: the slices

  // What was seen so far; no options. Public so that the check stays an aggregate.
  Dataset data_;
  std::vector<float> outputs_, reference_;
};

/// Cases that the champion got right with confidence do not flip (MLSEC-10: "low-entropy classification cases").
struct CanaryFlips {
  static constexpr std::string_view id = "canary_flips";
  static constexpr Stage stage = Stage::gate;
  static constexpr Need needs = Need::labels | Need::probabilities | Need::reference;

  double confidence = 0.95;       ///< of the champion in the true class, in (0.5, 1]
  double max_flips = 0.01;        ///< share of the canaries that may change class, in [0, 1]
  std::size_t min_canaries = 20;  ///< abstains with fewer

  void update(const Batch& batch);
  void merge(const CanaryFlips& other);
  Verdict finish() const;  ///< score: share that flipped; findings: the rows

  // What was seen so far; no options. Public so that the check stays an aggregate.
  std::size_t canaries_ = 0;
  std::vector<Finding> flips_;
};

/// Runs gate checks on a candidate. `champion` may be null: checks that compare abstain. Classes are matched by name.
/// Leaf ids are offered for tree models. Error(type_mismatch) if a model and the data have different tasks.
std::vector<Verdict> run_gate_checks(const Model& candidate, const Model* champion, const Dataset& frozen,
                                     std::span<const AnyCheck> checks, Arena* arena = nullptr);

}  // namespace redoubt
