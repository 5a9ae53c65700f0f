#pragma once
// Pairs of bf16, for translation units below avx512/ that have BF16; see body.hpp for the rules.
#include <immintrin.h>
#include <stddef.h>

namespace redoubt::kernels::detail {
namespace {

inline __mmask16 first16(size_t n) { return n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1); }

/// Pairs (first[i], second[i]) rounded, and what is left of both, rounded, in `rest`.
inline __m512i pairs_of(__m512 first, __m512 second, __m512i& rest, bool two) {
  const __m512i weave = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21,
                                         5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const __m512i lead = _mm512_permutexvar_epi16(weave, (__m512i)_mm512_cvtne2ps_pbh(second, first));
  if (two) {
    const __m512 low = _mm512_sub_ps(first, _mm512_castsi512_ps(_mm512_slli_epi32(lead, 16)));
    const __m512 high =
        _mm512_sub_ps(second, _mm512_castsi512_ps(_mm512_and_si512(lead, _mm512_set1_epi32(int(0xffff0000)))));
    rest = _mm512_permutexvar_epi16(weave, (__m512i)_mm512_cvtne2ps_pbh(high, low));
  }
  return lead;
}

/// 16 x 16 of 32 bits: pairs of rows, of pairs, then of 128-bit lanes.
inline void transpose(__m512i (&r)[16]) {
  __m512i s[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    s[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    s[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(s[i], s[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(s[i], s[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(s[i + 1], s[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(s[i + 1], s[i + 3]);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    s[j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x88);
    s[4 + j] = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xdd);
    s[8 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x88);
    s[12 + j] = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xdd);
  }
#pragma GCC unroll 4
  for (int j = 0; j < 4; ++j) {
    r[j] = _mm512_shuffle_i32x4(s[j], s[8 + j], 0x88);
    r[4 + j] = _mm512_shuffle_i32x4(s[4 + j], s[12 + j], 0x88);
    r[8 + j] = _mm512_shuffle_i32x4(s[j], s[8 + j], 0xdd);
    r[12 + j] = _mm512_shuffle_i32x4(s[4 + j], s[12 + j], 0xdd);
  }
}

}  // namespace
}  // namespace redoubt::kernels::detail
