#pragma once
// One line per op; the bodies are in the file of the same name, or of their family.
#include <algorithm>

#include "redoubt/nn/op.hpp"

namespace redoubt {
class Arena;
}

namespace redoubt::detail {

/// One thread: products inside a block of rows, which is itself a task, stay on their thread.
Arena& serial_arena();

const Op& add_op() noexcept;
const Op& attention_op() noexcept;
const Op& average_pool2d_op() noexcept;
const Op& batch_norm_op() noexcept;
const Op& concat_op() noexcept;
const Op& conv2d_op() noexcept;
const Op& conv_transpose2d_op() noexcept;
const Op& dense_op() noexcept;
const Op& div_op() noexcept;
const Op& dropout_op() noexcept;
const Op& embedding_op() noexcept;
const Op& embedding_bag_op() noexcept;
const Op& exp_op() noexcept;
const Op& gelu_op() noexcept;
const Op& gru_op() noexcept;
const Op& layer_norm_op() noexcept;
const Op& leaky_relu_op() noexcept;
const Op& log_op() noexcept;
const Op& lstm_op() noexcept;
const Op& max_pool2d_op() noexcept;
const Op& mul_op() noexcept;
const Op& reduce_max_op() noexcept;
const Op& reduce_mean_op() noexcept;
const Op& reduce_sum_op() noexcept;
const Op& relu_op() noexcept;
const Op& reshape_op() noexcept;
const Op& rms_norm_op() noexcept;
const Op& sigmoid_op() noexcept;
const Op& silu_op() noexcept;
const Op& slice_op() noexcept;
const Op& softmax_op() noexcept;
const Op& sqrt_op() noexcept;
const Op& sub_op() noexcept;
const Op& tanh_op() noexcept;
const Op& transpose_op() noexcept;

inline const Op* const* op_table(std::size_t& count) noexcept {
  static const Op* const table[] = {&add_op(),
                                    &attention_op(),
                                    &average_pool2d_op(),
                                    &batch_norm_op(),
                                    &concat_op(),
                                    &conv2d_op(),
                                    &conv_transpose2d_op(),
                                    &dense_op(),
                                    &div_op(),
                                    &dropout_op(),
                                    &embedding_op(),
                                    &embedding_bag_op(),
                                    &exp_op(),
                                    &gelu_op(),
                                    &gru_op(),
                                    &layer_norm_op(),
                                    &leaky_relu_op(),
                                    &log_op(),
                                    &lstm_op(),
                                    &max_pool2d_op(),
                                    &mul_op(),
                                    &reduce_max_op(),
                                    &reduce_mean_op(),
                                    &reduce_sum_op(),
                                    &relu_op(),
                                    &reshape_op(),
                                    &rms_norm_op(),
                                    &sigmoid_op(),
                                    &silu_op(),
                                    &slice_op(),
                                    &softmax_op(),
                                    &sqrt_op(),
                                    &sub_op(),
                                    &tanh_op(),
                                    &transpose_op()};
  count = sizeof(table) / sizeof(table[0]);
  return table;
}

/// For gradients that are sums: clears a row that nobody has written yet. Just before it is added to, it is in cache.
inline void clear_if_fresh(const OpBackward& call, std::size_t input, std::size_t row) {
  const MatrixView<float> to = call.input_gradients[input];
  if (to.data() && call.is_fresh(input)) std::fill_n(to.row(row).data(), to.cols(), 0.0f);
}

}  // namespace redoubt::detail
