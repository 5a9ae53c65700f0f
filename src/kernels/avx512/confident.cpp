// Confident learning on AVX-512. Compiled with the flags of this level: no other includes, see body.hpp.
#include "kernels/confident_body.hpp"

#include <immintrin.h>

namespace redoubt::kernels::detail {
namespace {

struct Fp64 {
  using Value = double;
  static constexpr size_t lanes = 8;
  static constexpr unsigned every = 0xff;
  static __m512d all(double v) { return _mm512_set1_pd(v); }
  static __m512d load(const double* p) { return _mm512_loadu_pd(p); }
  static __mmask8 yes() { return 0xff; }
  static __mmask8 both(__mmask8 a, __mmask8 b) { return _kand_mask8(a, b); }
  static __mmask8 at_least(__m512d a, __m512d b) { return _mm512_cmp_pd_mask(a, b, _CMP_GE_OQ); }
  static __m512d where(__mmask8 m, __m512d a, __m512d b) { return _mm512_mask_blend_pd(m, b, a); }
  static __m512d larger(__m512d v, __m512d most) { return _mm512_max_pd(v, most); }
  static double largest(__m512d v) { return _mm512_reduce_max_pd(v); }
  static unsigned bits(__mmask8 m) { return m; }
};

struct Fp32 {
  using Value = float;
  static constexpr size_t lanes = 16;
  static constexpr unsigned every = 0xffff;
  static __m512 all(float v) { return _mm512_set1_ps(v); }
  static __m512 load(const float* p) { return _mm512_loadu_ps(p); }
  static __mmask16 yes() { return 0xffff; }
  static __mmask16 both(__mmask16 a, __mmask16 b) { return _kand_mask16(a, b); }
  static __mmask16 at_least(__m512 a, __m512 b) { return _mm512_cmp_ps_mask(a, b, _CMP_GE_OQ); }
  static __m512 where(__mmask16 m, __m512 a, __m512 b) { return _mm512_mask_blend_ps(m, b, a); }
  static __m512 larger(__m512 v, __m512 most) { return _mm512_max_ps(v, most); }
  static float largest(__m512 v) { return _mm512_reduce_max_ps(v); }
  static unsigned bits(__mmask16 m) { return m; }
};

}  // namespace

extern constexpr ConfidentTable avx512_confident_table = {2, confident_rows<Fp64>, confident_rows<Fp32>};

}  // namespace redoubt::kernels::detail
