#include "redoubt/kernels/activation.hpp"

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"

namespace redoubt::detail {
namespace {

/// y = max(x, 0).
class Relu final : public ElementwiseOp {
 public:
  std::string_view name() const noexcept override { return "relu"; }
  std::string_view onnx_name() const noexcept override { return "Relu"; }
  void forward(const OpForward& call) const override { for_each_row(call, kernels::relu); }
  /// Where the gradient is assigned, in place or apart.
  void backward(const OpBackward& call) const override {
    const auto gradient = call.input_gradients[0];
    if (!gradient.data()) return;
    rows_in_blocks(gradient.rows(), gradient.cols(), call.arena, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        const auto y = call.output.row(r), from = call.output_gradient.row(r);
        const auto to = gradient.row(r);
        if (call.is_fresh(0))
          kernels::relu_gradient(y, from, to);
        else
          for (std::size_t i = 0; i < to.size(); ++i) to[i] += y[i] > 0 ? from[i] : 0.0f;
      }
    });
  }
  void bounds(const OpBounds& call) const override { monotone_bounds(call, 0.0f, kernels::relu); }
  bool monotone() const noexcept override { return true; }
  bool lines(const OpLines& call) const override { return relu_lines(call, 0.0f); }
  std::string source(const OpSource& call) const override { return elementwise_source(call, "x < 0 ? 0 : x"); }
};

}  // namespace

const Op& relu_op() noexcept {
  static const Relu op;
  return op;
}

}  // namespace redoubt::detail
