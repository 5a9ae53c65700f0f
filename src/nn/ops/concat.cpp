#include <algorithm>
#include <array>

#include "nn/ops/arrange.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "axis", .fallback = 0, .low = 0, .high = 3, .whole = true}};

/// Two to four inputs one after the other along an axis; their other extents must be equal.
class Concat final : public Arrange<Concat> {
 public:
  std::string_view name() const noexcept override { return "concat"; }
  std::string_view onnx_name() const noexcept override { return "Concat"; }
  std::size_t arity() const noexcept override { return max_op_inputs; }
  std::size_t least_arity() const noexcept override { return 2; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
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

const Op& concat_op() noexcept {
  static const Concat op;
  return op;
}

}  // namespace redoubt::detail
