#pragma once
// The engine of RandomForest and ExtraTrees: many deep trees on the same bins, one tree per thread.
#include <cstdint>
#include <span>

#include "redoubt/trees/random_forest.hpp"

namespace redoubt::detail {

struct BaggingOptions {
  const char* estimator;
  bool random_cuts;          ///< one random cut per column and node, not the best
  double automatic_columns;  ///< share of the columns for max_features = 0; 0: their square root
  int trees, max_depth, max_leaves, min_leaf_rows;
  double min_split_gain, max_features;
  bool bootstrap;
  int max_bins;
  std::span<const double> class_weights;
  std::uint64_t seed;
  ProgressSink* progress;
  Arena* arena;
};

/// Throws Error(invalid_argument) naming estimator, option and value.
void check_bagging(const BaggingOptions& options);

/// As `RandomForest::fit_binned`.
RandomForestFit fit_bagging(const BaggingOptions& options, const BinnedMatrix& x, const TreeTarget& y,
                            std::span<const std::uint32_t> rows, bool with_oob);

}  // namespace redoubt::detail
