#pragma once
#include <cmath>

#include "redoubt/kernels/epilogue.hpp"

namespace redoubt::kernels::detail {

/// One value of an epilogue, by definition: for the naive products.
inline float activate(float value, Activation activation) {
  switch (activation) {
    case Activation::none: return value;
    case Activation::relu: return value < 0 ? 0 : value;
    case Activation::sigmoid: return 1 / (1 + std::exp(-value));
    case Activation::tanh: return std::tanh(value);
  }
  return value;
}

}  // namespace redoubt::kernels::detail
