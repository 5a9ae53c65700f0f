#pragma once
#include <cstddef>

#include "kernels/near_table.hpp"
#include "redoubt/core/cpu.hpp"

namespace redoubt::kernels {
namespace naive {
void near_fp32(const detail::NearBlocks& blocks) noexcept;
void near_bf16(const detail::NearBlocks& blocks) noexcept;
}  // namespace naive

namespace detail {
/// Depth that holds so many words, filled up with zeros: equal steps of 1 to 16 words, which tiles need.
constexpr std::size_t near_depth(std::size_t words) {
  constexpr std::size_t step = 16;
  if (words == 0) return 1;
  const std::size_t steps = (words + step - 1) / step;
  return (words + steps - 1) / steps * steps;
}

/// Kernels of the highest level that is not above `isa`. `bf16` is null where this machine has no instructions for it,
/// and wants `groups` by fours, `panels` by twos and the depth that near_depth gives.
NearKernel near_fp32(Isa isa) noexcept;
NearKernel near_bf16(Isa isa) noexcept;
}  // namespace detail
}  // namespace redoubt::kernels
