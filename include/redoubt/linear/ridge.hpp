#pragma once
#include <cstdint>

#include "redoubt/data/encoder.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {

struct RidgeOptions {
  double l2 = 1.0;         ///< penalty, >= 0; scikit-learn's `alpha`
  std::uint64_t seed = 0;  ///< of the encoder's folds, if it target-encodes; the fit itself is not random
  EncoderOptions encoder = EncoderOptions::dense();
  Arena* arena = nullptr;  ///< null = the default arena
};

/// Linear regression with an l2 penalty: minimises
///   sum_i weight_i (y_i - x_i w - b)^2 + l2 |w|^2
/// over the encoded inputs x; the intercept b is not penalised. Up to 1024 encoded columns it is solved in closed form
/// (Cholesky of the centred Gram matrix in double precision, a rank-revealing factorisation where that fails, which
/// happens only for l2 = 0); wider inputs by L-BFGS to a relative gradient of 1e-9.
/// Equal to scikit-learn's Ridge(alpha = l2) on the same inputs. The learned form is a `LinearForm`.
struct Ridge {
  RidgeOptions options;

  /// Needs a numeric target. Throws Error(refused) on sealed data, Error(type_mismatch) without a numeric target,
  /// Error(invalid_argument) on bad options, missing targets or inputs that stay missing after encoding.
  Model fit(const Dataset& data) const;
};

}  // namespace redoubt
