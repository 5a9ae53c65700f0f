#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "alpha", .fallback = 0.01, .low = 0, .high = 1}};

auto function(const OpContext& call) {
  return [alpha = static_cast<float>(call.attributes[0])](std::span<const float> src, std::span<float> dst) {
    for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = src[i] > 0 ? src[i] : alpha * src[i];
  };
}

/// y = x for x > 0, else alpha x.
class LeakyRelu final : public ElementwiseOp {
 public:
  std::string_view name() const noexcept override { return "leaky_relu"; }
  std::string_view onnx_name() const noexcept override { return "LeakyRelu"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  void forward(const OpForward& call) const override { for_each_row(call, function(call)); }
  void backward(const OpBackward& call) const override {
    const auto alpha = static_cast<float>(call.attributes[0]);
    elementwise_backward(call, [alpha](float x, float) { return x > 0 ? 1.0f : alpha; });
  }
  void bounds(const OpBounds& call) const override { monotone_bounds(call, 0.0f, function(call)); }
  bool monotone() const noexcept override { return true; }
  bool lines(const OpLines& call) const override { return relu_lines(call, static_cast<float>(call.attributes[0])); }
  std::string source(const OpSource& call) const override {
    return elementwise_source(call, fmt::format("x > 0 ? x : {:.9g}f * x", static_cast<float>(call.attributes[0])));
  }
};

}  // namespace

const Op& leaky_relu_op() noexcept {
  static const LeakyRelu op;
  return op;
}

}  // namespace redoubt::detail
