#pragma once
// Distances by products: |a - b|^2 = |a|^2 - 2 (ab - |b|^2 / 2), about the mean (distances stay, norms shrink, and
// with them the error), and a bound of the error of the bracket in fp32.
#include <cmath>
#include <cstddef>
#include <limits>
#include <vector>

#include "redoubt/core/view.hpp"

namespace redoubt::detail {

inline constexpr double no_overflow = 1e18;  // of norms; with larger ones every distance is measured exactly

inline std::vector<float> mean_of(MatrixView<const float> x) {
  std::vector<double> sums(x.cols(), 0);
  for (std::size_t r = 0; r < x.rows(); ++r)
    for (std::size_t c = 0; c < x.cols(); ++c) sums[c] += x(r, c);
  std::vector<float> mean(x.cols());
  for (std::size_t c = 0; c < x.cols(); ++c) mean[c] = static_cast<float>(sums[c] / static_cast<double>(x.rows()));
  return mean;
}

/// to[c] = from[c] - centre[c]; returns the squared norm.
inline double centre_row(const float* from, const std::vector<float>& centre, float* to) noexcept {
  double norm = 0;
  for (std::size_t c = 0; c < centre.size(); ++c) {
    to[c] = from[c] - centre[c];
    norm += static_cast<double>(to[c]) * to[c];
  }
  return norm;
}

/// Bound of |bracket in fp32 - its value|, for norms that sum to s: times s^2. The product errs by
/// (cols + 1) 2^-24 (|a||b| + |b|^2 / 2), centring and the bias by less than the rest.
inline double error_of(std::size_t cols) noexcept { return static_cast<double>(cols + 16) * 0x1p-25; }

inline float below(double value) noexcept {
  return std::nextafter(static_cast<float>(value), -std::numeric_limits<float>::infinity());
}
inline float above(double value) noexcept {
  return std::nextafter(static_cast<float>(value), std::numeric_limits<float>::infinity());
}

}  // namespace redoubt::detail
