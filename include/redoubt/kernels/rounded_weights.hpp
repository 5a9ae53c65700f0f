#pragma once
#include <cstddef>
#include <vector>

#include "redoubt/core/tensor.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt::kernels {

namespace detail {
struct TileKernels;
}

/// The right-hand side of products in fp32x3 or bf16 that are repeated: where the active level multiplies by tiles
/// (AMX), rounded and laid out once, elsewhere a copy. Immutable; takes 2 (bf16) or 4 bytes a value, filled up to 32
/// rows and to whole panels of 32 columns, or of up to 512 if there are less than 256 rows.
class RoundedWeights {
 public:
  RoundedWeights() = default;
  RoundedWeights(MatrixView<const float> w, ProductPrecision precision);
  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  ProductPrecision precision() const noexcept { return precision_; }

 private:
  friend void matmul(MatrixView<const float> a, const RoundedWeights& w, MatrixView<float> c, const Epilogue& epilogue);
  const detail::TileKernels* kernels_ = nullptr;  // those that `tiles_` is laid out for
  redoubt::detail::AlignedVector<std::byte> tiles_;
  Tensor<float> values_;  // where there are no tiles
  std::size_t rows_ = 0, cols_ = 0;
  ProductPrecision precision_ = ProductPrecision::fp32;
};

/// c[m,n] = a[m,k] * w[k,n], then the epilogue: the bits, errors and workspace of `matmul` in w.precision(), on the
/// calling thread.
void matmul(MatrixView<const float> a, const RoundedWeights& w, MatrixView<float> c, const Epilogue& epilogue = {});

}  // namespace redoubt::kernels
