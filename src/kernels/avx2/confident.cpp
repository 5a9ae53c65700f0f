// Confident learning on AVX2. Compiled with the flags of this level: no other includes, see body.hpp.
#include "kernels/confident_body.hpp"

#include <immintrin.h>

namespace redoubt::kernels::detail {
namespace {

struct Fp64 {
  using Value = double;
  static constexpr size_t lanes = 4;
  static constexpr unsigned every = 0xf;
  static __m256d all(double v) { return _mm256_set1_pd(v); }
  static __m256d load(const double* p) { return _mm256_loadu_pd(p); }
  static __m256d yes() { return _mm256_castsi256_pd(_mm256_set1_epi32(-1)); }
  static __m256d both(__m256d a, __m256d b) { return _mm256_and_pd(a, b); }
  static __m256d at_least(__m256d a, __m256d b) { return _mm256_cmp_pd(a, b, _CMP_GE_OQ); }
  static __m256d where(__m256d m, __m256d a, __m256d b) { return _mm256_blendv_pd(b, a, m); }
  static __m256d larger(__m256d v, __m256d most) { return _mm256_max_pd(v, most); }
  static double largest(__m256d v) {
    const __m128d half = _mm_max_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
    return _mm_cvtsd_f64(_mm_max_sd(half, _mm_unpackhi_pd(half, half)));
  }
  static unsigned bits(__m256d m) { return static_cast<unsigned>(_mm256_movemask_pd(m)); }
};

struct Fp32 {
  using Value = float;
  static constexpr size_t lanes = 8;
  static constexpr unsigned every = 0xff;
  static __m256 all(float v) { return _mm256_set1_ps(v); }
  static __m256 load(const float* p) { return _mm256_loadu_ps(p); }
  static __m256 yes() { return _mm256_castsi256_ps(_mm256_set1_epi32(-1)); }
  static __m256 both(__m256 a, __m256 b) { return _mm256_and_ps(a, b); }
  static __m256 at_least(__m256 a, __m256 b) { return _mm256_cmp_ps(a, b, _CMP_GE_OQ); }
  static __m256 where(__m256 m, __m256 a, __m256 b) { return _mm256_blendv_ps(b, a, m); }
  static __m256 larger(__m256 v, __m256 most) { return _mm256_max_ps(v, most); }
  static float largest(__m256 v) {
    __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    half = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(half, _mm_shuffle_ps(half, half, 1)));
  }
  static unsigned bits(__m256 m) { return static_cast<unsigned>(_mm256_movemask_ps(m)); }
};

}  // namespace

extern constexpr ConfidentTable avx2_confident_table = {1, confident_rows<Fp64>, confident_rows<Fp32>};

}  // namespace redoubt::kernels::detail
