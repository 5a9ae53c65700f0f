// AVX-512 F/BW/DQ/VL. Compiled with the flags of this level (cmake/RedoubtIsa.cmake): no other includes, see body.hpp.
#include <immintrin.h>

#include "kernels/body.hpp"

namespace redoubt::kernels::detail {
namespace {

struct Avx512 {
  using Reg = __m512;
  using Mask = __mmask16;
  using Wide = __m512d;
  static constexpr size_t width = 16;
  static constexpr int tile_rows = 8, tile_vectors = 3;  // 24 accumulators, 3 of b, 1 of a: 28 of 32 registers

  static Mask tail(size_t n) { return n >= width ? Mask(0xffff) : Mask((1u << n) - 1); }
  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg set(float x) { return _mm512_set1_ps(x); }
  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg load(const float* p, Mask m) { return _mm512_maskz_loadu_ps(m, p); }
  static void store(float* p, Reg x) { _mm512_storeu_ps(p, x); }
  static void store(float* p, Reg x, Mask m) { _mm512_mask_storeu_ps(p, m, x); }
  static Mask positive(Reg x) { return _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ); }
  static Reg select(Mask m, Reg yes, Reg no) { return _mm512_mask_blend_ps(m, no, yes); }
  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg nfma(Reg a, Reg b, Reg c) { return _mm512_fnmadd_ps(a, b, c); }
  static Reg abs(Reg a) { return _mm512_andnot_ps(_mm512_set1_ps(-0.f), a); }
  static Reg sqrt(Reg a) { return _mm512_sqrt_ps(a); }
  static Reg round(Reg a) { return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Reg pow2(Reg n) { return _mm512_scalef_ps(_mm512_set1_ps(1), n); }
  static Reg times_pow2(Reg x, Reg n) { return _mm512_scalef_ps(x, n); }
  static Reg inverse(Reg x) {
    const Reg guess = _mm512_rcp14_ps(x);  // one step of Newton's: 2^-28, before its rounding
    return _mm512_fmadd_ps(guess, _mm512_fnmadd_ps(guess, x, _mm512_set1_ps(1)), guess);
  }
  static __m512i lanes() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
  static float first(Reg x) { return _mm512_cvtss_f32(x); }
  static Reg gather(const float* p, size_t step, size_t n) {
    return _mm512_mask_i32gather_ps(zero(), tail(n), _mm512_mullo_epi32(lanes(), _mm512_set1_epi32(int(step))), p, 4);
  }
  static void scatter(float* p, size_t step, size_t n, Reg x) {
    _mm512_mask_i32scatter_ps(p, tail(n), _mm512_mullo_epi32(lanes(), _mm512_set1_epi32(int(step))), x, 4);
  }
  static size_t list_nonzero(const float* p, size_t n, unsigned first, unsigned* list) {
    const Mask m = _mm512_mask_cmp_ps_mask(tail(n), load(p, tail(n)), zero(), _CMP_NEQ_UQ);
    _mm512_storeu_si512(list, _mm512_maskz_compress_epi32(m, _mm512_add_epi32(lanes(), _mm512_set1_epi32(int(first)))));
    return size_t(__builtin_popcount(m));
  }
  static Reg keep_if_ge(Reg x, Reg bound, Reg value) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, bound, _CMP_NLT_UQ), value);
  }
  static float reduce_add(Reg a) {
    const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m128 quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
    quarter = _mm_add_ps(quarter, _mm_movehl_ps(quarter, quarter));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
  }
  static float reduce_min(Reg a) { return _mm512_reduce_min_ps(a); }
  static float reduce_max(Reg a) { return _mm512_reduce_max_ps(a); }
  static Wide wide_zero() { return _mm512_setzero_pd(); }
  static void add_wide(Reg x, Wide& low, Wide& high) {
    low = _mm512_add_pd(low, _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
    high = _mm512_add_pd(high, _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
  }
  static void add_wide_squares(Reg x, Wide& low, Wide& high) {
    const Wide first = _mm512_cvtps_pd(_mm512_castps512_ps256(x)),
               second = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    low = _mm512_fmadd_pd(first, first, low);
    high = _mm512_fmadd_pd(second, second, high);
  }
  static double reduce_wide(Wide low, Wide high) { return _mm512_reduce_add_pd(_mm512_add_pd(low, high)); }

  /// dst[j][i] = src[i][j] for a 16 x 16 block: pairs of rows, of pairs, then of 128-bit lanes.
  static void transpose(const float* src, size_t src_row, float* dst, size_t dst_row) {
    __m512 r[16], s[16];
    for (int i = 0; i < 16; ++i) r[i] = load(src + i * src_row);
    for (int i = 0; i < 16; i += 2) {
      s[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
      s[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
      r[i] = _mm512_shuffle_ps(s[i], s[i + 2], 0x44);
      r[i + 1] = _mm512_shuffle_ps(s[i], s[i + 2], 0xee);
      r[i + 2] = _mm512_shuffle_ps(s[i + 1], s[i + 3], 0x44);
      r[i + 3] = _mm512_shuffle_ps(s[i + 1], s[i + 3], 0xee);
    }
    // r[4g + j], lane l: column 4l + j of rows 4g .. 4g+3.
    for (int j = 0; j < 4; ++j) {
      const __m512 even_low = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88);        // lanes 0, 2 of rows 0-3, 4-7
      const __m512 odd_low = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd);         // lanes 1, 3
      const __m512 even_high = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);  // of rows 8-11, 12-15
      const __m512 odd_high = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
      store(dst + j * dst_row, _mm512_shuffle_f32x4(even_low, even_high, 0x88));
      store(dst + (4 + j) * dst_row, _mm512_shuffle_f32x4(odd_low, odd_high, 0x88));
      store(dst + (8 + j) * dst_row, _mm512_shuffle_f32x4(even_low, even_high, 0xdd));
      store(dst + (12 + j) * dst_row, _mm512_shuffle_f32x4(odd_low, odd_high, 0xdd));
    }
  }
};

}  // namespace

extern constexpr Table avx512_table = make_table<Avx512>(2);

}  // namespace redoubt::kernels::detail
