#pragma once
// One line per op; the bodies are in the file of the same name.
#include "redoubt/nn/op.hpp"

namespace redoubt::detail {

const Op& add_op() noexcept;
const Op& dense_op() noexcept;
const Op& dropout_op() noexcept;
const Op& gelu_op() noexcept;
const Op& layer_norm_op() noexcept;
const Op& leaky_relu_op() noexcept;
const Op& relu_op() noexcept;
const Op& sigmoid_op() noexcept;
const Op& softmax_op() noexcept;
const Op& tanh_op() noexcept;

inline const Op* const* op_table(std::size_t& count) noexcept {
  static const Op* const table[] = {&add_op(),        &dense_op(), &dropout_op(), &gelu_op(),    &layer_norm_op(),
                                    &leaky_relu_op(), &relu_op(),  &sigmoid_op(), &softmax_op(), &tanh_op()};
  count = sizeof(table) / sizeof(table[0]);
  return table;
}

}  // namespace redoubt::detail
