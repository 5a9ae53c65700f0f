// AMX: see amx_body.hpp; the rules are those of body.hpp.
#include <immintrin.h>

#include "kernels/amx_body.hpp"
#include "kernels/amx_instructions.hpp"

namespace redoubt::kernels::detail {
namespace {

struct Bf16 : Bf16Tiles {
  static void finish(const void* sums, const float*, const float* bias, size_t n, bool relu, float* c) {
    const __mmask16 m = first(n);
    put(_mm512_add_ps(_mm512_loadu_ps(sums), _mm512_maskz_loadu_ps(m, bias)), m, relu, c);
  }
};

struct Int8 : Tiles {
  template <int C, int A, int B>
  static void dp() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
  }
  static void finish(const void* sums, const float* scales, const float* bias, size_t n, bool relu, float* c) {
    const __mmask16 m = first(n);
    const __m512 sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums));
    put(_mm512_fmadd_ps(sum, _mm512_maskz_loadu_ps(m, scales), _mm512_maskz_loadu_ps(m, bias)), m, relu, c);
  }
};

}  // namespace

extern constexpr AmxTable amx_narrow_table = {amx_product<Bf16>, amx_product<Int8>};

}  // namespace redoubt::kernels::detail
