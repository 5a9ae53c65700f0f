// Near pairs on AVX2. Compiled with the flags of this level: no other includes, see body.hpp.
#include "kernels/near_table.hpp"

#include <immintrin.h>

namespace redoubt::kernels::detail {
namespace {

/// 4 rows x 24 columns: 12 chains of sums.
[[gnu::hot]] void tile(const NearBlocks& t, const float* a, const float* b, size_t column, size_t row,
                       uint64_t (&found)[4]) {
  __m256 sums[4][3];
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    const __m256 start = _mm256_loadu_ps(t.start + column + 8 * j);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sums[i][j] = start;
  }
  for (size_t k = 0; k < t.depth; ++k, b += near_panel) {
    const __m256 right[3] = {_mm256_loadu_ps(b), _mm256_loadu_ps(b + 8), _mm256_loadu_ps(b + 16)};
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) {
      const __m256 left = _mm256_broadcast_ss(a + i * t.a_row + k);
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) sums[i][j] = _mm256_fmadd_ps(left, right[j], sums[i][j]);
    }
  }
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    const __m256 reach = _mm256_loadu_ps(t.reach + column + 8 * j);
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; ++i) {
      const __m256 of_row = _mm256_cmp_ps(sums[i][j], _mm256_broadcast_ss(t.own + row + i), _CMP_NLT_UQ);
      const __m256 of_column =
          _mm256_cmp_ps(_mm256_add_ps(sums[i][j], reach), _mm256_broadcast_ss(t.base + row + i), _CMP_NLT_UQ);
      found[i] |= static_cast<uint64_t>(_mm256_movemask_ps(_mm256_or_ps(of_row, of_column))) << (column % 48 + 8 * j);
    }
  }
}

void near(const NearBlocks& t) {
  const size_t rows = near_rows * t.groups;
  for (size_t p = 0; p < t.panels; ++p)
    for (size_t r = 0; r < rows; r += 4) {
      uint64_t found[4] = {0, 0, 0, 0};
      for (size_t half = 0; half < near_panel; half += 24)
        tile(t, t.a + r * t.a_row, t.b + p * near_panel * t.depth + half, p * near_panel + half, r, found);
      for (size_t i = 0; i < 4; ++i) t.hits[p * rows + r + i] = found[i];
    }
}

}  // namespace

extern constexpr NearTable avx2_near_table = {1, near, nullptr};

}  // namespace redoubt::kernels::detail
