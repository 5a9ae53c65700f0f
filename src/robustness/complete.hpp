#pragma once
// Features for methods that cannot do with missing values.
#include <cstddef>
#include <span>

#include "redoubt/core/tensor.hpp"
#include "redoubt/core/view.hpp"

namespace redoubt::detail {

/// Error(invalid_argument) naming `who` and the first row and column that is NaN or infinite.
void require_finite(MatrixView<const float> x, const char* who);

/// A copy in which NaN and infinite values are the mean of their column. With `scaled`, columns have mean 0 and
/// standard deviation 1 (constant ones are 0).
Tensor<float> completed(MatrixView<const float> x, bool scaled);

}  // namespace redoubt::detail
