// reduce_sum, reduce_mean, reduce_max over axes; global pooling over the axes of an image.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

#include "nn/ops/op_table.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt::detail {
namespace {

// Bit a stands for axis a of a row: 3 = height and width of an image.
constexpr OpAttribute attribute_list[] = {{.name = "axes", .fallback = 1, .low = 1, .high = 15, .whole = true}};

/// Calls visit(index of the input, index of the output), inputs in order.
template <class Visit>
void for_each(const OpShape& shape, std::span<const double> attributes, Visit visit) {
  const auto axes = static_cast<unsigned>(attributes[0]);
  std::array<std::size_t, 4> extent{1, 1, 1, 1}, step{};
  std::size_t size = 1;
  for (std::size_t a = shape.size(); a-- > 0;) {
    extent[a] = shape[a];
    if (axes >> a & 1) continue;
    step[a] = size;
    size *= shape[a];
  }
  std::size_t i = 0;
  for (std::size_t a = 0; a < extent[0]; ++a) {
    for (std::size_t b = 0; b < extent[1]; ++b) {
      for (std::size_t c = 0; c < extent[2]; ++c) {
        for (std::size_t d = 0; d < extent[3]; ++d) visit(i++, a * step[0] + b * step[1] + c * step[2] + d * step[3]);
      }
    }
  }
}

/// The axes go away; a row of which nothing is left has shape [1].
class Reduce : public Op {
 public:
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    const auto axes = static_cast<unsigned>(attributes[0]);
    if (axes >> inputs[0].size()) {
      fail(errc::shape_mismatch, fmt::format("{}: axes {} (one bit per axis) of an input of shape [{}]", name(), axes,
                                             fmt::join(inputs[0], ", ")));
    }
    OpShape shape;
    for (std::size_t a = 0; a < inputs[0].size(); ++a) {
      if (!(axes >> a & 1)) shape.push_back(inputs[0][a]);
    }
    return shape.empty() ? OpShape{1} : shape;
  }
  void forward(const OpForward& call) const override { reduce(call, call.inputs[0], call.output); }
  // Monotone in every value, in the same order of operations.
  void bounds(const OpBounds& call) const override {
    reduce(call, call.input_lower[0], call.output_lower);
    reduce(call, call.input_upper[0], call.output_upper);
  }
  bool monotone() const noexcept override { return true; }

 protected:
  virtual void reduce(const OpContext& call, MatrixView<const float> src, MatrixView<float> dst) const = 0;
};

class ReduceSum : public Reduce {
 public:
  std::string_view name() const noexcept override { return "reduce_sum"; }
  std::string_view onnx_name() const noexcept override { return "ReduceSum"; }
  void backward(const OpBackward& call) const override {
    const auto to = call.input_gradients[0];
    if (!to.data()) return;
    const float share = factor(to.cols(), call.output_gradient.cols());
    for (std::size_t r = 0; r < to.rows(); ++r) {
      for_each(call.shapes[0], call.attributes,
               [&](std::size_t i, std::size_t o) { to(r, i) += share * call.output_gradient(r, o); });
    }
  }

  std::size_t affine_terms(std::span<const OpShape> inputs, std::span<const double>) const override {
    return op_size(inputs[0]) + 2;
  }

 private:
  virtual float factor(std::size_t, std::size_t) const { return 1.0f; }
  void reduce(const OpContext& call, MatrixView<const float> src, MatrixView<float> dst) const override {
    const float share = factor(src.cols(), dst.cols());
    for (std::size_t r = 0; r < dst.rows(); ++r) {
      std::fill_n(dst.row(r).data(), dst.cols(), 0.0f);
      for_each(call.shapes[0], call.attributes, [&](std::size_t i, std::size_t o) { dst(r, o) += src(r, i); });
      for (float& v : dst.row(r)) v *= share;
    }
  }
};

class ReduceMean final : public ReduceSum {
 public:
  std::string_view name() const noexcept override { return "reduce_mean"; }
  std::string_view onnx_name() const noexcept override { return "ReduceMean"; }

 private:
  float factor(std::size_t inputs, std::size_t outputs) const override {
    return static_cast<float>(outputs) / static_cast<float>(inputs);
  }
};

/// Of equal values the first gets the gradient.
class ReduceMax final : public Reduce {
 public:
  std::string_view name() const noexcept override { return "reduce_max"; }
  std::string_view onnx_name() const noexcept override { return "ReduceMax"; }
  std::size_t scratch(std::span<const OpShape> inputs, std::span<const double> attributes,
                      bool backward) const override {
    return backward ? op_size(infer(inputs, attributes)) : 0;
  }
  void backward(const OpBackward& call) const override {
    const auto to = call.input_gradients[0];
    if (!to.data()) return;
    for (std::size_t r = 0; r < to.rows(); ++r) {
      const auto open = call.scratch.first(call.output_gradient.cols());  // 1 until the first largest has passed
      std::fill(open.begin(), open.end(), 1.0f);
      for_each(call.shapes[0], call.attributes, [&](std::size_t i, std::size_t o) {
        if (open[o] == 0 || call.inputs[0](r, i) != call.output(r, o)) return;
        open[o] = 0;
        to(r, i) += call.output_gradient(r, o);
      });
    }
  }

 private:
  void reduce(const OpContext& call, MatrixView<const float> src, MatrixView<float> dst) const override {
    for (std::size_t r = 0; r < dst.rows(); ++r) {
      std::fill_n(dst.row(r).data(), dst.cols(), -std::numeric_limits<float>::infinity());
      for_each(call.shapes[0], call.attributes,
               [&](std::size_t i, std::size_t o) { dst(r, o) = std::max(dst(r, o), src(r, i)); });
    }
  }
};

}  // namespace

const Op& reduce_sum_op() noexcept {
  static const ReduceSum op;
  return op;
}

const Op& reduce_mean_op() noexcept {
  static const ReduceMean op;
  return op;
}

const Op& reduce_max_op() noexcept {
  static const ReduceMax op;
  return op;
}

}  // namespace redoubt::detail
