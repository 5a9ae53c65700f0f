#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/target.hpp"

namespace redoubt {

class BinnedMatrix;

/// Defaults are those of LightGBM where it has the option.
struct GradientBoostingOptions {
  int trees = 100;             ///< rounds; with three classes or more each round grows one tree per class
  double learning_rate = 0.1;  ///< in (0, 1]
  int max_leaves = 31;         ///< per tree, 2 .. 65536
  int max_depth = 0;           ///< 0: unlimited
  int min_leaf_rows = 20;
  double min_leaf_hessian = 1e-3;
  double l2 = 0.0;                   ///< added to the hessian of every leaf
  double min_gain = 0.0;             ///< a split must gain more than this
  int max_bins = 255;                ///< per column, 2 .. 255
  double row_fraction = 1.0;         ///< rows drawn for each round, without replacement
  double column_fraction = 1.0;      ///< columns drawn for each tree
  int max_one_hot = 4;               ///< at most so many categories in a node: one against the rest; more: sorted
  double category_smoothing = 10.0;  ///< sorted categories: added to the hessian in the sort key
  double category_l2 = 10.0;         ///< sorted categories: added to l2
  int min_category_rows = 10;        ///< sorted categories: rarer ones go right
  int max_category_side = 32;        ///< sorted categories: most that go left
  /// > 0: stop after so many rounds without a lower loss on held-out rows, and keep the rounds up to the best.
  int early_stopping_rounds = 0;
  double validation_fraction = 0.1;  ///< held out when early stopping is on
  EncoderOptions encoder = EncoderOptions::for_trees();
  std::uint64_t seed = 0;
  ProgressSink* progress = nullptr;  ///< stage "trees"
  Arena* arena = nullptr;            ///< null: the default arena
};

/// Gradient-boosted decision trees on histograms, grown leaf by leaf (Friedman 2001; Ke et al., "LightGBM", NIPS'17).
/// Task regression: squared error; classification: logistic (two classes) or softmax loss. A missing value goes
/// the way that gains more; categories are split as sets, sorted by gradient (Fisher 1958). Gradients are summed as
/// integers, so the model bytes do not depend on the number of threads.
struct GradientBoosting {
  GradientBoostingOptions options;

  /// Learns from the feature columns, target and weights of `data`. Rows with a missing target are left out.
  /// Error(invalid_argument) names an option outside its range; Error(refused) if the data is sealed.
  Model fit(const Dataset& data) const;

  /// The same on encoded rows (`Encoder::apply` and `category_counts`), without encoding and wrapping. The encoder
  /// options are not used. For callers that train often: cross-validation, data checks, tuning.
  Shared<const Forest> fit_encoded(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
                                   const TreeTarget& y) const;
  /// The same on the listed rows (distinct, any order; empty: all) of an already binned matrix. `max_bins` is not used.
  Shared<const Forest> fit_binned(const BinnedMatrix& x, const TreeTarget& y,
                                  std::span<const std::uint32_t> rows = {}) const;
};

}  // namespace redoubt
