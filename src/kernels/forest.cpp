#include <cmath>

#include "kernels/forest_dispatch.hpp"

namespace redoubt::kernels::detail {
namespace {

void code(const ForestColumns& columns, const float* src, std::size_t src_row, std::size_t rows, unsigned char* dst,
          std::size_t dst_col) {
  const unsigned* input = columns.input;
  const float* thresholds = columns.thresholds;
  for (std::size_t kind = 0; kind < 4; ++kind)
    for (std::size_t c = 0; c < columns.count[kind]; ++c, dst += dst_col, thresholds += forest_column_floats, ++input)
      for (std::size_t r = 0; r < rows; ++r) {
        const float x = src[r * src_row + *input];
        if (x != x || (kind >= 2 && std::abs(x) <= 1e-35f)) {
          dst[r] = kind & 1 ? 255 : 0;
          continue;
        }
        const float* const all = thresholds + 16;
        std::size_t below = 0;  // as many of the 255 are below x
        for (std::size_t step = 128; step > 0; step /= 2) below += all[below + step - 1] < x ? step : 0;
        dst[r] = static_cast<unsigned char>(below);
      }
}

void tests(const ForestTests* tests, std::size_t count, const unsigned char* codes, std::uint64_t* masks) {
  for (; count-- > 0; ++tests)
    for (std::size_t t = 0; t < tests->count; ++t) {
      std::uint64_t mask = 0;
      for (std::size_t r = 0; r < 64; ++r)
        mask |= std::uint64_t{codes[64 * std::size_t{tests->column} + r] > tests->thresholds[t]} << r;
      masks[tests->slot + t] = mask;
    }
}

void slice(const ForestSliceTree* trees, std::size_t count, std::size_t leaf_width, std::uint64_t* masks,
           unsigned char*, std::uint32_t* sums) {
  for (; count-- > 0; ++trees) {
    for (std::size_t i = 0; i < trees->select_count; ++i) {
      const ForestSelect& s = trees->selects[i];
      masks[s.result] = (masks[s.condition] & masks[s.right]) | (~masks[s.condition] & masks[s.left]);
    }
    const std::size_t size = std::size_t{1} << (trees->bits < 6 ? 6 : trees->bits);
    for (std::size_t r = 0; r < 64; ++r) {
      unsigned leaf = 0;
      for (unsigned j = 0; j < trees->bits; ++j) leaf |= (masks[trees->planes[j]] >> r & 1) << j;
      for (std::size_t k = 0; k < leaf_width; ++k) {
        std::uint32_t value = 0;
        for (std::size_t b = 0; b < trees->bytes; ++b)
          value |= std::uint32_t{trees->tables[(k * trees->bytes + b) * size + leaf]} << 8 * b;
        sums[64 * (leaf_width > 1 ? k : trees->output) + REDOUBT_FOREST_POSITION(r)] += value;
      }
    }
  }
}

}  // namespace

const ForestTable forest_naive_table = {0, code, nullptr, nullptr, 1, tests, slice};

const ForestTable& forest_table([[maybe_unused]] Isa isa) noexcept {
#if defined(REDOUBT_HAS_X86_KERNELS)
  if (isa >= Isa::avx512) return forest_avx512_table;
  if (isa >= Isa::avx2) return forest_avx2_table;
#endif
  return forest_naive_table;
}

const ForestTable& forest_narrow_table([[maybe_unused]] Isa isa) noexcept {
#if defined(REDOUBT_HAS_X86_KERNELS)
  if (isa >= Isa::avx512) return forest_avx512_narrow_table;
  if (isa >= Isa::avx2) return forest_avx2_table;
#endif
  return forest_naive_table;
}

}  // namespace redoubt::kernels::detail
