#include <algorithm>
#include <array>

#include "nn/ops/arrange.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "axis", .fallback = 0, .low = 0, .high = 3, .whole = true},
                                          {.name = "begin", .fallback = 0, .low = 0, .high = 1 << 22, .whole = true},
                                          {.name = "size", .fallback = 1, .low = 1, .high = 1 << 22, .whole = true}};

/// Positions begin to begin + size of one axis.
class Slice final : public Arrange<Slice> {
 public:
  std::string_view name() const noexcept override { return "slice"; }
  std::string_view onnx_name() const noexcept override { return "Slice"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
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

}  // namespace

const Op& slice_op() noexcept {
  static const Slice op;
  return op;
}

}  // namespace redoubt::detail
