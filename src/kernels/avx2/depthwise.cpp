// Depthwise convolutions on AVX2. Compiled with the flags of this level: no other includes, see body.hpp.
#include <immintrin.h>

#include "kernels/depthwise_body.hpp"

namespace redoubt::kernels::detail {
namespace {

struct Avx2 {
  using Reg = __m256;
  using Mask = __m256i;
  static constexpr size_t width = 8;
  static Mask tail(size_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n > width ? int(width) : int(n)), lane);
  }
  static Reg zero() { return _mm256_setzero_ps(); }
  static Reg load(const float* p) { return _mm256_loadu_ps(p); }
  static Reg load(const float* p, Mask m) { return _mm256_maskload_ps(p, m); }
  static void store(float* p, Reg x) { _mm256_storeu_ps(p, x); }
  static void store(float* p, Reg x, Mask m) { _mm256_maskstore_ps(p, m, x); }
  static Reg max(Reg a, Reg b) { return _mm256_max_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm256_fmadd_ps(a, b, c); }
};

}  // namespace

extern constexpr DepthwiseKernel avx2_depthwise = depthwise_kernel<Avx2>;

}  // namespace redoubt::kernels::detail
