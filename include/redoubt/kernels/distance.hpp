#pragma once
#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt::kernels {

/// out[m,n] = squared Euclidean distance of row i of a[m,d] and row j of b[n,d]. Computed from differences, not from
/// norms, so equal rows give exactly 0. Relative error <= (d + 3) * 2^-24. Allocates nothing; parallel over rows
/// of `a` with the same result at any thread count. Throws Error(shape_mismatch).
void squared_distances(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> out,
                       Arena* arena = nullptr);

namespace naive {
/// The reference: plain loops, same signature (the arena is ignored).
void squared_distances(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> out,
                       Arena* arena = nullptr);
}  // namespace naive

}  // namespace redoubt::kernels
