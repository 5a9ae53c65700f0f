// AMX: see amx_body.hpp; the rules are those of body.hpp.
#include <immintrin.h>

#include "kernels/amx_body.hpp"
#include "kernels/amx_instructions.hpp"
#include "kernels/narrow_store.hpp"

namespace redoubt::kernels::detail {
namespace {

/// What is the same for all rows of a block stays in registers. Sum gives 16 results before the activation.
template <class Sum, int C>
struct FinishRow {
  [[gnu::always_inline]] FinishRow(const NarrowTile& t, size_t col)
      : least(_mm512_set1_ps(t.relu ? 0 : -__builtin_inff())),
        factor(_mm512_set1_ps(t.inverse)),
        shift(_mm512_set1_ps(t.zero)),
        last(first16(t.cols - col - (C - 1) * tile_side)),
        to(t.to) {
#pragma GCC unroll 4
    for (int j = 0; j < C; ++j) sum[j] = Sum(t, col + j * tile_side, mask(j));
  }
  [[gnu::always_inline]] __mmask16 mask(int j) const { return j + 1 < C ? __mmask16(0xffff) : last; }
  [[gnu::always_inline]] __m512 value(const unsigned char* sums, int j) const {
    return _mm512_max_ps(least, sum[j](sums + j * whole_tile_bytes));  // in this order NaN stays
  }
  template <class Value>
  [[gnu::always_inline]] void store(unsigned char* at, const Value& value_of) const {
    if (to == narrow_to_fp32) {
#pragma GCC unroll 4
      for (int j = 0; j < C; ++j) _mm512_mask_storeu_ps(at + 64 * j, mask(j), value_of(j));
    } else if (to == narrow_to_bf16) {
#pragma GCC unroll 4
      for (int j = 0; j < C; ++j) store_bf16(at + 32 * j, mask(j), value_of(j));
    } else {
#pragma GCC unroll 4
      for (int j = 0; j < C; ++j) store_uint8(at + 16 * j, mask(j), value_of(j), factor, shift);
    }
  }
  [[gnu::always_inline]] void finish(const unsigned char* sums, unsigned char* at) const {
    store(at, [&](int j) { return value(sums, j); });
  }
  [[gnu::always_inline]] void pool(const unsigned char* upper, const unsigned char* lower, unsigned char* at) const {
    store(at, [&](int j) {
      __m512 best = _mm512_max_ps(value(upper, j), _mm512_set1_ps(-__builtin_inff()));  // a NaN never wins
      best = _mm512_max_ps(value(upper + tile_bytes, j), best);
      best = _mm512_max_ps(value(lower, j), best);
      return _mm512_max_ps(value(lower + tile_bytes, j), best);
    });
  }

  Sum sum[C];
  __m512 least, factor, shift;
  __mmask16 last;
  unsigned char to;
};

struct Bf16Sum {
  Bf16Sum() = default;
  Bf16Sum(const NarrowTile& t, size_t col, __mmask16 m) : bias(_mm512_maskz_loadu_ps(m, t.bias + col)) {}
  __m512 operator()(const unsigned char* sums) const { return _mm512_add_ps(_mm512_load_ps(sums), bias); }
  __m512 bias;
};

struct Int8Sum {
  Int8Sum() = default;
  Int8Sum(const NarrowTile& t, size_t col, __mmask16 m)
      : scales(_mm512_maskz_loadu_ps(m, t.scales + col)), bias(_mm512_maskz_loadu_ps(m, t.bias + col)) {}
  __m512 operator()(const unsigned char* sums) const {
    return _mm512_fmadd_ps(_mm512_cvtepi32_ps(_mm512_load_si512(sums)), scales, bias);
  }
  __m512 scales, bias;
};

struct Bf16 : Bf16Tiles {
  template <int C>
  using Row = FinishRow<Bf16Sum, C>;
};

struct Int8 : Tiles {
  template <int C>
  using Row = FinishRow<Int8Sum, C>;
  template <int C, int A, int B>
  static void dp() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  }
};

/// One row times V panels by vectors, with the bits of the tiles: in each step the even and the odd places of the depth
/// are summed apart, from zero, and both are added to what was before. MXCSR must be as tiles work meanwhile. Four
/// instructions for two ports to 64 bytes of weights: 2 cycles at best, measured 2.1 from L2.
template <int V>
[[gnu::noinline]] void row_panels(const NarrowTile& t, size_t col, __m512 (&sums)[4]) {
  const size_t step = amx_step(t.segment);
  const __m512i odd_places = _mm512_set1_epi32(int(0xffff0000));
  const unsigned char* b = t.b + col / narrow_panel * t.b_panel;
#pragma GCC unroll 4
  for (int j = 0; j < V; ++j) sums[j] = _mm512_setzero_ps();
  for (size_t s = 0; s < t.segments; ++s) {
    const unsigned char* a = t.a + s * t.a_segment;
    for (size_t left = t.segment; left > 0;) {
      const size_t bytes = left < step ? left : step;
      const __m512i words = _mm512_maskz_loadu_epi16(__mmask32(~0u) >> (32 - bytes / 2), a);
      alignas(64) float values[2][16];
      _mm512_store_si512(values[0], _mm512_slli_epi32(words, 16));
      _mm512_store_si512(values[1], _mm512_and_si512(words, odd_places));
      __m512 even[V], odd[V];
#pragma GCC unroll 4
      for (int j = 0; j < V; ++j) even[j] = odd[j] = _mm512_setzero_ps();
#pragma GCC unroll 2
      for (size_t k = 0; k < bytes / 4; ++k, b += 4 * narrow_panel) {
        const __m512 first = _mm512_set1_ps(values[0][k]), second = _mm512_set1_ps(values[1][k]);
#pragma GCC unroll 4
        for (int j = 0; j < V; ++j) {
          const __m512i pairs = _mm512_loadu_si512(b + j * t.b_panel);
          even[j] = _mm512_fmadd_ps(first, _mm512_castsi512_ps(_mm512_slli_epi32(pairs, 16)), even[j]);
          odd[j] = _mm512_fmadd_ps(second, _mm512_castsi512_ps(_mm512_and_si512(pairs, odd_places)), odd[j]);
        }
      }
#pragma GCC unroll 4
      for (int j = 0; j < V; ++j) sums[j] = _mm512_add_ps(sums[j], _mm512_add_ps(even[j], odd[j]));
      a += bytes, left -= bytes;
    }
  }
}

/// Compilers do not know that arithmetic depends on it: what must not cross lies behind a call and the memory here.
void set_modes(unsigned mxcsr) {
  asm volatile("" : : : "memory");
  _mm_setcsr(mxcsr);
  asm volatile("" : : : "memory");
}

/// The product of one row.
void bf16_row(const NarrowTile& t) {
  constexpr unsigned as_in_tiles = 0x9fc0;  // to nearest, denormals are zeros on the way in and out, nothing traps
  constexpr size_t together = 4;
  const unsigned before = _mm_getcsr();
  const size_t value = value_bytes(t);
  for (size_t col = 0; col < t.cols; col += together * narrow_panel) {
    const size_t left = t.cols - col, panels = left > 3 * narrow_panel ? 4 : (left + narrow_panel - 1) / narrow_panel;
    __m512 sums[together];
    set_modes(as_in_tiles);
    switch (panels) {
      case 1: row_panels<1>(t, col, sums); break;
      case 2: row_panels<2>(t, col, sums); break;
      case 3: row_panels<3>(t, col, sums); break;
      default: row_panels<4>(t, col, sums);
    }
    set_modes(before);
    for (size_t j = 0; j < panels; ++j) {
      const __mmask16 m = first16(left - j * narrow_panel);
      const size_t at = col + j * narrow_panel;
      store_narrow(t, t.c + at * value, m, _mm512_add_ps(sums[j], _mm512_maskz_loadu_ps(m, t.bias + at)));
    }
  }
}

}  // namespace

extern constexpr AmxTable amx_narrow_table = {amx_product<Bf16>, amx_product<Int8>, bf16_row};

}  // namespace redoubt::kernels::detail
