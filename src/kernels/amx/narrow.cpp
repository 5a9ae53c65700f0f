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

}  // namespace

extern constexpr AmxTable amx_narrow_table = {amx_product<Bf16>, amx_product<Int8>};

}  // namespace redoubt::kernels::detail
