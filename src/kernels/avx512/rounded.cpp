// AVX-512 with BF16: the flags of this file are those of the level and this one. See body.hpp for the rules.
#include <immintrin.h>

#include "kernels/avx512/pairs.hpp"
#include "kernels/rounded_table.hpp"

namespace redoubt::kernels::detail {
namespace {

// By name: with the intrinsic GCC 12 keeps the sums in memory beside the registers.
void add(__m512& sum, __m512i a, __m512i b) { asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)); }

template <int R, int V>
void pass(__m512 (&sums)[R][V], const unsigned char* a, size_t a_row, const unsigned char* b, size_t pairs) {
  for (size_t k = 0; k < pairs; ++k, a += 4, b += 4 * rounded_panel) {
    __m512i right[V];
#pragma GCC unroll 3
    for (int j = 0; j < V; ++j) right[j] = _mm512_loadu_si512(b + 64 * j);
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
      int left;
      __builtin_memcpy(&left, a + i * a_row, 4);
      const __m512i all = _mm512_set1_epi32(left);
#pragma GCC unroll 3
      for (int j = 0; j < V; ++j) add(sums[i][j], all, right[j]);
    }
  }
}

template <int R, int V>
void block(const RoundedTile& t) {
  __m512 sums[R][V];
  const __mmask16 last = first16(t.cols - 16 * (V - 1));
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 3
    for (int j = 0; j < V; ++j) {
      const __mmask16 m = j + 1 < V ? __mmask16(0xffff) : last;
      sums[i][j] = t.add_c ? _mm512_maskz_loadu_ps(m, t.c + i * t.c_row + 16 * j) : _mm512_setzero_ps();
      if (t.bias) sums[i][j] = _mm512_add_ps(sums[i][j], _mm512_maskz_loadu_ps(m, t.bias + 16 * j));
    }
  }
  if (t.a_part > 0) {  // small products first
    pass<R, V>(sums, t.a + t.a_part, t.a_row, t.b, t.pairs);
    pass<R, V>(sums, t.a, t.a_row, t.b + t.b_part, t.pairs);
  }
  pass<R, V>(sums, t.a, t.a_row, t.b, t.pairs);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 3
    for (int j = 0; j < V; ++j) {
      const __mmask16 m = j + 1 < V ? __mmask16(0xffff) : last;
      __m512 value = sums[i][j];
      if (t.relu) value = _mm512_max_ps(_mm512_setzero_ps(), value);  // in this order NaN stays
      _mm512_mask_storeu_ps(t.c + i * t.c_row + 16 * j, m, value);
    }
  }
}

template <int R>
void rows_of(const RoundedTile& t) {
  t.cols > 32 ? block<R, 3>(t) : t.cols > 16 ? block<R, 2>(t) : block<R, 1>(t);
}

void tile(const RoundedTile& t) {
  switch (t.rows) {
    case 1: return rows_of<1>(t);
    case 2: return rows_of<2>(t);
    case 3: return rows_of<3>(t);
    case 4: return rows_of<4>(t);
    case 5: return rows_of<5>(t);
    case 6: return rows_of<6>(t);
    case 7: return rows_of<7>(t);
    default: return rows_of<8>(t);
  }
}

/// Values 2i and 2i + 1 of 32 neighbours, of which `count` are there, as pairs.
inline __m512i neighbours(const float* src, size_t count, __m512i& rest, bool two) {
  const __m512 low = _mm512_maskz_loadu_ps(first16(count), src);
  const __m512 high = count > 16 ? _mm512_maskz_loadu_ps(first16(count - 16), src + 16) : _mm512_setzero_ps();
  const __m512i lead = (__m512i)_mm512_cvtne2ps_pbh(high, low);
  if (two) {
    const __m512i below = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(lead)),
                  above = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(lead, 1));
    rest = (__m512i)_mm512_cvtne2ps_pbh(_mm512_sub_ps(high, _mm512_castsi512_ps(_mm512_slli_epi32(above, 16))),
                                        _mm512_sub_ps(low, _mm512_castsi512_ps(_mm512_slli_epi32(below, 16))));
  }
  return lead;
}

void rows(const float* src, size_t src_row, size_t count, size_t depth, unsigned char* dst, const PairPlaces& to) {
  for (size_t r = 0; r < count; ++r, src += src_row) {
    unsigned char* at = dst + r / 16 * to.group + r % 16 * to.row;
    for (size_t k = 0; k < depth; k += 32, at += to.block) {
      __m512i rest;
      const __m512i lead = neighbours(src + k, depth - k, rest, to.part > 0);
      _mm512_storeu_si512(at, lead);
      if (to.part > 0) _mm512_storeu_si512(at + to.part, rest);
    }
  }
}

void panel(const float* src, size_t src_row, size_t count, size_t depth, unsigned char* dst, const PairPlaces& to) {
  for (size_t k = 0; k < depth; k += 2, src += 2 * src_row) {
    unsigned char* at = dst + k / 32 * to.block + k / 2 % 16 * to.row;
    for (size_t c = 0; c < count; c += 16, at += to.group) {
      const __mmask16 m = first16(count - c);
      __m512i rest;
      const __m512i lead = pairs_of(_mm512_maskz_loadu_ps(m, src + c),
                                    k + 1 < depth ? _mm512_maskz_loadu_ps(m, src + src_row + c) : _mm512_setzero_ps(),
                                    rest, to.part > 0);
      _mm512_storeu_si512(at, lead);
      if (to.part > 0) _mm512_storeu_si512(at + to.part, rest);
    }
  }
}

void rows_turned(const float* src, size_t src_row, size_t count, size_t depth, unsigned char* dst,
                 const PairPlaces& to) {
  for (size_t k = 0; k < depth; k += 32) {
    const size_t deep = depth - k < 32 ? depth - k : 32;
    for (size_t r = 0; r < count; r += 16) {
      const __mmask16 m = first16(count - r);
      const size_t wide = count - r < 16 ? count - r : 16;
      __m512i lead[16], rest[16];
      for (size_t i = 0; i < 16; ++i) {
        const float* const from = src + (k + 2 * i) * src_row + r;
        const __m512 first = 2 * i < deep ? _mm512_maskz_loadu_ps(m, from) : _mm512_setzero_ps();
        const __m512 second = 2 * i + 1 < deep ? _mm512_maskz_loadu_ps(m, from + src_row) : _mm512_setzero_ps();
        lead[i] = pairs_of(first, second, rest[i], to.part > 0);
      }
      unsigned char* const at = dst + r / 16 * to.group + k / 32 * to.block;
      transpose(lead);
      for (size_t i = 0; i < wide; ++i) _mm512_storeu_si512(at + i * to.row, lead[i]);
      if (to.part == 0) continue;
      transpose(rest);
      for (size_t i = 0; i < wide; ++i) _mm512_storeu_si512(at + to.part + i * to.row, rest[i]);
    }
  }
}

void panel_turned(const float* src, size_t src_row, size_t count, size_t depth, unsigned char* dst,
                  const PairPlaces& to) {
  for (size_t c = 0; c < count; c += 16) {
    const size_t wide = count - c < 16 ? count - c : 16;
    for (size_t k = 0; k < depth; k += 32) {
      const size_t pairs = depth - k < 32 ? (depth - k + 1) / 2 : 16;
      __m512i lead[16], rest[16];
      for (size_t i = 0; i < 16; ++i) {
        lead[i] = rest[i] = _mm512_setzero_si512();
        if (i < wide) lead[i] = neighbours(src + (c + i) * src_row + k, depth - k, rest[i], to.part > 0);
      }
      unsigned char* const at = dst + c / 16 * to.group + k / 32 * to.block;
      transpose(lead);
      for (size_t i = 0; i < pairs; ++i) _mm512_storeu_si512(at + i * to.row, lead[i]);
      if (to.part == 0) continue;
      transpose(rest);
      for (size_t i = 0; i < pairs; ++i) _mm512_storeu_si512(at + to.part + i * to.row, rest[i]);
    }
  }
}

}  // namespace

extern constexpr RoundedTable avx512_rounded_table = {tile, {rows, rows_turned, panel, panel_turned}};

}  // namespace redoubt::kernels::detail
