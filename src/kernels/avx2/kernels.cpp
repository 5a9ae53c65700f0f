// AVX2 + FMA. Compiled with the flags of this level (cmake/RedoubtIsa.cmake): no other includes, see body.hpp.
#include <immintrin.h>

#include "kernels/body.hpp"

namespace redoubt::kernels::detail {
namespace {

struct Avx2 {
  using Reg = __m256;
  using Mask = __m256i;
  using Wide = __m256d;
  static constexpr size_t width = 8;
  static constexpr int tile_rows = 6, tile_vectors = 2;  // 12 accumulators, 2 of b, 1 of a: 15 of 16 registers

  static Mask tail(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > width ? int(width) : int(n)), lane);
  }
  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg set(float x) { return _mm256_set1_ps(x); }
  static Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static Reg load(const float* p, Mask m) { return _mm256_maskload_ps(p, m); }
  static void store(float* p, Reg x) { _mm256_storeu_ps(p, x); }
  static void store(float* p, Reg x, Mask m) { _mm256_maskstore_ps(p, m, x); }
  static Mask positive(Reg x) { return _mm256_castps_si256(_mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ)); }
  static Reg select(Mask m, Reg yes, Reg no) { return _mm256_blendv_ps(no, yes, _mm256_castsi256_ps(m)); }
  static Reg add(Reg a, Reg b) { return _mm256_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm256_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm256_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm256_div_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm256_min_ps(a, b); }
  static Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
  static Reg nfma(Reg a, Reg b, Reg c) { return _mm256_fnmadd_ps(a, b, c); }
  static Reg abs(Reg a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.f), a); }
  static Reg sqrt(Reg a) { return _mm256_sqrt_ps(a); }
  static Reg round(Reg a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  static Reg pow2(Reg n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23));
  }
  static Reg times_pow2(Reg x, Reg n) {
    const Reg half = round(mul(n, set(0.5f)));  // two factors: n reaches 128 just before the overflow
    return mul(mul(x, pow2(half)), pow2(sub(n, half)));
  }
  static Reg inverse(Reg x) { return _mm256_div_ps(_mm256_set1_ps(1), x); }
  static float first(Reg x) { return _mm256_cvtss_f32(x); }
  static Reg gather(const float* p, size_t step, size_t n) {
    alignas(32) float x[width] = {};
    for (size_t i = 0; i < n; ++i) x[i] = p[i * step];
    return _mm256_load_ps(x);
  }
  static void scatter(float* p, size_t step, size_t n, Reg values) {
    alignas(32) float x[width];
    _mm256_store_ps(x, values);
    for (size_t i = 0; i < n; ++i) p[i * step] = x[i];
  }
  static size_t list_nonzero(const float* p, size_t n, unsigned first, unsigned* list) {
    size_t count = 0;
    for (size_t i = 0; i < n; ++i) {
      list[count] = first + unsigned(i);
      count += p[i] != 0;
    }
    return count;
  }
  static Reg keep_if_ge(Reg x, Reg bound, Reg value) {
    return _mm256_and_ps(_mm256_cmp_ps(x, bound, _CMP_NLT_UQ), value);
  }
  static __m128 halves(__m128 (*combine)(__m128, __m128), Reg a) {
    __m128 x = combine(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    x = combine(x, _mm_movehl_ps(x, x));
    return combine(x, _mm_movehdup_ps(x));
  }
  static float reduce_add(Reg a) {
    return _mm_cvtss_f32(halves([](__m128 x, __m128 y) { return _mm_add_ps(x, y); }, a));
  }
  static float reduce_min(Reg a) {
    return _mm_cvtss_f32(halves([](__m128 x, __m128 y) { return _mm_min_ps(x, y); }, a));
  }
  static float reduce_max(Reg a) {
    return _mm_cvtss_f32(halves([](__m128 x, __m128 y) { return _mm_max_ps(x, y); }, a));
  }
  static Wide wide_zero() { return _mm256_setzero_pd(); }
  static void add_wide(Reg x, Wide& low, Wide& high) {
    low = _mm256_add_pd(low, _mm256_cvtps_pd(_mm256_castps256_ps128(x)));
    high = _mm256_add_pd(high, _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1)));
  }
  static void add_wide_squares(Reg x, Wide& low, Wide& high) {
    const Wide first = _mm256_cvtps_pd(_mm256_castps256_ps128(x)),
               second = _mm256_cvtps_pd(_mm256_extractf128_ps(x, 1));
    low = _mm256_fmadd_pd(first, first, low);
    high = _mm256_fmadd_pd(second, second, high);
  }
  static double reduce_wide(Wide low, Wide high) {
    const __m256d all = _mm256_add_pd(low, high);
    const __m128d half = _mm_add_pd(_mm256_castpd256_pd128(all), _mm256_extractf128_pd(all, 1));
    return _mm_cvtsd_f64(_mm_add_sd(half, _mm_unpackhi_pd(half, half)));
  }

  /// dst[j][i] = src[i][j] for an 8 x 8 block: pairs of rows, of pairs, then of 128-bit lanes.
  static void transpose(const float* src, size_t src_row, float* dst, size_t dst_row) {
    __m256 r[8], s[8];
    for (int i = 0; i < 8; ++i) r[i] = load(src + i * src_row);
    for (int i = 0; i < 8; i += 2) {
      s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
      s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
      r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
      r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
      r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
      r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
    }
    for (int j = 0; j < 4; ++j) {
      store(dst + j * dst_row, _mm256_permute2f128_ps(r[j], r[4 + j], 0x20));
      store(dst + (4 + j) * dst_row, _mm256_permute2f128_ps(r[j], r[4 + j], 0x31));
    }
  }
};

}  // namespace

extern constexpr Table avx2_table = make_table<Avx2>(1);

}  // namespace redoubt::kernels::detail
