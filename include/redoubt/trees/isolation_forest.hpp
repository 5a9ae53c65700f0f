#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {

struct IsolationForestOptions {
  int trees = 100;
  int subsample = 256;      ///< rows per tree, drawn without replacement; at least 2
  double max_features = 1;  ///< share of the columns that a tree may split, drawn per tree; (0, 1]
  bool bootstrap = false;   ///< draw the rows with replacement
  EncoderOptions encoder = EncoderOptions::for_trees();
  std::uint64_t seed = 0;
  ProgressSink* progress = nullptr;  ///< stage "trees"
  Arena* arena = nullptr;            ///< null: the default arena
};

/// Isolation forest (Liu, Ting, Zhou, ICDM'08): outliers are cut off by fewer random splits. The model's one output
/// is the anomaly score 2^(-E[h] / c(subsample)) in (0, 1): about 0.5 is ordinary, towards 1 is an outlier.
/// Learns from the feature columns only; a target is neither needed nor looked at.
struct IsolationForest {
  IsolationForestOptions options;

  /// `Model::predict_proba(data)` gives the scores, rows x 1.
  Model fit(const Dataset& data) const;
  /// On encoded rows; see GradientBoosting::fit_encoded.
  Shared<const Forest> fit_encoded(MatrixView<const float> x,
                                   std::span<const std::uint32_t> category_counts = {}) const;

  /// The score above which a share `contamination` of `scores` (of the training rows, say) lies: rows above it are
  /// labelled outliers. Interpolated between two scores as numpy.percentile and PyOD do. Error(invalid_argument) for no
  /// scores or a share outside (0, 0.5].
  static float threshold(std::span<const float> scores, double contamination);
};

}  // namespace redoubt
