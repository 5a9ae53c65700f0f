#pragma once
#include <cstddef>

#include "redoubt/core/tensor.hpp"
#include "redoubt/data/sparse.hpp"
#include "redoubt/trees/forest.hpp"

namespace redoubt {

/// Predictions of a forest for the rows of a sparse matrix (absent cells are 0): rows x outputs(). Rows are spread out
/// in blocks of 512, in parallel; the whole matrix never is. The same bits as `predict_batch` on the dense matrix.
/// Error(shape_mismatch) if x.cols is not forest.inputs(), Error(invalid_argument) naming the row that is malformed.
Tensor<float> predict_sparse(const Forest& forest, const CsrView& x, Arena* arena = nullptr);

}  // namespace redoubt
