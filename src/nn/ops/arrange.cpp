// reshape, transpose, slice, concat: values move, none changes. A split is one slice per part.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "nn/ops/op_table.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt::detail {
namespace {

/// Every output value is one input value: source(call, s, visit) calls visit(index in input s, index in the output).
template <class Derived>
class Arrange : public Op {
 public:
  void forward(const OpForward& call) const override { move(call, call.inputs, call.output); }
  void backward(const OpBackward& call) const override {
    for (std::size_t s = 0; s < call.inputs.size(); ++s) {
      const auto to = call.input_gradients[s];
      if (!to.data()) continue;
      for (std::size_t r = 0; r < to.rows(); ++r) {
        const auto from = call.output_gradient.row(r);
        Derived::places(call, s, [&](std::size_t i, std::size_t o) { to(r, i) += from[o]; });
      }
    }
  }
  void bounds(const OpBounds& call) const override {
    move(call, call.input_lower, call.output_lower);
    move(call, call.input_upper, call.output_upper);
  }

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

constexpr OpAttribute reshape_attributes[] = {
    {.name = "extent0", .fallback = 1, .low = 1, .high = 1 << 22, .whole = true},
    {.name = "extent1", .fallback = 0, .low = 0, .high = 1 << 22, .whole = true},
    {.name = "extent2", .fallback = 0, .low = 0, .high = 1 << 22, .whole = true},
    {.name = "extent3", .fallback = 0, .low = 0, .high = 1 << 22, .whole = true}};

/// The same values under another shape; extents after the first 0 do not count.
class Reshape final : public Arrange<Reshape> {
 public:
  std::string_view name() const noexcept override { return "reshape"; }
  std::string_view onnx_name() const noexcept override { return "Reshape"; }
  std::span<const OpAttribute> attributes() const noexcept override { return reshape_attributes; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    OpShape shape;
    double size = 1;
    for (const double extent : attributes) {
      if (extent == 0) break;
      shape.push_back(static_cast<std::uint32_t>(extent));
      size *= extent;
    }
    if (size != static_cast<double>(op_size(inputs[0]))) {
      fail(errc::shape_mismatch,
           fmt::format("reshape: [{}] cannot become [{}]", fmt::join(inputs[0], ", "), fmt::join(shape, ", ")));
    }
    return shape;
  }
  template <class Visit>
  static void places(const OpContext& call, std::size_t, Visit visit) {
    const std::size_t size = op_size(call.shapes[0]);
    for (std::size_t i = 0; i < size; ++i) visit(i, i);
  }
};

constexpr OpAttribute transpose_attributes[] = {{.name = "axis0", .fallback = 0, .low = 0, .high = 3, .whole = true},
                                                {.name = "axis1", .fallback = 1, .low = 0, .high = 3, .whole = true},
                                                {.name = "axis2", .fallback = 2, .low = 0, .high = 3, .whole = true},
                                                {.name = "axis3", .fallback = 3, .low = 0, .high = 3, .whole = true}};

/// Axis a of the output is axis `axis<a>` of the input; all four must be a permutation that leaves axes beyond the
/// rank alone.
class Transpose final : public Arrange<Transpose> {
 public:
  std::string_view name() const noexcept override { return "transpose"; }
  std::string_view onnx_name() const noexcept override { return "Transpose"; }
  std::span<const OpAttribute> attributes() const noexcept override { return transpose_attributes; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    unsigned seen = 0;
    OpShape shape;
    for (std::size_t a = 0; a < 4; ++a) {
      const auto axis = static_cast<std::size_t>(attributes[a]);
      if (a < inputs[0].size() ? axis >= inputs[0].size() : axis != a) continue;
      seen |= 1u << axis;
      if (a < inputs[0].size()) shape.push_back(inputs[0][axis]);
    }
    if (seen != 15) {
      fail(errc::shape_mismatch, fmt::format("transpose: [{}] is no order of the axes of an input of shape [{}]",
                                             fmt::join(attributes, ", "), fmt::join(inputs[0], ", ")));
    }
    return shape;
  }
  template <class Visit>
  static void places(const OpContext& call, std::size_t, Visit visit) {
    std::array<std::size_t, 4> extent{1, 1, 1, 1}, step{}, out{1, 1, 1, 1}, out_step{};
    std::copy(call.shapes[0].begin(), call.shapes[0].end(), extent.begin());
    std::size_t size = 1;
    for (std::size_t a = 4; a-- > 0;) {
      step[a] = size;
      size *= extent[a];
    }
    for (std::size_t a = 0; a < 4; ++a) {
      const auto axis = static_cast<std::size_t>(call.attributes[a]);
      out[a] = extent[axis];
      out_step[a] = step[axis];
    }
    std::size_t o = 0;
    for (std::size_t a = 0; a < out[0]; ++a) {
      for (std::size_t b = 0; b < out[1]; ++b) {
        for (std::size_t c = 0; c < out[2]; ++c) {
          for (std::size_t d = 0; d < out[3]; ++d) {
            visit(a * out_step[0] + b * out_step[1] + c * out_step[2] + d * out_step[3], o++);
          }
        }
      }
    }
  }
};

/// Values before and after an axis.
std::pair<std::size_t, std::size_t> around(const OpShape& shape, std::size_t axis) {
  std::size_t outer = 1, inner = 1;
  for (std::size_t a = 0; a < shape.size(); ++a) (a < axis ? outer : inner) *= a == axis ? 1 : shape[a];
  return {outer, inner};
}

constexpr OpAttribute slice_attributes[] = {{.name = "axis", .fallback = 0, .low = 0, .high = 3, .whole = true},
                                            {.name = "begin", .fallback = 0, .low = 0, .high = 1 << 22, .whole = true},
                                            {.name = "size", .fallback = 1, .low = 1, .high = 1 << 22, .whole = true}};

/// Positions begin to begin + size of one axis.
class Slice final : public Arrange<Slice> {
 public:
  std::string_view name() const noexcept override { return "slice"; }
  std::string_view onnx_name() const noexcept override { return "Slice"; }
  std::span<const OpAttribute> attributes() const noexcept override { return slice_attributes; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    const auto axis = static_cast<std::size_t>(attributes[0]);
    if (axis >= inputs[0].size() || attributes[1] + attributes[2] > inputs[0][axis]) {
      fail(errc::shape_mismatch, fmt::format("slice: {} positions from {} of axis {} of an input of shape [{}]",
                                             attributes[2], attributes[1], axis, fmt::join(inputs[0], ", ")));
    }
    OpShape shape = inputs[0];
    shape[axis] = static_cast<std::uint32_t>(attributes[2]);
    return shape;
  }
  template <class Visit>
  static void places(const OpContext& call, std::size_t, Visit visit) {
    const auto axis = static_cast<std::size_t>(call.attributes[0]);
    const auto [outer, inner] = around(call.shapes[0], axis);
    const std::size_t begin = static_cast<std::size_t>(call.attributes[1]) * inner;
    const std::size_t run = static_cast<std::size_t>(call.attributes[2]) * inner;
    const std::size_t step = call.shapes[0][axis] * inner;
    for (std::size_t a = 0; a < outer; ++a) {
      for (std::size_t i = 0; i < run; ++i) visit(a * step + begin + i, a * run + i);
    }
  }
};

constexpr OpAttribute concat_attributes[] = {{.name = "axis", .fallback = 0, .low = 0, .high = 3, .whole = true}};

/// Two to four inputs one after the other along an axis; their other extents must be equal.
class Concat final : public Arrange<Concat> {
 public:
  std::string_view name() const noexcept override { return "concat"; }
  std::string_view onnx_name() const noexcept override { return "Concat"; }
  std::size_t arity() const noexcept override { return max_op_inputs; }
  std::size_t least_arity() const noexcept override { return 2; }
  std::span<const OpAttribute> attributes() const noexcept override { return concat_attributes; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    const auto axis = static_cast<std::size_t>(attributes[0]);
    OpShape shape = inputs[0];
    for (std::size_t s = 0; s < inputs.size(); ++s) {
      OpShape other = inputs[s];
      const bool fits = axis < shape.size() && other.size() == shape.size();
      if (fits && s > 0) shape[axis] += other[axis];
      if (fits) other[axis] = shape[axis];
      if (!fits || other != shape) {
        fail(errc::shape_mismatch, fmt::format("concat: shapes [{}] and [{}] along axis {}", fmt::join(inputs[0], ", "),
                                               fmt::join(inputs[s], ", "), axis));
      }
    }
    return shape;
  }
  template <class Visit>
  static void places(const OpContext& call, std::size_t s, Visit visit) {
    const auto axis = static_cast<std::size_t>(call.attributes[0]);
    const auto [outer, inner] = around(call.shapes[s], axis);
    std::size_t before = 0, all = 0;
    for (std::size_t k = 0; k < call.shapes.size(); ++k) {
      if (k < s) before += call.shapes[k][axis] * inner;
      all += call.shapes[k][axis] * inner;
    }
    const std::size_t run = call.shapes[s][axis] * inner;
    for (std::size_t a = 0; a < outer; ++a) {
      for (std::size_t i = 0; i < run; ++i) visit(a * run + i, a * all + before + i);
    }
  }
};

}  // namespace

const Op& reshape_op() noexcept {
  static const Reshape op;
  return op;
}

const Op& transpose_op() noexcept {
  static const Transpose op;
  return op;
}

const Op& slice_op() noexcept {
  static const Slice op;
  return op;
}

const Op& concat_op() noexcept {
  static const Concat op;
  return op;
}

}  // namespace redoubt::detail
