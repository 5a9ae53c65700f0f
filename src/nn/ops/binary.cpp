// sub, mul, div: functions of two values.
#include <algorithm>
#include <limits>

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt::detail {
namespace {

/// The second input has the shape of the first, or of its last axes, and then repeats.
class BinaryOp : public Op {
 public:
  std::size_t arity() const noexcept override { return 2; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double>) const override {
    const OpShape &a = inputs[0], &b = inputs[1];
    if (b.size() > a.size() || !std::equal(b.rbegin(), b.rend(), a.rbegin())) {
      fail(errc::shape_mismatch,
           fmt::format("{}: the inputs have shapes [{}] and [{}]; the second must be the first or its last axes",
                       name(), fmt::join(a, ", "), fmt::join(b, ", ")));
    }
    return a;
  }
  void forward(const OpForward& call) const override {
    const std::size_t period = call.inputs[1].cols();
    for (std::size_t r = 0; r < call.output.rows(); ++r) {
      const auto a = call.inputs[0].row(r), b = call.inputs[1].row(r);
      const auto y = call.output.row(r);
      for (std::size_t first = 0; first < a.size(); first += period) {
        compute(a.data() + first, b.data(), y.data() + first, period);
      }
    }
  }
  void backward(const OpBackward& call) const override {
    const std::size_t period = call.inputs[1].cols();
    const auto to_a = call.input_gradients[0], to_b = call.input_gradients[1];
    for (std::size_t r = 0; r < call.output_gradient.rows(); ++r) {
      const auto a = call.inputs[0].row(r), b = call.inputs[1].row(r), from = call.output_gradient.row(r);
      for (std::size_t i = 0; i < a.size(); ++i) {
        const auto [by_a, by_b] = slopes(a[i], b[i % period]);
        if (to_a.data()) to_a(r, i) += by_a * from[i];
        if (to_b.data()) to_b(r, i % period) += by_b * from[i];
      }
    }
  }
  // Each function is monotone in either input where it is defined, and so is its rounding: extremes are at corners.
  void bounds(const OpBounds& call) const override {
    constexpr float infinity = std::numeric_limits<float>::infinity();
    const std::size_t period = call.input_lower[1].cols();
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t i = 0; i < call.output_lower.cols(); ++i) {
        const float ends_a[] = {call.input_lower[0](r, i), call.input_upper[0](r, i)};
        const float ends_b[] = {call.input_lower[1](r, i % period), call.input_upper[1](r, i % period)};
        float low = infinity, high = -infinity;
        for (const float& a : ends_a) {
          for (const float& b : ends_b) {
            float y = 0;
            compute(&a, &b, &y, 1);
            low = std::min(low, y);
            high = std::max(high, y);
          }
        }
        const bool anything = has_pole() && ends_b[0] <= 0 && ends_b[1] >= 0;
        call.output_lower(r, i) = anything ? -infinity : low;
        call.output_upper(r, i) = anything ? infinity : high;
      }
    }
  }
  std::string source(const OpSource& call) const override {
    return fmt::format("  for (int i = 0; i < {}; ++i) {}[i] = {}[i] {} {}[i % {}];\n", call.output_size, call.output,
                       call.inputs[0], symbol(), call.inputs[1], call.input_sizes[1]);
  }

 protected:
  virtual void compute(const float* a, const float* b, float* y, std::size_t count) const = 0;
  virtual std::pair<float, float> slopes(float a, float b) const = 0;
  virtual char symbol() const = 0;
  virtual bool has_pole() const { return false; }
};

/// y = a - b.
class Sub final : public BinaryOp {
 public:
  std::string_view name() const noexcept override { return "sub"; }
  std::string_view onnx_name() const noexcept override { return "Sub"; }
  std::size_t affine_terms(std::span<const OpShape> inputs, std::span<const double>) const override {
    return op_size(inputs[0]) / op_size(inputs[1]) + 1;
  }

 private:
  void compute(const float* a, const float* b, float* y, std::size_t count) const override {
    for (std::size_t i = 0; i < count; ++i) y[i] = a[i] - b[i];
  }
  std::pair<float, float> slopes(float, float) const override { return {1.0f, -1.0f}; }
  char symbol() const override { return '-'; }
};

/// y = a * b.
class Mul final : public BinaryOp {
 public:
  std::string_view name() const noexcept override { return "mul"; }
  std::string_view onnx_name() const noexcept override { return "Mul"; }

 private:
  void compute(const float* a, const float* b, float* y, std::size_t count) const override {
    for (std::size_t i = 0; i < count; ++i) y[i] = a[i] * b[i];
  }
  std::pair<float, float> slopes(float a, float b) const override { return {b, a}; }
  char symbol() const override { return '*'; }
};

/// y = a / b. Bounds are infinite where b may be zero.
class Div final : public BinaryOp {
 public:
  std::string_view name() const noexcept override { return "div"; }
  std::string_view onnx_name() const noexcept override { return "Div"; }

 private:
  void compute(const float* a, const float* b, float* y, std::size_t count) const override {
    for (std::size_t i = 0; i < count; ++i) y[i] = a[i] / b[i];
  }
  std::pair<float, float> slopes(float a, float b) const override { return {1.0f / b, -a / b / b}; }
  char symbol() const override { return '/'; }
  bool has_pole() const override { return true; }
};

}  // namespace

const Op& sub_op() noexcept {
  static const Sub op;
  return op;
}

const Op& mul_op() noexcept {
  static const Mul op;
  return op;
}

const Op& div_op() noexcept {
  static const Div op;
  return op;
}

}  // namespace redoubt::detail
