#include <cmath>

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt::detail {
namespace {

/// y = a + b, equal shapes: residual connections.
class Add final : public Op {
 public:
  std::string_view name() const noexcept override { return "add"; }
  std::string_view onnx_name() const noexcept override { return "Add"; }
  std::size_t arity() const noexcept override { return 2; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double>) const override {
    if (inputs[0] != inputs[1]) {
      fail(errc::shape_mismatch, fmt::format("add: the inputs have shapes [{}] and [{}]; they must be equal",
                                             fmt::join(inputs[0], ", "), fmt::join(inputs[1], ", ")));
    }
    return inputs[0];
  }
  void forward(const OpForward& call) const override {
    rows_in_blocks(call.output.rows(), call.output.cols(), call.arena, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        const auto a = call.inputs[0].row(r), b = call.inputs[1].row(r);
        const auto y = call.output.row(r);
        for (std::size_t i = 0; i < a.size(); ++i) y[i] = a[i] + b[i];
      }
    });
  }
  bool assigns_gradients() const noexcept override { return true; }
  GradientPlace gradient_place() const noexcept override { return GradientPlace::passed; }
  void backward(const OpBackward& call) const override {
    for (std::size_t s = 0; s < call.input_gradients.size(); ++s) {
      const MatrixView<float> gradient = call.input_gradients[s];
      if (!gradient.data() || gradient.data() == call.output_gradient.data()) continue;
      rows_in_blocks(gradient.rows(), gradient.cols(), call.arena, [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
          const auto from = call.output_gradient.row(r);
          const auto to = gradient.row(r);
          if (call.is_fresh(s)) {
            std::copy(from.begin(), from.end(), to.begin());
          } else {
            for (std::size_t i = 0; i < from.size(); ++i) to[i] += from[i];
          }
        }
      });
    }
  }
  // Float addition is monotone, so the sums of the ends need no widening.
  void bounds(const OpBounds& call) const override {
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t i = 0; i < call.output_lower.cols(); ++i) {
        call.output_lower(r, i) = call.input_lower[0](r, i) + call.input_lower[1](r, i);
        call.output_upper(r, i) = call.input_upper[0](r, i) + call.input_upper[1](r, i);
      }
    }
  }
  std::size_t affine_terms(std::span<const OpShape>, std::span<const double>) const override { return 2; }
  bool monotone() const noexcept override { return true; }
  std::string source(const OpSource& call) const override {
    return fmt::format("  for (int i = 0; i < {}; ++i) {}[i] = {}[i] + {}[i];\n", call.output_size, call.output,
                       call.inputs[0], call.inputs[1]);
  }
};

}  // namespace

const Op& add_op() noexcept {
  static const Add op;
  return op;
}

}  // namespace redoubt::detail
