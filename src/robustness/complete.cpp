#include "robustness/complete.hpp"

#include <cmath>
#include <vector>

namespace redoubt::detail {

Tensor<float> completed(MatrixView<const float> x, bool scaled) {
  const std::size_t n = x.rows(), cols = x.cols();
  std::vector<double> mean(cols, 0), square(cols, 0);
  std::vector<std::size_t> count(cols, 0);
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t c = 0; c < cols; ++c)
      if (std::isfinite(x(r, c))) mean[c] += x(r, c), ++count[c];
  for (std::size_t c = 0; c < cols; ++c) mean[c] = count[c] ? mean[c] / static_cast<double>(count[c]) : 0;
  if (scaled)
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < cols; ++c)
        if (const double d = x(r, c) - mean[c]; std::isfinite(x(r, c))) square[c] += d * d;
  Tensor<float> out({n, cols});
  std::vector<double> factor(cols, 0);
  for (std::size_t c = 0; c < cols; ++c)
    // Rounding of the mean leaves constant columns a little variance.
    if (const double deviation = count[c] ? std::sqrt(square[c] / static_cast<double>(count[c])) : 0;
        deviation > 1e-7 * std::abs(mean[c]))
      factor[c] = 1 / deviation;
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const double value = std::isfinite(x(r, c)) ? x(r, c) : mean[c];
      out(r, c) = static_cast<float>(scaled ? (value - mean[c]) * factor[c] : value);
    }
  return out;
}

}  // namespace redoubt::detail
