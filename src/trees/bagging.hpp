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

/// Of RandomForestOptions or ExtraTreesOptions.
template <class Options>
BaggingOptions bagging_options(const Options& o, const char* estimator, bool random_cuts, double automatic_columns) {
  return {.estimator = estimator,
          .random_cuts = random_cuts,
          .automatic_columns = automatic_columns,
          .trees = o.trees,
          .max_depth = o.max_depth,
          .max_leaves = o.max_leaves,
          .min_leaf_rows = o.min_leaf_rows,
          .min_split_gain = o.min_split_gain,
          .max_features = o.max_features,
          .bootstrap = o.bootstrap,
          .max_bins = o.max_bins,
          .class_weights = o.class_weights,
          .seed = o.seed,
          .progress = o.progress,
          .arena = o.arena};
}

/// Throws Error(invalid_argument) naming estimator, option and value.
void check_bagging(const BaggingOptions& options);

/// As `RandomForest::fit_binned`.
RandomForestFit fit_bagging(const BaggingOptions& options, const BinnedMatrix& x, const TreeTarget& y,
                            std::span<const std::uint32_t> rows, bool with_oob);
/// As `RandomForest::fit_encoded`.
RandomForestFit fit_bagging(const BaggingOptions& options, MatrixView<const float> x,
                            std::span<const std::uint32_t> category_counts, const TreeTarget& y, bool with_oob);
/// As `RandomForest::fit_sparse`.
RandomForestFit fit_bagging(const BaggingOptions& options, const CsrView& x,
                            std::span<const std::uint32_t> category_counts, const TreeTarget& y, bool with_oob);
/// As `RandomForest::fit`; `algorithm` is the name in the model.
Model fit_bagging(const BaggingOptions& options, const char* algorithm, const EncoderOptions& encoding,
                  const Dataset& data);

}  // namespace redoubt::detail
