#include "redoubt/kernels/activation.hpp"

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"

namespace redoubt::detail {
namespace {

constexpr float relative_error = 4e-7f;  // of kernels::tanh

/// y = tanh(x).
class Tanh final : public ElementwiseOp {
 public:
  std::string_view name() const noexcept override { return "tanh"; }
  std::string_view onnx_name() const noexcept override { return "Tanh"; }
  void forward(const OpForward& call) const override { for_each_row(call, kernels::tanh); }
  void backward(const OpBackward& call) const override {
    elementwise_backward(call, [](float, float y) { return 1.0f - y * y; });
  }
  void bounds(const OpBounds& call) const override { monotone_bounds(call, relative_error, kernels::tanh); }
  bool monotone() const noexcept override { return true; }
  bool lines(const OpLines& call) const override {
    const auto value = [](double x) { return std::tanh(x); };
    return s_lines(call, 2 * relative_error, value, [&](double x) { return 1 - value(x) * value(x); });
  }
  std::string source(const OpSource& call) const override { return elementwise_source(call, "std::tanh(x)"); }
};

}  // namespace

const Op& tanh_op() noexcept {
  static const Tanh op;
  return op;
}

}  // namespace redoubt::detail
