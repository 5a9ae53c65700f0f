#pragma once
#include <bit>
#include <cstdint>

namespace redoubt::kernels::detail {

/// Round to nearest even; numbers below 2^-126 become 0, as the instruction does.
inline std::uint16_t bf16_of(float x) noexcept {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  if (x != x) return static_cast<std::uint16_t>(bits >> 16 | 0x40);
  if ((bits & 0x7f800000u) == 0) return static_cast<std::uint16_t>(bits >> 16 & 0x8000u);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

inline float float_of(std::uint16_t bf16) noexcept { return std::bit_cast<float>(std::uint32_t{bf16} << 16); }

}  // namespace redoubt::kernels::detail
