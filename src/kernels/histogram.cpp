#include "redoubt/kernels/histogram.hpp"

#include <algorithm>
#include <cstddef>

namespace redoubt::kernels {

void naive::add_to_histogram(std::span<const std::uint8_t> bins, std::span<const std::uint32_t> rows,
                             std::span<const float> gradient, std::span<const float> hessian,
                             std::span<HistogramBin> histogram) noexcept {
  for (std::uint32_t row : rows) {
    HistogramBin& bin = histogram[bins[row]];
    bin.gradient += gradient[row];
    bin.hessian += hessian[row];
    ++bin.count;
  }
}

void add_to_histogram(std::span<const std::uint8_t> bins, std::span<const std::uint32_t> rows,
                      std::span<const float> gradient, std::span<const float> hessian,
                      std::span<HistogramBin> histogram) noexcept {
  // The rows of a node are scattered: fetch ahead what the prefetcher cannot guess.
  constexpr std::size_t ahead = 16;
  const std::size_t n = rows.size();
  for (std::size_t i = 0; i < n; ++i) {
    if (i + ahead < n) {
      const std::uint32_t next = rows[i + ahead];
      __builtin_prefetch(&bins[next]);
      __builtin_prefetch(&gradient[next]);
      __builtin_prefetch(&hessian[next]);
    }
    const std::uint32_t row = rows[i];
    HistogramBin& bin = histogram[bins[row]];
    bin.gradient += gradient[row];
    bin.hessian += hessian[row];
    ++bin.count;
  }
}

void subtract_histogram(std::span<const HistogramBin> parent, std::span<const HistogramBin> child,
                        std::span<HistogramBin> out) noexcept {
  const std::size_t n = std::min({parent.size(), child.size(), out.size()});
  for (std::size_t i = 0; i < n; ++i)
    out[i] = {parent[i].gradient - child[i].gradient, parent[i].hessian - child[i].hessian,
              parent[i].count - child[i].count};
}

}  // namespace redoubt::kernels
