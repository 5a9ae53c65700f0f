#pragma once
#include <cstddef>
#include <cstdint>

namespace redoubt::kernels {

/// Function applied to every element of a product while it is still in a register.
enum class Activation : std::uint8_t { none, relu, sigmoid, tanh };

/// What happens to a product before it is stored: c = activation(product + bias).
struct Epilogue {
  const float* bias = nullptr;  ///< one value per column, or null
  Activation activation = Activation::none;
};

}  // namespace redoubt::kernels
