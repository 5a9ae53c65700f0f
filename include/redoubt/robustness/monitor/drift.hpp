#pragma once
#include <cstdint>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

struct DriftOptions {
  Dataset reference;           ///< rows of the time before, with the same columns
  double significance = 1e-3;  ///< chance of any false alarm over all comparisons of a verdict (Holm), in (0, 1)
  double min_distance = 0.05;  ///< and a distribution must have moved so far, in [0, 1): large data show any trifle
  bool relation = true;        ///< also whether labels still follow from features: trains a model on half the reference
  int trees = 50;              ///< of that model
  std::uint64_t seed = 0;
};

/// Batch against batch: has something about new rows changed? Compares the distribution of every feature and of the
/// target (numbers: Kolmogorov-Smirnov; categories and missing values: chi-square, distance = total variation), and, as
/// labels given features, the losses of a model of the reference on reference rows that it did not see and on the new
/// ones. Columns are matched by name, categories too; texts, and columns that only one side has, are not compared. The
/// world changes as well as attackers: it warns and never blocks. A finding names no row; its score is the distance.
struct Drift {
  static constexpr std::string_view id = "drift";
  static constexpr Stage stage = Stage::ingest;
  static constexpr Need needs = Need::none;

  DriftOptions options;

  void update(const Batch& batch);
  void merge(const Drift& other);
  /// Abstains with fewer than 20 rows on either side. Error(invalid_argument) naming the option.
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  Dataset data_;
};

}  // namespace redoubt
