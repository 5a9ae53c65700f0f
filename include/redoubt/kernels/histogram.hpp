#pragma once
#include <cstdint>
#include <span>

namespace redoubt::kernels {

/// Sums over the rows that fall into one bin of one feature.
struct HistogramBin {
  double gradient = 0;
  double hessian = 0;
  std::uint64_t count = 0;
  bool operator==(const HistogramBin&) const = default;
};

/// Adds row r's gradient and hessian to histogram[bins[r]], for r in `rows` in their order; sums are in double and
/// in row order, so they repeat bit for bit. The caller guarantees that every r < bins.size(), gradient.size(),
/// hessian.size() and every bins[r] < histogram.size(). Allocates nothing. Does not clear the histogram.
void add_to_histogram(std::span<const std::uint8_t> bins, std::span<const std::uint32_t> rows,
                      std::span<const float> gradient, std::span<const float> hessian,
                      std::span<HistogramBin> histogram) noexcept;

/// `parent` - `child`: the histogram of the sibling, without a pass over its rows. The three have equal lengths; out
/// may be one of the inputs.
void subtract_histogram(std::span<const HistogramBin> parent, std::span<const HistogramBin> child,
                        std::span<HistogramBin> out) noexcept;

namespace naive {
/// The reference: a plain loop, same signature.
void add_to_histogram(std::span<const std::uint8_t> bins, std::span<const std::uint32_t> rows,
                      std::span<const float> gradient, std::span<const float> hessian,
                      std::span<HistogramBin> histogram) noexcept;
}  // namespace naive

}  // namespace redoubt::kernels
