#include "trees/robust_cuts.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "redoubt/core/parallel.hpp"
#include "redoubt/trees/binning.hpp"

namespace redoubt::detail {

std::vector<RobustCuts> robust_cuts(const BinnedMatrix& bins, MatrixView<const float> x, double radius, Arena* arena) {
  std::vector<RobustCuts> all(bins.cols());
  const auto of_column = [&](std::size_t c) {
    const ColumnBins& column = bins.column(c);
    if (column.categories > 0) return;
    constexpr float none = std::numeric_limits<float>::infinity();
    std::vector<float> least(column.count, none), most(column.count, -none);
    double n = 0, mean = 0, square = 0;
    for (std::size_t r = 0; r < x.rows(); ++r) {
      const float v = x(r, c);
      if (!std::isfinite(v)) continue;
      const std::uint8_t bin = column(v);
      least[bin] = std::min(least[bin], v);
      most[bin] = std::max(most[bin], v);
      const double away = v - mean;
      mean += away / ++n;
      square += away * (v - mean);
    }
    const double reach = n > 1 ? radius * std::sqrt(square / n) : 0;
    for (std::uint32_t b = 0; b < column.count; ++b) {
      const double cut = column.upper[b];
      std::uint32_t stays_left = b + 1, stays_right = b + 1;
      const auto empty = [&](std::uint32_t bin) { return least[bin] > most[bin]; };
      while (stays_left > 0 && (empty(stays_left - 1) || most[stays_left - 1] + reach > cut)) --stays_left;
      while (stays_right < column.count && (empty(stays_right) || least[stays_right] - reach <= cut)) ++stays_right;
      all[c].emplace_back(static_cast<std::uint16_t>(stays_left), static_cast<std::uint16_t>(stays_right));
    }
  };
  parallel_for(
      bins.cols(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t c = begin; c < end; ++c) of_column(c);
      },
      arena);
  return all;
}

}  // namespace redoubt::detail
