#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/tensor.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/kernels/epilogue.hpp"

namespace redoubt::kernels {

/// How weights are kept and multiplied. Sums are formed in fp32 (bf16) or exactly, in 32-bit integers (int8).
enum class Precision : std::uint8_t {
  fp32,  ///< 24 bits
  bf16,  ///< 8 bits and the exponents of fp32, both sides rounded to nearest: relative error of a product 2^-8
  int8   ///< weights: 8 bits with one scale per column; left sides: 8 bits without sign over a range given for all
};

const char* to_string(Precision precision) noexcept;  ///< "fp32", "bf16", "int8"

/// Whether this machine has instructions for it (AVX-512 BF16 and VNNI; at level amx, AMX too) at the active level;
/// otherwise the products below are plain loops.
bool has_kernels(Precision precision) noexcept;

/// What left-hand sides lie in, for int8: x is stored as round(x / scale) + zero, clamped to [0, 255].
struct QuantisedRange {
  float scale = 1;
  std::uint8_t zero = 0;
  /// The finest that covers [lower, upper] and 0.
  static QuantisedRange covering(float lower, float upper) noexcept;
};

/// The right-hand side of products in bf16 or int8, laid out once: panels of 16 columns, in which 2 or 4 values of a
/// column that belong to one instruction are neighbours. A depth that is no multiple of 2 or 4 is filled up with zeros;
/// at level amx to whole tiles of 64 bytes, where that adds little. Immutable.
class NarrowWeights {
 public:
  static constexpr std::size_t panel = 16;

  NarrowWeights() = default;
  /// `bias` (w.cols() values or empty) is kept; `range` is that of the left-hand sides, for int8. precision is not
  /// fp32.
  NarrowWeights(MatrixView<const float> w, std::span<const float> bias, Precision precision,
                const QuantisedRange& range = {});
  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  Precision precision() const noexcept { return precision_; }
  const QuantisedRange& range() const noexcept { return range_; }
  std::size_t together() const noexcept { return precision_ == Precision::bf16 ? 2 : 4; }
  std::size_t depth() const noexcept { return depth_; }  ///< rows() and the zeros below them
  /// Bytes of one value of a left-hand side.
  std::size_t width() const noexcept { return precision_ == Precision::bf16 ? 2 : 1; }
  const std::byte* panels() const noexcept { return values_.data(); }
  const float* scales() const noexcept { return scales_.data(); }  ///< of columns; int8
  const float* bias() const noexcept { return bias_.data(); }      ///< of columns, with what the zero of the range adds

 private:
  redoubt::detail::AlignedVector<std::byte> values_;
  std::vector<float> scales_, bias_;
  std::size_t rows_ = 0, cols_ = 0, depth_ = 0;
  Precision precision_ = Precision::bf16;
  QuantisedRange range_;
};

/// Left-hand side, as Patches, of values that `narrow` made; segment is a multiple of w.together(). `lines` times: rows
/// of patches of an image, say.
struct NarrowPatches {
  const std::byte* data = nullptr;
  std::size_t rows = 0, row = 0;  ///< distances in values
  std::size_t segment = 0, segments = 1, segment_row = 0;
  std::size_t lines = 1, line = 0;
};

/// Where results go, those of a row side by side; distances in values.
struct NarrowResults {
  std::byte* data = nullptr;
  std::size_t row = 0, line = 0;
  const NarrowWeights* next = nullptr;  ///< in the format of its left-hand sides; without it, floats
  bool pool = false;                    ///< instead of all, the largest of 2 x 2 in lines and rows, as max_pool does
};

/// Whether products pool fast at the active level.
bool has_pooled_products() noexcept;

/// dst[i] = src[i] in the format of left-hand sides of `w`. A NaN becomes the least value in int8. noexcept, no
/// allocation.
void narrow(const float* src, std::size_t n, const NarrowWeights& w, std::byte* dst) noexcept;

/// c[:, columns] = activation(patches * w[:, columns] + w.bias) for the columns [first, last) of w; `first` is a
/// multiple of NarrowWeights::panel. The bits of a row do not depend on the number of rows or lines. int8 gives the
/// same bits with VNNI and with AMX; bf16 is within (depth + 2) * 2^-24 * (sum |a||b| + |bias|) of the exact sum of the
/// rounded values, besides numbers below 2^-126, which count as 0. On the calling thread; noexcept, no allocation.
/// segment * segments is w.depth() or w.rows(), the latter rounded up to a multiple of w.together(); activation is none
/// or relu if c has `next` or `pool`.
void narrow_matmul(const NarrowPatches& patches, const NarrowWeights& w, const NarrowResults& c, Activation activation,
                   std::size_t first, std::size_t last) noexcept;
/// The same into floats: c is patches.lines * patches.rows x w.cols().
void narrow_matmul(const NarrowPatches& patches, const NarrowWeights& w, MatrixView<float> c, Activation activation,
                   std::size_t first, std::size_t last) noexcept;

/// The references: plain loops, same signatures. The sums of bf16 are in another order than those of instructions.
namespace naive {
void narrow(const float* src, std::size_t n, const NarrowWeights& w, std::byte* dst) noexcept;
void narrow_matmul(const NarrowPatches& patches, const NarrowWeights& w, const NarrowResults& c, Activation activation,
                   std::size_t first, std::size_t last) noexcept;
void narrow_matmul(const NarrowPatches& patches, const NarrowWeights& w, MatrixView<float> c, Activation activation,
                   std::size_t first, std::size_t last) noexcept;
}  // namespace naive

}  // namespace redoubt::kernels
