#pragma once
// What reshape, transpose, slice and concat share: values move, none changes. A split is one slice per part.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "nn/ops/op_table.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt::detail {

/// Every output value is one input value: source(call, s, visit) calls visit(index in input s, index in the output).
template <class Derived>
class Arrange : public Op {
 public:
  void forward(const OpForward& call) const override { move(call, call.inputs, call.output); }
  bool assigns_gradients() const noexcept override { return true; }
  void backward(const OpBackward& call) const override {
    for (std::size_t s = 0; s < call.inputs.size(); ++s) {
      const auto to = call.input_gradients[s];
      if (!to.data()) continue;
      for (std::size_t r = 0; r < to.rows(); ++r) {
        const auto from = call.output_gradient.row(r);
        clear_if_fresh(call, s, r);
        Derived::places(call, s, [&](std::size_t i, std::size_t o) { to(r, i) += from[o]; });
      }
    }
  }
  void bounds(const OpBounds& call) const override {
    move(call, call.input_lower, call.output_lower);
    move(call, call.input_upper, call.output_upper);
  }

  std::size_t affine_terms(std::span<const OpShape> inputs, std::span<const double>) const override {
    return inputs.size();  // of a tensor that is given more than once
  }
  bool monotone() const noexcept override { return true; }

 private:
  static void move(const OpContext& call, std::span<const MatrixView<const float>> inputs, MatrixView<float> output) {
    for (std::size_t s = 0; s < inputs.size(); ++s) {
      for (std::size_t r = 0; r < output.rows(); ++r) {
        const auto from = inputs[s].row(r);
        const auto to = output.row(r);
        Derived::places(call, s, [&](std::size_t i, std::size_t o) { to[o] = from[i]; });
      }
    }
  }
};

/// Values before and after an axis.
inline std::pair<std::size_t, std::size_t> around(const OpShape& shape, std::size_t axis) {
  std::size_t outer = 1, inner = 1;
  for (std::size_t a = 0; a < shape.size(); ++a) (a < axis ? outer : inner) *= a == axis ? 1 : shape[a];
  return {outer, inner};
}

}  // namespace redoubt::detail
