// Near pairs on AVX-512. Compiled with the flags of this level: no other includes, see body.hpp.
#include "kernels/near_table.hpp"

#include <immintrin.h>

namespace redoubt::kernels::detail {
namespace {

struct Fp32 {
  static void add(__m512& sum, __m512 a, __m512 b) { sum = _mm512_fmadd_ps(a, b, sum); }
};

// By name: the intrinsic would need the flag for the whole file, and GCC 12 keeps its sums in memory.
struct Bf16 {
  static void add(__m512& sum, __m512 a, __m512 b) { asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)); }
};

/// 8 rows x 48 columns: 24 chains of sums, which never leave the registers.
template <class P>
[[gnu::hot]] void tile(const NearBlocks& t, const float* a, const float* b, size_t column, size_t row, uint64_t* hits) {
  __m512 sums[near_rows][3];
#pragma GCC unroll 3
  for (int j = 0; j < 3; ++j) {
    const __m512 start = _mm512_loadu_ps(t.start + column + 16 * j);
#pragma GCC unroll 8
    for (size_t i = 0; i < near_rows; ++i) sums[i][j] = start;
  }
  for (size_t k = 0; k < t.depth; ++k, b += near_panel) {
    const __m512 right[3] = {_mm512_loadu_ps(b), _mm512_loadu_ps(b + 16), _mm512_loadu_ps(b + 32)};
#pragma GCC unroll 8
    for (size_t i = 0; i < near_rows; ++i) {
      const __m512 left = _mm512_set1_ps(a[i * t.a_row + k]);
#pragma GCC unroll 3
      for (int j = 0; j < 3; ++j) P::add(sums[i][j], left, right[j]);
    }
  }
  const __m512 reach[3] = {_mm512_loadu_ps(t.reach + column), _mm512_loadu_ps(t.reach + column + 16),
                           _mm512_loadu_ps(t.reach + column + 32)};
#pragma GCC unroll 8
  for (size_t i = 0; i < near_rows; ++i) {
    const __m512 own = _mm512_set1_ps(t.own[row + i]), base = _mm512_set1_ps(t.base[row + i]);
    uint64_t found = 0;
#pragma GCC unroll 3
    for (int j = 0; j < 3; ++j) {
      const __mmask16 of_row = _mm512_cmp_ps_mask(sums[i][j], own, _CMP_NLT_UQ);
      const __mmask16 of_column = _mm512_cmp_ps_mask(_mm512_add_ps(sums[i][j], reach[j]), base, _CMP_NLT_UQ);
      found |= static_cast<uint64_t>(_kor_mask16(of_row, of_column)) << (16 * j);
    }
    hits[i] = found;
  }
}

template <class P>
void near(const NearBlocks& t) {
  const size_t rows = near_rows * t.groups;
  for (size_t p = 0; p < t.panels; ++p)
    for (size_t r = 0; r < rows; r += near_rows)
      tile<P>(t, t.a + r * t.a_row, t.b + p * near_panel * t.depth, p * near_panel, r, t.hits + p * rows + r);
}

}  // namespace

extern constexpr NearTable avx512_near_table = {2, near<Fp32>, near<Bf16>};

}  // namespace redoubt::kernels::detail
