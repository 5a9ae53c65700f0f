// AMX: see tile_body.hpp; the rules are those of body.hpp.
#include <immintrin.h>

#include "kernels/amx_instructions.hpp"
#include "kernels/tile_body.hpp"

namespace redoubt::kernels::detail {
namespace {

struct Rounded : Bf16Tiles {
  static void start(const float* bias, const float* c, size_t n, float* to) {
    const __mmask16 m = first(n);
    const __m512 zero = _mm512_setzero_ps();
    _mm512_storeu_ps(
        to, _mm512_add_ps(bias ? _mm512_maskz_loadu_ps(m, bias) : zero, c ? _mm512_maskz_loadu_ps(m, c) : zero));
  }
  static void finish(const float* sums, size_t n, bool relu, float* c) {
    put(_mm512_loadu_ps(sums), first(n), relu, c);
  }
};

}  // namespace

extern constexpr TileKernel amx_tile_product = amx_tiled_product<Rounded>;

}  // namespace redoubt::kernels::detail
