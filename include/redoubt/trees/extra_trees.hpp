#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/random_forest.hpp"
#include "redoubt/trees/target.hpp"

namespace redoubt {

class BinnedMatrix;
struct CsrView;

struct ExtraTreesOptions {
  int trees = 100;
  int max_depth = 0;      ///< 0: unlimited
  int max_leaves = 0;     ///< per tree: the best splits first; 0: unlimited
  int min_leaf_rows = 1;  ///< distinct rows
  /// A split must lower the impurity (Gini, variance) times the weight of the node by so much.
  double min_split_gain = 0;
  /// Share of the columns tried at each node, (0, 1]; 0: the square root of their number to classify, all for values.
  double max_features = 0;
  bool bootstrap = false;  ///< each tree sees as many rows as there are, drawn with replacement; else all
  int max_bins = 255;      ///< per column, 2 .. 255
  /// Factor of the weight of the rows of each class; empty: 1. Error(shape_mismatch) for another number of classes.
  std::vector<double> class_weights;
  EncoderOptions encoder = EncoderOptions::for_trees();
  std::uint64_t seed = 0;
  ProgressSink* progress = nullptr;  ///< stage "trees"
  Arena* arena = nullptr;            ///< null: the default arena
};

/// Extremely randomised trees (Geurts, Ernst, Wehenkel 2006) on binned columns: at each node one random cut per column
/// tried, each bin border within the node as likely; a random subset for a categorical column. The best of these cuts,
/// by Gini impurity or variance, is taken. Missing values go to the better side. Otherwise as RandomForest.
struct ExtraTrees {
  ExtraTreesOptions options;

  /// As `GradientBoosting::fit`.
  Model fit(const Dataset& data) const;
  /// As `RandomForest::fit_encoded`. Without bootstrap there is no out-of-bag result but for rows that are not used.
  RandomForestFit fit_encoded(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
                              const TreeTarget& y, bool with_oob = false) const;
  /// As `RandomForest::fit_binned`.
  RandomForestFit fit_binned(const BinnedMatrix& x, const TreeTarget& y, std::span<const std::uint32_t> rows = {},
                             bool with_oob = false) const;
  /// As `RandomForest::fit_sparse`.
  RandomForestFit fit_sparse(const CsrView& x, std::span<const std::uint32_t> category_counts, const TreeTarget& y,
                             bool with_oob = false) const;
};

}  // namespace redoubt
