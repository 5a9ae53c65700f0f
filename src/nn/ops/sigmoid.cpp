#include "redoubt/kernels/activation.hpp"

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"

namespace redoubt::detail {
namespace {

constexpr float relative_error = 4e-7f;  // of kernels::sigmoid

/// y = 1 / (1 + e^-x).
class Sigmoid final : public ElementwiseOp {
 public:
  std::string_view name() const noexcept override { return "sigmoid"; }
  std::string_view onnx_name() const noexcept override { return "Sigmoid"; }
  void forward(const OpForward& call) const override { for_each_row(call, kernels::sigmoid); }
  void backward(const OpBackward& call) const override {
    elementwise_backward(call, [](float, float y) { return y * (1.0f - y); });
  }
  void bounds(const OpBounds& call) const override { monotone_bounds(call, relative_error, kernels::sigmoid); }
  bool monotone() const noexcept override { return true; }
  bool lines(const OpLines& call) const override {
    const auto value = [](double x) { return 1 / (1 + std::exp(-x)); };
    return s_lines(call, 2 * relative_error, value, [&](double x) { return value(x) * value(-x); });
  }
  std::string source(const OpSource& call) const override {
    return elementwise_source(call, "1.0f / (1.0f + std::exp(-x))");
  }
};

}  // namespace

const Op& sigmoid_op() noexcept {
  static const Sigmoid op;
  return op;
}

}  // namespace redoubt::detail
