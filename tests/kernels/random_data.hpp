#pragma once
// Random operands for kernel tests.
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"

namespace redoubt::test {

/// rows x cols values in [-scale, scale), the same for the same arguments.
inline Tensor<float> random_tensor(std::size_t rows, std::size_t cols, std::uint64_t seed, double scale = 1) {
  Tensor<float> values({rows, cols});
  Random random(seed, rows * 1000003 + cols);
  for (float& value : values.flat()) value = static_cast<float>(random.uniform(-scale, scale));
  return values;
}

}  // namespace redoubt::test
