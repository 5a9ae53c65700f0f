#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/target.hpp"

namespace redoubt {

class BinnedMatrix;
struct CsrView;

struct RandomForestOptions {
  int trees = 100;
  int max_depth = 0;      ///< 0: unlimited
  int max_leaves = 0;     ///< per tree: the best splits first; 0: unlimited
  int min_leaf_rows = 1;  ///< distinct rows
  /// A split must lower the impurity (Gini, variance) times the weight of the node by so much.
  double min_split_gain = 0;
  /// Share of the columns tried at each node, (0, 1]; 0: the square root of their number to classify, a third for
  /// values.
  double max_features = 0;
  bool bootstrap = true;  ///< each tree sees as many rows as there are, drawn with replacement
  int max_bins = 255;     ///< per column, 2 .. 255
  /// Factor of the weight of the rows of each class; empty: 1. Error(shape_mismatch) for another number of classes.
  std::vector<double> class_weights;
  EncoderOptions encoder = EncoderOptions::for_trees();
  std::uint64_t seed = 0;
  ProgressSink* progress = nullptr;  ///< stage "trees"
  Arena* arena = nullptr;            ///< null: the default arena
};

/// A forest and what its trees say about the rows that they did not see: honest predictions without a second fit.
struct RandomForestFit {
  Shared<const Forest> forest;
  /// rows x outputs: mean over the trees that did not see the row; NaN where oob_counts is 0.
  Tensor<float> oob_proba;
  std::vector<std::uint32_t> oob_counts;  ///< per row: trees that did not see it
  /// Classification, per row: share of those trees whose most probable class is the row's label (Data-OOB:
  /// Kwon and Zou, ICML'23); NaN where oob_counts is 0 or the label is missing. Empty for regression.
  std::vector<float> oob_correct;
};

/// Random forest (Breiman 2001) on binned columns: bootstrap rows, random columns at each node, Gini impurity or
/// variance. Leaves hold class probabilities or the mean.
struct RandomForest {
  RandomForestOptions options;

  /// As `GradientBoosting::fit`.
  Model fit(const Dataset& data) const;
  /// On encoded rows; `with_oob`: also the out-of-bag results.
  RandomForestFit fit_encoded(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
                              const TreeTarget& y, bool with_oob = true) const;
  /// On the listed rows (distinct; empty: all) of a binned matrix; out-of-bag results are for all its rows, and
  /// rows that are not listed are out of every bag.
  RandomForestFit fit_binned(const BinnedMatrix& x, const TreeTarget& y, std::span<const std::uint32_t> rows = {},
                             bool with_oob = true) const;
  /// On a sparse matrix (see `predict_sparse`). While it fits, a cell takes one byte, so Error(unsupported) above 2^33
  /// cells; the same forest as of the dense matrix cut into the same bins.
  RandomForestFit fit_sparse(const CsrView& x, std::span<const std::uint32_t> category_counts, const TreeTarget& y,
                             bool with_oob = true) const;
};

}  // namespace redoubt
