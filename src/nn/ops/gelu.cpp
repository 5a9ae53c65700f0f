#include <algorithm>

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"
#include "redoubt/kernels/activation.hpp"

namespace redoubt::detail {
namespace {

constexpr float root_half = 0.70710678f;
constexpr float minimum_at = -0.7517916f, minimum = -0.16997121f;  // where the derivative is zero
constexpr float error = 1e-6f;                                     // relative for x > -1; the tail's erfc keeps it

// erfc instead of 1 + erf: no cancellation in the negative tail.
float gelu(float x) { return 0.5f * x * std::erfc(-x * root_half); }

/// y = x Phi(x) with the normal distribution function Phi (Hendrycks & Gimpel, arXiv:1606.08415), exact form.
class Gelu final : public ElementwiseOp {
 public:
  std::string_view name() const noexcept override { return "gelu"; }
  std::string_view onnx_name() const noexcept override { return "Gelu"; }
  void forward(const OpForward& call) const override { for_each_row(call, kernels::gelu); }
  GradientPlace gradient_place() const noexcept override { return GradientPlace::over; }
  void backward(const OpBackward& call) const override {
    const auto gradient = call.input_gradients[0];
    if (!gradient.data()) return;
    rows_in_blocks(gradient.rows(), gradient.cols(), call.arena, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        kernels::gelu_gradient(call.inputs[0].row(r), call.output_gradient.row(r), !call.is_fresh(0), gradient.row(r));
      }
    });
  }
  // Falls up to minimum_at, rises from there: the largest value is at an end.
  void bounds(const OpBounds& call) const override {
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      const auto lower = call.input_lower[0].row(r), upper = call.input_upper[0].row(r);
      for (std::size_t i = 0; i < lower.size(); ++i) {
        const float a = gelu(lower[i]), b = gelu(upper[i]);
        const bool valley = lower[i] <= minimum_at && minimum_at <= upper[i];
        // The float function wobbles by its rounding, which grows with |x| in the tail.
        const float slack = error * (1.0f + std::max(std::abs(lower[i]), std::abs(upper[i])));
        call.output_lower(r, i) = (valley ? minimum : std::min(a, b)) - slack;
        call.output_upper(r, i) = std::max(a, b) + slack;
      }
    }
  }
  std::string source(const OpSource& call) const override {
    return elementwise_source(call, "0.5f * x * std::erfc(-x * 0.70710678f)");
  }
};

}  // namespace

const Op& gelu_op() noexcept {
  static const Gelu op;
  return op;
}

}  // namespace redoubt::detail
