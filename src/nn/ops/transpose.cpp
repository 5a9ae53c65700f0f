#include <algorithm>
#include <array>

#include "nn/ops/arrange.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "axis0", .fallback = 0, .low = 0, .high = 3, .whole = true},
                                          {.name = "axis1", .fallback = 1, .low = 0, .high = 3, .whole = true},
                                          {.name = "axis2", .fallback = 2, .low = 0, .high = 3, .whole = true},
                                          {.name = "axis3", .fallback = 3, .low = 0, .high = 3, .whole = true}};

/// Axis a of the output is axis `axis<a>` of the input; all four must be a permutation that leaves axes beyond the
/// rank alone.
class Transpose final : public Arrange<Transpose> {
 public:
  std::string_view name() const noexcept override { return "transpose"; }
  std::string_view onnx_name() const noexcept override { return "Transpose"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
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

}  // namespace

const Op& transpose_op() noexcept {
  static const Transpose op;
  return op;
}

}  // namespace redoubt::detail
