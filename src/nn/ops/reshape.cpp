#include <algorithm>
#include <array>

#include "nn/ops/arrange.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "extent0", .fallback = 1, .low = 1, .high = 1 << 22, .whole = true},
                                          {.name = "extent1", .fallback = 0, .low = 0, .high = 1 << 22, .whole = true},
                                          {.name = "extent2", .fallback = 0, .low = 0, .high = 1 << 22, .whole = true},
                                          {.name = "extent3", .fallback = 0, .low = 0, .high = 1 << 22, .whole = true}};

/// The same values under another shape; extents after the first 0 do not count.
class Reshape final : public Arrange<Reshape> {
 public:
  std::string_view name() const noexcept override { return "reshape"; }
  std::string_view onnx_name() const noexcept override { return "Reshape"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
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

}  // namespace

const Op& reshape_op() noexcept {
  static const Reshape op;
  return op;
}

}  // namespace redoubt::detail
