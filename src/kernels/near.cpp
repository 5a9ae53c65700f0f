#include "kernels/near.hpp"

#include <bit>
#include <cstdint>

namespace redoubt::kernels {
namespace {

template <class Product>
void near_of(const detail::NearBlocks& t, Product product) noexcept {
  const std::size_t rows = detail::near_rows * t.groups;
  for (std::size_t p = 0; p < t.panels; ++p) {
    const std::size_t first = p * detail::near_panel;
    for (std::size_t i = 0; i < rows; ++i) {
      float sums[detail::near_panel];
      for (std::size_t j = 0; j < detail::near_panel; ++j) sums[j] = t.start[first + j];
      for (std::size_t k = 0; k < t.depth; ++k) {
        const float a = t.a[i * t.a_row + k], *b = t.b + (p * t.depth + k) * detail::near_panel;
        for (std::size_t j = 0; j < detail::near_panel; ++j) sums[j] += product(a, b[j]);
      }
      std::uint64_t found = 0;
      for (std::size_t j = 0; j < detail::near_panel; ++j)
        found |= std::uint64_t{!(sums[j] < t.own[i]) || !(sums[j] + t.reach[first + j] < t.base[i])} << j;
      t.hits[p * rows + i] = found;
    }
  }
}

float low(float word) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(word) << 16); }
float high(float word) { return std::bit_cast<float>(std::bit_cast<std::uint32_t>(word) & 0xffff0000u); }

}  // namespace

void naive::near_fp32(const detail::NearBlocks& blocks) noexcept {
  near_of(blocks, [](float a, float b) { return a * b; });
}

void naive::near_bf16(const detail::NearBlocks& blocks) noexcept {
  near_of(blocks, [](float a, float b) { return low(a) * low(b) + high(a) * high(b); });
}

detail::NearKernel detail::near_fp32([[maybe_unused]] Isa isa) noexcept {
#if defined(REDOUBT_HAS_X86_KERNELS)
  if (isa >= Isa::avx512) return avx512_near_table.fp32;
  if (isa >= Isa::avx2) return avx2_near_table.fp32;
#endif
  return naive::near_fp32;
}

detail::NearKernel detail::near_bf16([[maybe_unused]] Isa isa) noexcept {
#if defined(REDOUBT_HAS_X86_KERNELS)
  if (isa >= Isa::amx) return amx_near_tiles;
  if (isa >= Isa::avx512 && cpu_features().avx512bf16) return avx512_near_table.bf16;
#endif
  return nullptr;
}

}  // namespace redoubt::kernels
