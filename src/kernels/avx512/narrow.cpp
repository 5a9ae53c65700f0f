// AVX-512 with BF16 and VNNI: the flags of this file are those of the level and these two. See body.hpp for the rules.
#include <immintrin.h>

#include "kernels/narrow_store.hpp"

namespace redoubt::kernels::detail {
namespace {

// The instructions by name: with the intrinsics GCC 12 keeps the sums in memory beside the registers.
struct Bf16 {
  using Sum = __m512;
  static Sum zero() { return _mm512_setzero_ps(); }
  static void add(Sum& sum, __m512i a, __m512i b) { asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)); }
  static __m512 value(Sum sum, const float*, const float* bias, __mmask16 m) {
    return _mm512_add_ps(sum, _mm512_maskz_loadu_ps(m, bias));
  }
};

struct Int8 {
  using Sum = __m512i;
  static Sum zero() { return _mm512_setzero_si512(); }
  static void add(Sum& sum, __m512i a, __m512i b) { asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b)); }
  static __m512 value(Sum sum, const float* scales, const float* bias, __mmask16 m) {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_maskz_loadu_ps(m, scales), _mm512_maskz_loadu_ps(m, bias));
  }
};

/// R rows times V vectors of columns, one panel each: as many chains of sums, which hide the latency of each.
template <class P, int R, int V>
void block(const NarrowTile& t) {
  typename P::Sum sums[R][V];
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 6
    for (int j = 0; j < V; ++j) sums[i][j] = P::zero();
  }
  const unsigned char* b = t.b;
  for (size_t s = 0; s < t.segments; ++s) {
    const unsigned char* const a = t.a + s * t.a_segment;
    for (size_t k = 0; k < t.segment; k += 4, b += 4 * narrow_panel) {
      __m512i right[V];
#pragma GCC unroll 6
      for (int j = 0; j < V; ++j) right[j] = _mm512_loadu_si512(b + j * t.b_panel);
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) {
        int left;
        __builtin_memcpy(&left, a + i * t.a_row + k, 4);
        const __m512i all = _mm512_set1_epi32(left);
#pragma GCC unroll 6
        for (int j = 0; j < V; ++j) P::add(sums[i][j], all, right[j]);
      }
    }
  }
  const size_t value = value_bytes(t);
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 6
    for (int j = 0; j < V; ++j) {
      const __mmask16 m = j + 1 < V ? __mmask16(0xffff) : first16(t.cols - 16 * j);
      store_narrow(t, t.c + i * t.c_row + 16 * j * value, m,
                   P::value(sums[i][j], t.scales + 16 * j, t.bias + 16 * j, m));
    }
  }
}

template <class P, int R>
void rows_of(const NarrowTile& t) {
  if constexpr (R == 1) {
    if (t.cols > 80) return block<P, 1, 6>(t);
    if (t.cols > 64) return block<P, 1, 5>(t);
    if (t.cols > 48) return block<P, 1, 4>(t);
  }
  t.cols > 32 ? block<P, R, 3>(t) : t.cols > 16 ? block<P, R, 2>(t) : block<P, R, 1>(t);
}

template <class P>
void tile(const NarrowTile& t) {
  switch (t.rows) {
    case 1: return rows_of<P, 1>(t);
    case 2: return rows_of<P, 2>(t);
    case 3: return rows_of<P, 3>(t);
    case 4: return rows_of<P, 4>(t);
    case 5: return rows_of<P, 5>(t);
    case 6: return rows_of<P, 6>(t);
    case 7: return rows_of<P, 7>(t);
    default: return rows_of<P, 8>(t);
  }
}

// Rows follow one another; the hardware's own fetching stops at the end of a page.
constexpr size_t ahead = 512;

void to_bf16(const float* src, size_t n, unsigned char* dst) {
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 m = first16(n - i);
    _mm_prefetch(src + i + ahead, _MM_HINT_T0);
    store_bf16(dst + 2 * i, m, _mm512_maskz_loadu_ps(m, src + i));
  }
}

void to_uint8(const float* src, size_t n, float inverse, float zero, unsigned char* dst) {
  const __m512 factor = _mm512_set1_ps(inverse), shift = _mm512_set1_ps(zero);
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 m = first16(n - i);
    _mm_prefetch(src + i + ahead, _MM_HINT_T0);
    store_uint8(dst + i, m, _mm512_maskz_loadu_ps(m, src + i), factor, shift);
  }
}

}  // namespace

extern constexpr NarrowTable avx512_narrow_table = {tile<Bf16>, tile<Int8>, to_bf16, to_uint8};

}  // namespace redoubt::kernels::detail
