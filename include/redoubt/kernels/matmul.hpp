#pragma once
#include <cstdint>
#include <span>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/kernels/epilogue.hpp"

namespace redoubt::kernels {

/// What operands are rounded to before they are multiplied. Sums are fp32 always.
enum class ProductPrecision : std::uint8_t {
  fp32,    ///< as they are
  fp32x3,  ///< two parts of 8 bits each, leading and second; three products: all but second times second
  bf16     ///< 8 bits and the exponents of fp32, to nearest
};

const char* to_string(ProductPrecision precision) noexcept;  ///< "fp32", "fp32x3", "bf16"

/// Whether this machine has instructions for it (AVX-512 BF16; at level amx, AMX) at the active level; otherwise
/// operands are rounded first and multiplied as fp32, which takes longer than fp32.
bool has_kernels(ProductPrecision precision) noexcept;

/// Whether its products are faster than those of fp32 at the active level: both others at level amx, which multiplies
/// at 16 times the rate. bf16 is faster on AMD from Zen 4 on, too, which this does not say.
bool outruns_fp32(ProductPrecision precision) noexcept;

/// Takes a finished block of a product, whose first element is (row, col), on the thread that made it and while it is
/// in that thread's cache: whatever reads a product once need not find it in memory. Blocks do not overlap and cover
/// all of c. It leaves zeros in the block.
using ProductSink = function_ref<void(std::size_t row, std::size_t col, MatrixView<float> block)>;

struct MatmulOptions {
  Epilogue epilogue{};
  bool accumulate = false;  ///< start from what c holds instead of from zero (the bias is added once, as always)
  ProductPrecision precision = ProductPrecision::fp32;
  Arena* arena = nullptr;  ///< null = the default arena; small products stay on the calling thread
  /// Given: takes the product. c holds zeros before and afterwards; its memory may serve for the blocks.
  const ProductSink* sink = nullptr;
};

/// c[m,n] = a[m,k] * b[k,n], then the epilogue. fp32, row-major, any row stride, no alignment needed.
/// Element (i,j) is one chain of fused multiply-adds over k in ascending order, starting from bias[j] (plus c[i,j]
/// when accumulating), at every level above baseline. So results do not depend on the number of threads, on the
/// number of rows, or on whether AVX2 or AVX-512 runs; row i equals `matvec` of that row bit for bit.
/// The baseline rounds each product, so it differs: both are within (k+1) * 2^-24 * sum |a||b| of the exact value.
/// c must not overlap a or b. Products with more than 32 rows, and every transposed product, use a workspace of
/// up to 1.2 MB per thread that is kept for the next call; smaller ones allocate nothing.
/// In other precisions |error| <= (3 * 2^-16 (fp32x3) or 2^-7 + 2^-16 (bf16) + 2 (k + 2) * 2^-24) * sum |a||b|, worst
/// case; of random data 5e-6 and 3e-3 of the norm. Sums are in another order, still the same at any number of threads;
/// numbers below 2^-126 count as 0, infinity gives NaN in fp32x3; up to 64 MB for the rounded operands are kept per
/// thread. Thread-safe. Throws Error(shape_mismatch) with all three shapes.
void matmul(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
            const MatmulOptions& options = {});

/// c[m,n] = transpose(a[k,m]) * b[k,n]: the weight gradient of a dense layer. Otherwise as `matmul`.
void matmul_tn(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
               const MatmulOptions& options = {});

/// c[m,n] = a[m,k] * transpose(b[n,k]): the input gradient of a dense layer. Otherwise as `matmul`.
void matmul_nt(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
               const MatmulOptions& options = {});

/// out[n] = activation(x[k] * w[k,n] + bias[n]): one row through a dense layer, on the calling thread.
/// Same bits as `matmul` with one row. Never allocates. `out` must not overlap the inputs.
/// Returns errc::shape_mismatch, and writes nothing, if x.size() != w.rows() or out.size() != w.cols().
[[nodiscard]] errc matvec(std::span<const float> x, MatrixView<const float> w, Epilogue epilogue,
                          std::span<float> out) noexcept;

/// The references: plain loops, same signatures (the arena is ignored).
namespace naive {
void matmul(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
            const MatmulOptions& options = {});
void matmul_tn(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
               const MatmulOptions& options = {});
void matmul_nt(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
               const MatmulOptions& options = {});
[[nodiscard]] errc matvec(std::span<const float> x, MatrixView<const float> w, Epilogue epilogue,
                          std::span<float> out) noexcept;
}  // namespace naive

}  // namespace redoubt::kernels
