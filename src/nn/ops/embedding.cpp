#include <algorithm>
#include <cmath>

#include "nn/ops/table_op.hpp"

namespace redoubt::detail {
namespace {

// Floats hold whole numbers exactly up to 2^24.
constexpr OpAttribute attribute_list[] = {{.name = "entries", .fallback = 1, .low = 1, .high = 1 << 24, .whole = true},
                                          {.name = "width", .fallback = 1, .low = 1, .high = 65536, .whole = true}};

/// Every id of the input becomes a row of the table (entries x width): shape of the input, then width. Ids are floats
/// that hold whole numbers; one outside [0, entries) gives zeros. Only rows that occur get gradients.
class Embedding final : public TableOp {
 public:
  std::string_view name() const noexcept override { return "embedding"; }
  std::string_view onnx_name() const noexcept override { return "Gather"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    OpShape shape = inputs[0];
    shape.push_back(static_cast<std::uint32_t>(attributes[1]));
    return shape;
  }
  void forward(const OpForward& call) const override {
    const auto table = call.parameters[0];
    for (std::size_t r = 0; r < call.output.rows(); ++r) {
      for (std::size_t i = 0; i < call.inputs[0].cols(); ++i) {
        float* const to = call.output.row(r).data() + i * table.cols();
        const std::size_t e = entry(call.inputs[0](r, i), table.rows());
        if (e == table.rows()) {
          std::fill_n(to, table.cols(), 0.0f);
        } else {
          std::copy_n(table.row(e).data(), table.cols(), to);
        }
      }
    }
  }
  void backward(const OpBackward& call) const override {
    const auto to = call.parameter_gradients[0];
    if (!to.data()) return;
    for (std::size_t r = 0; r < call.output_gradient.rows(); ++r) {
      for (std::size_t i = 0; i < call.inputs[0].cols(); ++i) {
        const std::size_t e = entry(call.inputs[0](r, i), to.rows());
        if (e == to.rows()) continue;
        const float* const from = call.output_gradient.row(r).data() + i * to.cols();
        for (std::size_t d = 0; d < to.cols(); ++d) to(e, d) += from[d];
      }
    }
  }
  void bounds(const OpBounds& call) const override {
    const auto table = call.parameters[0];
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t i = 0; i < call.output_lower.cols(); ++i) {
        const std::size_t at = i / table.cols();
        const Reach found = reach(table, call.input_lower[0](r, at), call.input_upper[0](r, at), i % table.cols());
        call.output_lower(r, i) = static_cast<float>(found.low);
        call.output_upper(r, i) = static_cast<float>(found.high);
      }
    }
  }
};

}  // namespace

const Op& embedding_op() noexcept {
  static const Embedding op;
  return op;
}

}  // namespace redoubt::detail
