#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

// How unusual each row of `x` is among the rows: one score per row, larger is more unusual, on a scale of its own.
// Deterministic at any thread count. All throw Error(invalid_argument) that names the first row and column that is NaN
// or infinite, or an option out of range with its range. No rows: no scores. arena = null: the default one.
// ECOD, HBOS and the robust distance do not depend on the units of the columns; the others do: scale first.

/// Empirical cumulative distributions (Li et al., "ECOD", TKDE 2022): per column -log of the share of rows that are as
/// far out in the tail, of the longer tail at least; summed over the columns. No options. O(rows * cols).
std::vector<double> ecod_scores(MatrixView<const float> x, Arena* arena = nullptr);

struct HbosOptions {
  int bins = 10;       ///< of equal width per column, in [2, 256]
  double alpha = 0.1;  ///< added to each density, in (0, 1]: bounds what one column can say
  Arena* arena = nullptr;
};
/// Histograms (Goldstein and Dengel, "HBOS", KI 2012): minus the sum over the columns of log2(density + alpha).
/// O(rows * cols).
std::vector<double> hbos_scores(MatrixView<const float> x, const HbosOptions& options = {});

/// Distance to the k-th nearest other row (Ramaswamy, Rastogi, Shim, SIGMOD 2000). k in [1, rows - 1].
std::vector<double> knn_scores(MatrixView<const float> x, std::size_t k = 5, Arena* arena = nullptr);

/// Local outlier factor (Breunig et al., SIGMOD 2000): density of the k nearest other rows over the row's own, about 1
/// inside a cluster of any density. k in [1, rows - 1].
std::vector<double> lof_scores(MatrixView<const float> x, std::size_t k = 20, Arena* arena = nullptr);

struct RobustDistanceOptions {
  double support = 0;  ///< share of the rows that are taken to be clean, in [0.5, 1]; 0: (rows + cols + 1) / (2 rows)
  std::uint64_t seed = 0;
  Arena* arena = nullptr;
};
/// Squared Mahalanobis distance by location and covariance of the cleanest rows: FastMCD (Rousseeuw and Van Driessen,
/// Technometrics 1999), reweighted. Directions without variance do not count. At least 2 rows.
/// Holds the rows in double precision; O(rows * cols^2) per step.
std::vector<double> robust_distance_scores(MatrixView<const float> x, const RobustDistanceOptions& options = {});

}  // namespace redoubt
