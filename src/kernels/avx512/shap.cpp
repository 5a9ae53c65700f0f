// AVX-512 F/BW/DQ/VL. Compiled with the flags of this level (cmake/RedoubtIsa.cmake): no other includes, see body.hpp.
#include <immintrin.h>

#include "kernels/shap_body.hpp"

namespace redoubt::kernels::detail {
namespace {

struct ShapAvx512 {
  using Reg = __m512d;
  using Mask = __mmask8;
  static Reg set(double x) { return _mm512_set1_pd(x); }
  static Reg load(const double* p) { return _mm512_load_pd(p); }
  static void store(double* p, Reg x) { _mm512_store_pd(p, x); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_pd(a, b); }
  static Reg add(Reg a, Reg b) { return _mm512_add_pd(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_pd(a, b, c); }
  static Mask mask(uint8_t bits) { return bits; }
  static Reg select(Mask m, Reg yes, Reg no) { return _mm512_mask_blend_pd(m, no, yes); }
  static uint8_t at_most(const float* x, float t) {
    return _mm256_cmp_ps_mask(_mm256_loadu_ps(x), _mm256_set1_ps(t), _CMP_LE_OQ);
  }
  static uint8_t above(const float* x, float t) {
    return _mm256_cmp_ps_mask(_mm256_loadu_ps(x), _mm256_set1_ps(t), _CMP_GT_OQ);
  }
};

}  // namespace

const ShapTable avx512_shap_table = {shap_tree<ShapAvx512>};

}  // namespace redoubt::kernels::detail
