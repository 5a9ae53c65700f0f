#pragma once
#include <cstdint>

#include "redoubt/data/encoder.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {

struct LogisticRegressionOptions {
  /// Penalty, >= 0. scikit-learn's `C` is 1 / l2: its objective is sum of losses + 1/(2C) |w|^2.
  double l2 = 1.0;
  int max_iterations = 1000;  ///< accepted L-BFGS steps
  /// Stop when no entry of the scaled gradient is above this. The columns are scaled by the curvature of the
  /// objective, so an error of g costs about g^2 / 2 nats of the summed loss.
  double tolerance = 1e-6;
  std::uint64_t seed = 0;  ///< of the encoder's folds, if it target-encodes; the fit itself is not random
  EncoderOptions encoder = EncoderOptions::dense();
  ProgressSink* progress = nullptr;  ///< stage "iterations"
  Arena* arena = nullptr;            ///< null = the default arena
};

/// Logistic regression (two classes) and softmax regression (more): minimises
///   sum_i weight_i * -log p(y_i | x_i) + l2 / 2 |w|^2
/// by L-BFGS in double precision; intercepts are not penalised. Encoded inputs that are mostly zero (text) are
/// kept in sparse form. Equal to scikit-learn's LogisticRegression(C = 1 / l2) on the same inputs.
/// Reaching max_iterations is not an error; `ModelInfo::options` of the model says whether the fit converged.
/// The learned form is a `LinearForm`.
struct LogisticRegression {
  LogisticRegressionOptions options;

  /// Needs a categorical target of at least two classes. Throws Error(refused) on sealed data, Error(type_mismatch)
  /// without a categorical target, Error(invalid_argument) on bad options, missing labels, a single class, or
  /// inputs that stay missing after encoding.
  Model fit(const Dataset& data) const;
};

}  // namespace redoubt
