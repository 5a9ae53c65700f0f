#pragma once
// Part of the translation units of narrow products, all of which have AVX-512 BF16. Everything is in an unnamed
// namespace, as in body.hpp.
#include <immintrin.h>

#include "kernels/narrow_table.hpp"

namespace redoubt::kernels::detail {
namespace {

inline __mmask16 first16(size_t n) { return n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1); }

inline void store_bf16(unsigned char* to, __mmask16 m, __m512 value) {
  _mm256_mask_storeu_epi16(to, m, (__m256i)_mm512_cvtneps_pbh(value));
}

/// Rounded first, then shifted, as the reference does; of a NaN the lower bound remains.
inline void store_uint8(unsigned char* to, __mmask16 m, __m512 value, __m512 factor, __m512 shift) {
  __m512 x = _mm512_mul_ps(value, factor);
  x = _mm512_add_ps(_mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC), shift);
  x = _mm512_min_ps(_mm512_max_ps(x, _mm512_setzero_ps()), _mm512_set1_ps(255));
  _mm512_mask_cvtepi32_storeu_epi8(to, m, _mm512_cvtps_epi32(x));
}

/// A vector of results to its place, as `t` wants them.
inline void store_narrow(const NarrowTile& t, unsigned char* to, __mmask16 m, __m512 value) {
  if (t.relu) value = _mm512_max_ps(_mm512_setzero_ps(), value);  // in this order NaN stays
  switch (t.to) {
    case narrow_to_bf16: return store_bf16(to, m, value);
    case narrow_to_uint8: return store_uint8(to, m, value, _mm512_set1_ps(t.inverse), _mm512_set1_ps(t.zero));
    default: _mm512_mask_storeu_ps(to, m, value);
  }
}

}  // namespace
}  // namespace redoubt::kernels::detail
