#pragma once
// One step of a row through a forest, by the definition in ForestArrays.
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "redoubt/trees/forest.hpp"

namespace redoubt::detail {

inline constexpr float zero_bound = 1e-35f;  // as in ForestFlag::zero_missing

/// As Forest::walk_scores does.
inline bool goes_left(const ForestArrays& a, std::size_t node, float x) {
  const std::uint8_t flags = a.flags[node];
  if (const std::int32_t set = a.category_set[node]; set >= 0) {
    const std::uint32_t first = a.category_offsets[static_cast<std::size_t>(set)];
    const std::uint32_t words = a.category_offsets[static_cast<std::size_t>(set) + 1] - first;
    if (x > -1 && std::max(static_cast<double>(x), 0.0) < 32.0 * words) {
      const auto code = static_cast<std::uint64_t>(x);
      return a.category_bits[first + code / 32] >> (code % 32) & 1;
    }
    return (flags & (x != x ? missing_left : others_left)) != 0;
  }
  const bool missing = x != x || ((flags & zero_missing) && std::abs(x) <= zero_bound);
  return missing ? (flags & missing_left) != 0 : x <= a.threshold[node];
}

}  // namespace redoubt::detail
