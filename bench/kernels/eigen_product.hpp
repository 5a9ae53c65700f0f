#pragma once
#include "redoubt/core/view.hpp"

namespace redoubt::bench {

/// c = a * b by Eigen, one thread, compiled for this machine.
void eigen_product(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c);

}  // namespace redoubt::bench
