// AVX2 + FMA. Compiled with the flags of this level (cmake/RedoubtIsa.cmake): no other includes, see body.hpp.
#include <immintrin.h>

#include "kernels/shap_body.hpp"

namespace redoubt::kernels::detail {
namespace {

struct ShapAvx2 {
  struct Reg {
    __m256d low, high;
  };
  using Mask = Reg;
  static Reg set(double x) { return {_mm256_set1_pd(x), _mm256_set1_pd(x)}; }
  static Reg load(const double* p) { return {_mm256_load_pd(p), _mm256_load_pd(p + 4)}; }
  static void store(double* p, Reg x) {
    _mm256_store_pd(p, x.low);
    _mm256_store_pd(p + 4, x.high);
  }
  static Reg mul(Reg a, Reg b) { return {_mm256_mul_pd(a.low, b.low), _mm256_mul_pd(a.high, b.high)}; }
  static Reg add(Reg a, Reg b) { return {_mm256_add_pd(a.low, b.low), _mm256_add_pd(a.high, b.high)}; }
  static Reg fma(Reg a, Reg b, Reg c) {
    return {_mm256_fmadd_pd(a.low, b.low, c.low), _mm256_fmadd_pd(a.high, b.high, c.high)};
  }
  /// The bit of each lane moves to the sign, which is all that blendv reads.
  static Mask mask(uint8_t bits) {
    const __m256i all = _mm256_set1_epi64x(bits);
    return {_mm256_castsi256_pd(_mm256_sllv_epi64(all, _mm256_setr_epi64x(63, 62, 61, 60))),
            _mm256_castsi256_pd(_mm256_sllv_epi64(all, _mm256_setr_epi64x(59, 58, 57, 56)))};
  }
  static Reg select(Mask m, Reg yes, Reg no) {
    return {_mm256_blendv_pd(no.low, yes.low, m.low), _mm256_blendv_pd(no.high, yes.high, m.high)};
  }
  static uint8_t at_most(const float* x, float t) {
    return static_cast<uint8_t>(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_set1_ps(t), _CMP_LE_OQ)));
  }
  static uint8_t above(const float* x, float t) {
    return static_cast<uint8_t>(_mm256_movemask_ps(_mm256_cmp_ps(_mm256_loadu_ps(x), _mm256_set1_ps(t), _CMP_GT_OQ)));
  }
};

}  // namespace

const ShapTable avx2_shap_table = {shap_tree<ShapAvx2>};

}  // namespace redoubt::kernels::detail
