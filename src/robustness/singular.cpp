#include "robustness/singular.hpp"

#include <algorithm>
#include <cmath>

namespace redoubt::detail {

std::vector<double> top_projections(const std::vector<double>& z, std::size_t rows, std::size_t d) {
  std::vector<double> direction(d, 0.0), projection(rows, 0.0), next(d);
  double longest = -1;
  for (std::size_t r = 0; r < rows; ++r) {
    double length = 0;
    for (std::size_t c = 0; c < d; ++c) length += z[r * d + c] * z[r * d + c];
    if (length > longest) {
      longest = length;
      std::copy_n(z.begin() + static_cast<std::ptrdiff_t>(r * d), d, direction.begin());
    }
  }
  if (longest <= 0) return projection;
  for (double& v : direction) v /= std::sqrt(longest);
  constexpr int most = 1000;
  for (int step = 0; step < most; ++step) {
    std::fill(next.begin(), next.end(), 0.0);
    for (std::size_t r = 0; r < rows; ++r) {
      double p = 0;
      for (std::size_t c = 0; c < d; ++c) p += z[r * d + c] * direction[c];
      projection[r] = p;
      for (std::size_t c = 0; c < d; ++c) next[c] += p * z[r * d + c];
    }
    double length = 0;
    for (const double v : next) length += v * v;
    length = std::sqrt(length);
    if (length == 0) break;
    double moved = 0;
    for (std::size_t c = 0; c < d; ++c) {
      const double to = next[c] / length;
      moved += (to - direction[c]) * (to - direction[c]);
      direction[c] = to;
    }
    if (moved <= 1e-14) break;
  }
  return projection;
}

}  // namespace redoubt::detail
