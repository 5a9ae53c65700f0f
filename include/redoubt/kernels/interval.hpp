#pragma once
#include <span>

#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt::kernels {

/// Bounds of a dense layer over a box (interval bound propagation, Gowal et al., arXiv:1810.12715):
/// for every x with src_lower[i] <= x <= src_upper[i] (per element), row i of dst_lower/dst_upper encloses
/// x * w[k,n] + bias. The bounds are widened by 2(k+4) * 2^-24 * (|bias| + sum |w| max(|lower|, |upper|)) per element,
/// and by the smallest normal number, so they enclose both the exact value and what `matmul` and `matvec` compute at
/// any level. Shapes: src [m,k], dst [m,n]; bias n values or null. dst must not overlap the inputs. Allocates nothing;
/// parallel over rows with the same result at any thread count. Throws Error(shape_mismatch).
void affine_bounds(MatrixView<const float> src_lower, MatrixView<const float> src_upper, MatrixView<const float> w,
                   const float* bias, MatrixView<float> dst_lower, MatrixView<float> dst_upper, Arena* arena = nullptr);

namespace naive {
/// The reference: double precision, rounded outwards, same signature (the arena is ignored). At most as wide.
void affine_bounds(MatrixView<const float> src_lower, MatrixView<const float> src_upper, MatrixView<const float> w,
                   const float* bias, MatrixView<float> dst_lower, MatrixView<float> dst_upper, Arena* arena = nullptr);
}  // namespace naive

}  // namespace redoubt::kernels
