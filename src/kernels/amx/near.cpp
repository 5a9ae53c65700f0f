// AMX: see near_body.hpp; the rules are those of body.hpp.
#include <immintrin.h>

#include "kernels/amx_instructions.hpp"
#include "kernels/near_body.hpp"

namespace redoubt::kernels::detail {
namespace {

struct Compared : Bf16Tiles {
  struct Near {
    const NearBlocks& t;
    __m512 reach;
    Near(const NearBlocks& blocks, size_t col) : t(blocks), reach(_mm512_loadu_ps(blocks.reach + col)) {}
    unsigned bits(const float* sums, size_t row) const {
      const __m512 s = _mm512_load_ps(sums);
      const __mmask16 of_row = _mm512_cmp_ps_mask(s, _mm512_set1_ps(t.own[row]), _CMP_NLT_UQ);
      const __mmask16 of_column = _mm512_cmp_ps_mask(_mm512_add_ps(s, reach), _mm512_set1_ps(t.base[row]), _CMP_NLT_UQ);
      return unsigned(of_row) | unsigned(of_column);
    }
  };
};

}  // namespace

extern constexpr NearKernel amx_near_tiles = near_tiles<Compared>;

}  // namespace redoubt::kernels::detail
