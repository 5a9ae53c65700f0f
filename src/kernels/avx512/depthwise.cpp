// Depthwise convolutions on AVX-512. Compiled with the flags of this level: no other includes, see body.hpp.
#include <immintrin.h>

#include "kernels/depthwise_body.hpp"

namespace redoubt::kernels::detail {
namespace {

struct Avx512 {
  using Reg = __m512;
  using Mask = __mmask16;
  static constexpr size_t width = 16;
  static Mask tail(size_t n) { return n >= width ? Mask(0xffff) : Mask((1u << n) - 1); }
  static Reg zero() { return _mm512_setzero_ps(); }
  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static Reg load(const float* p, Mask m) { return _mm512_maskz_loadu_ps(m, p); }
  static void store(float* p, Reg x) { _mm512_storeu_ps(p, x); }
  static void store(float* p, Reg x, Mask m) { _mm512_mask_storeu_ps(p, m, x); }
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
};

}  // namespace

extern constexpr DepthwiseKernel avx512_depthwise = depthwise_kernel<Avx512>;

}  // namespace redoubt::kernels::detail
