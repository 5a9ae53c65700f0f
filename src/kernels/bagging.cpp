#include "kernels/bagging.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "redoubt/core/error.hpp"

namespace redoubt::kernels {
namespace naive {
namespace {

/// Negative if one side is empty.
double score(std::uint64_t left, std::uint64_t total) {
  const auto w = static_cast<double>(left >> 32), all = static_cast<double>(total >> 32);
  const auto one = static_cast<double>(left & 0xffffffffu), all_one = static_cast<double>(total & 0xffffffffu);
  const double right = all - w;
  if (!(w > 0 && right > 0)) return -1;
  const double distance = one * all - all_one * w;
  return distance * distance / (w * right);
}

/// One more cut, after bin `b`.
void consider(std::uint64_t left, std::uint32_t b, std::uint64_t missing, std::uint64_t total,
              detail::TwoClassCut* found) {
  double best = score(left, total);
  bool missing_left = false;
  if (missing != 0) {
    const double other = score(left + missing, total);
    if (other > best) {
      best = other;
      missing_left = true;
    }
  }
  if (best > found->score) *found = {best, left, b, missing_left};
}

}  // namespace

void two_class_cut(const uint64_t* bins, size_t count, uint64_t missing, uint64_t total, detail::TwoClassCut* found) {
  *found = {-1, 0, 0, 0};
  std::uint64_t left = 0;
  for (std::uint32_t b = 0; b < count; ++b) {
    if (bins[b] == 0) continue;
    left += bins[b];
    consider(left, b, missing, total, found);
  }
}

void two_class_cut_rows(const detail::TwoClassRows& rows, const unsigned char* codes, unsigned missing,
                        detail::TwoClassCut* found) {
  *found = {-1, 0, 0, 0};
  std::array<std::uint64_t, 256> bins;
  std::array<std::uint64_t, 4> seen{};
  for (std::size_t i = 0; i < rows.count; ++i) {
    std::uint64_t& word = seen[codes[i] / 64];
    const std::uint64_t bit = std::uint64_t{1} << (codes[i] % 64);
    bins[codes[i]] = (word & bit ? bins[codes[i]] : 0) + rows.rows[i];
    word |= bit;
  }
  const bool gaps = seen[missing / 64] >> (missing % 64) & 1;
  std::uint64_t left = 0;
  for (std::uint32_t w = 0; w < 4; ++w) {
    for (std::uint64_t bits = seen[w]; bits != 0; bits &= bits - 1) {
      const std::uint32_t b = w * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
      if (b == missing) return;
      left += bins[b];
      consider(left, b, gaps ? bins[missing] : 0, rows.total, found);
    }
  }
}

uint64_t two_class_planes(const uint64_t* rows, size_t count, detail::TwoClassPlanes* out) {
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 64 == 0) out[i / 64] = {};
    detail::TwoClassPlanes& planes = out[i / 64];
    all |= rows[i];
    for (std::size_t k = 0; k < 3; ++k) {
      planes.weight[k] |= (rows[i] >> (32 + k) & 1) << (i % 64);
      planes.one[k] |= (rows[i] >> k & 1) << (i % 64);
    }
  }
  return all;
}

bool code_bounds(const unsigned char* codes, size_t count, unsigned missing, unsigned char* least,
                 unsigned char* highest) {
  unsigned char low = 255, high = 0;
  bool any = false;
  for (std::size_t i = 0; i < count; ++i) {
    const bool gap = codes[i] == missing;
    any |= gap;
    low = std::min(low, gap ? static_cast<unsigned char>(255) : codes[i]);
    high = std::max(high, gap ? static_cast<unsigned char>(0) : codes[i]);
  }
  *least = low;
  *highest = high;
  return any;
}

uint64_t two_class_sum_to(const detail::TwoClassPlanes* planes, const unsigned char* codes, size_t count,
                          unsigned last) {
  std::uint64_t sum = 0;
  for (std::size_t first = 0; first < count; first += 64, ++planes) {
    std::uint64_t left = 0;
    for (std::size_t i = first; i < std::min(count, first + 64); ++i)
      left |= std::uint64_t{codes[i] <= last} << (i - first);
    for (int k = 0; k < 3; ++k) {
      const auto weight = static_cast<std::uint64_t>(std::popcount(planes->weight[k] & left));
      const auto one = static_cast<std::uint64_t>(std::popcount(planes->one[k] & left));
      sum += (weight << 32 | one) << k;
    }
  }
  return sum;
}

}  // namespace naive

namespace detail {
namespace {

constexpr BaggingTable naive_table = {0,
                                      naive::two_class_cut,
                                      naive::two_class_cut_rows,
                                      naive::two_class_planes,
                                      naive::code_bounds,
                                      naive::two_class_sum_to};

}  // namespace

const BaggingTable& bagging_table_for([[maybe_unused]] Isa isa) noexcept {
#if defined(REDOUBT_HAS_X86_KERNELS)
  if (isa >= Isa::avx512) return bagging_avx512_table;
#endif
  return naive_table;
}

const BaggingTable& bagging_table() noexcept {
  static const BaggingTable& chosen = []() noexcept -> const BaggingTable& {
    try {
      return bagging_table_for(active_isa());
    } catch (const Error&) {
      return naive_table;
    }
  }();
  return chosen;
}

}  // namespace detail
}  // namespace redoubt::kernels
