#pragma once
#include <cstddef>

#include "redoubt/core/view.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt::kernels::detail {

/// Which side is transposed: c = a b, a' b or a b'.
enum class Form { nn, tn, nt };

struct Sizes {
  std::size_t m, n, k;
};

/// A product in options.precision, which is not fp32, by the instructions for bf16. False: this machine has none at the
/// active level, and nothing was done.
bool rounded_product(Form form, MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                     const MatmulOptions& options, const Sizes& sizes);

/// dst = src rounded to bf16, and in `rest`, unless it is null, what is left rounded; both without gaps.
void round_values(MatrixView<const float> src, float* dst, float* rest) noexcept;

/// Memory of the calling thread, kept for its next product. A thread that waits inside a product may be given another
/// one, which then gets its own.
class RoundedMemory {
 public:
  explicit RoundedMemory(std::size_t bytes);
  ~RoundedMemory();
  RoundedMemory(const RoundedMemory&) = delete;
  RoundedMemory& operator=(const RoundedMemory&) = delete;
  unsigned char* data() const noexcept { return data_; }

 private:
  unsigned char* data_;
  bool kept_;
};

}  // namespace redoubt::kernels::detail
