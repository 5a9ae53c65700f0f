// exp, log, sqrt, silu: functions of one value.
#include <algorithm>
#include <limits>

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"
#include "redoubt/kernels/activation.hpp"

namespace redoubt::detail {
namespace {

void log_row(std::span<const float> src, std::span<float> dst) {
  for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = std::log(src[i]);
}

void sqrt_row(std::span<const float> src, std::span<float> dst) {
  for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = std::sqrt(src[i]);
}

/// y = e^x; 0 below -87.33, infinite above 88.72.
class Exp final : public ElementwiseOp {
 public:
  std::string_view name() const noexcept override { return "exp"; }
  std::string_view onnx_name() const noexcept override { return "Exp"; }
  void forward(const OpForward& call) const override { for_each_row(call, kernels::exp); }
  void backward(const OpBackward& call) const override {
    elementwise_backward(call, [](float, float y) { return y; });
  }
  void bounds(const OpBounds& call) const override { monotone_bounds(call, 2e-7f, kernels::exp); }
  std::string source(const OpSource& call) const override { return elementwise_source(call, "std::exp(x)"); }
};

/// y = log x (natural); -infinity at 0, NaN below.
class Log final : public ElementwiseOp {
 public:
  std::string_view name() const noexcept override { return "log"; }
  std::string_view onnx_name() const noexcept override { return "Log"; }
  void forward(const OpForward& call) const override { for_each_row(call, log_row); }
  void backward(const OpBackward& call) const override {
    elementwise_backward(call, [](float x, float) { return 1.0f / x; });
  }
  // A box that reaches below zero has values that are not defined: those that are still lie inside the bounds.
  void bounds(const OpBounds& call) const override {
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t i = 0; i < call.output_lower.cols(); ++i) {
        call.output_lower(r, i) = lower_by(std::log(std::max(call.input_lower[0](r, i), 0.0f)), 4e-7f);
        call.output_upper(r, i) = upper_by(std::log(std::max(call.input_upper[0](r, i), 0.0f)), 4e-7f);
      }
    }
  }
  std::string source(const OpSource& call) const override { return elementwise_source(call, "std::log(x)"); }
};

/// y = sqrt x; NaN below 0. The derivative at 0 is infinite.
class Sqrt final : public ElementwiseOp {
 public:
  std::string_view name() const noexcept override { return "sqrt"; }
  std::string_view onnx_name() const noexcept override { return "Sqrt"; }
  void forward(const OpForward& call) const override { for_each_row(call, sqrt_row); }
  void backward(const OpBackward& call) const override {
    elementwise_backward(call, [](float, float y) { return 0.5f / y; });
  }
  void bounds(const OpBounds& call) const override {  // correctly rounded, hence monotone
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t i = 0; i < call.output_lower.cols(); ++i) {
        call.output_lower(r, i) = std::sqrt(std::max(call.input_lower[0](r, i), 0.0f));
        call.output_upper(r, i) = std::sqrt(std::max(call.input_upper[0](r, i), 0.0f));
      }
    }
  }
  std::string source(const OpSource& call) const override { return elementwise_source(call, "std::sqrt(x)"); }
};

constexpr float silu_minimum_at = -1.2784645f, silu_minimum = -0.27846456f;  // where the derivative is zero

void silu_row(std::span<const float> src, std::span<float> dst) {
  kernels::sigmoid(src, dst);
  for (std::size_t i = 0; i < dst.size(); ++i) dst[i] *= src[i];
}

/// y = x / (1 + e^-x), also called swish (Elfwing et al., arXiv:1702.03118). ONNX has it as x * Sigmoid(x).
class Silu final : public ElementwiseOp {
 public:
  std::string_view name() const noexcept override { return "silu"; }
  std::string_view onnx_name() const noexcept override { return "Swish"; }
  void forward(const OpForward& call) const override { for_each_row(call, silu_row); }
  void backward(const OpBackward& call) const override {
    elementwise_backward(call, [](float x, float) {
      const float s = 1.0f / (1.0f + std::exp(-x));
      return s * (1.0f + x * (1.0f - s));
    });
  }
  // Falls up to its minimum, rises from there: the largest value is at an end.
  void bounds(const OpBounds& call) const override {
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t i = 0; i < call.output_lower.cols(); ++i) {
        const float low = call.input_lower[0](r, i), high = call.input_upper[0](r, i);
        const auto at = [](float x) { return x / (1.0f + std::exp(-x)); };
        const float a = at(low), b = at(high);
        const bool valley = low <= silu_minimum_at && silu_minimum_at <= high;
        call.output_lower(r, i) = lower_by(valley ? silu_minimum : std::min(a, b), 4e-6f) - 1e-30f;
        call.output_upper(r, i) = upper_by(std::max(a, b), 4e-6f) + 1e-30f;
      }
    }
  }
  std::string source(const OpSource& call) const override {
    return elementwise_source(call, "x / (1.0f + std::exp(-x))");
  }
};

}  // namespace

const Op& exp_op() noexcept {
  static const Exp op;
  return op;
}

const Op& log_op() noexcept {
  static const Log op;
  return op;
}

const Op& sqrt_op() noexcept {
  static const Sqrt op;
  return op;
}

const Op& silu_op() noexcept {
  static const Silu op;
  return op;
}

}  // namespace redoubt::detail
