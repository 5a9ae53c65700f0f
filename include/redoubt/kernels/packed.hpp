#pragma once
#include <cstddef>

#include "redoubt/core/tensor.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/kernels/epilogue.hpp"

namespace redoubt::kernels {

/// The right-hand side of products that are repeated, laid out once in the order in which the kernels of the active
/// level read it: panels of `panel()` columns, all rows of one after the other. Immutable; takes rows * cols floats,
/// rounded up to whole panels.
class PackedWeights {
 public:
  PackedWeights() = default;
  explicit PackedWeights(MatrixView<const float> w);
  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  std::size_t panel() const noexcept { return panel_; }
  const float* panels() const noexcept { return values_.data(); }
  float operator()(std::size_t row, std::size_t col) const noexcept {
    return values_.data()[(col / panel_ * rows_ + row) * panel_ + col % panel_];
  }

 private:
  Tensor<float> values_;
  std::size_t rows_ = 0, cols_ = 0, panel_ = 1;
};

/// Left-hand side of a product: patches of an image that are read where they lie, or rows of a matrix (one segment).
/// Element (i, s * segment + k) is data[i * row + s * segment_row + k] for k < segment, s < segments.
struct Patches {
  const float* data = nullptr;
  std::size_t rows = 0, row = 0;
  std::size_t segment = 0, segments = 1, segment_row = 0;
};

/// c[:, columns] = activation(patches * w[:, columns] + bias) for the columns [first, last) of w; `first` is a multiple
/// of w.panel(). Same bits as `matmul` of the gathered patches at the same level, so as one row of it. On the calling
/// thread; noexcept, no allocation; sizes are the caller's duty: segment * segments == w.rows(), c is rows x w.cols().
void packed_matmul(const Patches& patches, const PackedWeights& w, const MatrixView<float>& c, const Epilogue& epilogue,
                   std::size_t first, std::size_t last) noexcept;

/// The same with weights that are read where they lie: c = activation(patches * w + bias), for few uses of each.
void patch_matmul(const Patches& patches, const MatrixView<const float>& w, const MatrixView<float>& c,
                  const Epilogue& epilogue) noexcept;

/// dst[p][c] = the largest src[(p * step + y * src_row + x * channels) + c] for y < height, x < width: one row of
/// places of a max-pool whose windows lie inside the image. A NaN never wins. noexcept, no allocation.
void max_pool(const float* src, std::size_t src_row, std::size_t step, std::size_t height, std::size_t width,
              std::size_t channels, std::size_t places, float* dst) noexcept;

/// Slopes of max_pool's src from those of its dst: each goes to the first value of its window that equals the largest,
/// `best`, and the others get 0; with `relu`, src is the output of a ReLU, and dst gets the slopes of its input: 0
/// where the largest is not above 0. dst is laid out as src; `add`: to what is there, else it is assigned and windows
/// must not overlap. noexcept, no allocation; dst overlaps nothing else.
void max_pool_backward(const float* src, const float* best, const float* slopes, std::size_t src_row, std::size_t step,
                       std::size_t height, std::size_t width, std::size_t channels, std::size_t places, bool relu,
                       bool add, float* dst) noexcept;

/// The references: plain loops, same signatures.
namespace naive {
void packed_matmul(const Patches& patches, const PackedWeights& w, const MatrixView<float>& c, const Epilogue& epilogue,
                   std::size_t first, std::size_t last) noexcept;
void patch_matmul(const Patches& patches, const MatrixView<const float>& w, const MatrixView<float>& c,
                  const Epilogue& epilogue) noexcept;
void max_pool(const float* src, std::size_t src_row, std::size_t step, std::size_t height, std::size_t width,
              std::size_t channels, std::size_t places, float* dst) noexcept;
void max_pool_backward(const float* src, const float* best, const float* slopes, std::size_t src_row, std::size_t step,
                       std::size_t height, std::size_t width, std::size_t channels, std::size_t places, bool relu,
                       bool add, float* dst) noexcept;
}  // namespace naive

}  // namespace redoubt::kernels
