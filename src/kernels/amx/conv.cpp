// AMX: see conv_body.hpp; the rules are those of body.hpp.
#include <immintrin.h>

#include "kernels/amx_instructions.hpp"
#include "kernels/conv_body.hpp"

namespace redoubt::kernels::detail {
namespace {

struct ConvTiles : Bf16Tiles {
  static void place(const float* sums, const float* bias, bool add, size_t n, bool relu, float* c) {
    const __mmask16 m = first(n);
    __m512 value = _mm512_loadu_ps(sums);
    if (bias) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(m, bias));
    if (add) value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(m, c));
    put(value, m, relu, c);
  }
};

}  // namespace

extern constexpr ConvKernels amx_conv_kernels = {amx_conv_places<ConvTiles>, amx_conv_sums<ConvTiles>};

}  // namespace redoubt::kernels::detail
