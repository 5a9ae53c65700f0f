#include "kernels/confident.hpp"

#include "kernels/confident_body.hpp"

namespace redoubt::kernels::detail {
namespace {

template <class T>
void naive_rows(const T* p, std::size_t stride, std::size_t rows, std::size_t classes, const T* least,
                ConfidentRow* out) {
  for (std::size_t r = 0; r < rows; ++r) out[r] = confident_short(p + r * stride, classes, least);
}

}  // namespace

const ConfidentTable naive_confident_table = {0, naive_rows<double>, naive_rows<float>};

const ConfidentTable& confident_table([[maybe_unused]] Isa isa) noexcept {
#if defined(REDOUBT_HAS_X86_KERNELS)
  if (isa >= Isa::avx512) return avx512_confident_table;
  if (isa >= Isa::avx2) return avx2_confident_table;
#endif
  return naive_confident_table;
}

}  // namespace redoubt::kernels::detail
