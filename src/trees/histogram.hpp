#pragma once
// Sums of gradients per bin. Gradients are integers here: sums are exact, so neither the order of the rows nor the
// number of threads changes them, and a sibling is its parent minus the other child, exactly.
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/trees/binning.hpp"

namespace redoubt::detail {

/// Gradient and hessian of one row, times a power of two.
struct GradientPair {
  std::int32_t g = 0, h = 0;
};

struct GradientSum {
  std::int64_t g = 0, h = 0;
  std::int64_t n = 0;  ///< rows

  GradientSum& operator+=(const GradientSum& o) noexcept {
    g += o.g;
    h += o.h;
    n += o.n;
    return *this;
  }
  friend GradientSum operator+(GradientSum a, const GradientSum& b) noexcept { return a += b; }
  friend GradientSum operator-(const GradientSum& a, const GradientSum& b) noexcept {
    return {a.g - b.g, a.h - b.h, a.n - b.n};
  }
};

/// One sum per entry of `BinnedMatrix::offsets()`.
using Histogram = std::vector<GradientSum>;

/// Fills `out` over `rows`, whose gradients are `gradients[row]` and sum to `total`. Columns with `column_on` 0 are
/// left undefined. `ordered` is scratch.
void build_histogram(const BinnedMatrix& bins, std::span<const std::uint32_t> rows,
                     std::span<const GradientPair> gradients, const GradientSum& total,
                     std::span<const std::uint8_t> column_on, Histogram& out, std::vector<GradientPair>& ordered,
                     Arena* arena);

}  // namespace redoubt::detail
