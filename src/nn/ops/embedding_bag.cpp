#include <algorithm>
#include <cmath>

#include "nn/ops/table_op.hpp"

namespace redoubt::detail {
namespace {

// Floats hold whole numbers exactly up to 2^24.
constexpr OpAttribute attribute_list[] = {{.name = "entries", .fallback = 1, .low = 1, .high = 1 << 24, .whole = true},
                                          {.name = "width", .fallback = 1, .low = 1, .high = 65536, .whole = true},
                                          {.name = "mean", .fallback = 1, .low = 0, .high = 1, .whole = true}};

/// Sum or mean of the table's rows for all ids of the input; ids outside [0, entries) pad and do not count. A bag of
/// padding alone gives zeros.
class EmbeddingBag final : public TableOp {
 public:
  std::string_view name() const noexcept override { return "embedding_bag"; }
  std::string_view onnx_name() const noexcept override { return "Gather+ReduceSum"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape>, std::span<const double> attributes) const override {
    return {static_cast<std::uint32_t>(attributes[1])};
  }
  void forward(const OpForward& call) const override {
    const auto table = call.parameters[0];
    for (std::size_t r = 0; r < call.output.rows(); ++r) {
      float* const to = call.output.row(r).data();
      std::fill_n(to, table.cols(), 0.0f);
      for (const float id : call.inputs[0].row(r)) {
        const std::size_t e = entry(id, table.rows());
        if (e == table.rows()) continue;
        const float* const from = table.row(e).data();
        for (std::size_t d = 0; d < table.cols(); ++d) to[d] += from[d];
      }
      const float share = factor(call, call.inputs[0].row(r));
      for (std::size_t d = 0; d < table.cols(); ++d) to[d] *= share;
    }
  }
  void backward(const OpBackward& call) const override {
    const auto to = call.parameter_gradients[0];
    if (!to.data()) return;
    for (std::size_t r = 0; r < call.output_gradient.rows(); ++r) {
      const float share = factor(call, call.inputs[0].row(r));
      for (const float id : call.inputs[0].row(r)) {
        const std::size_t e = entry(id, to.rows());
        if (e == to.rows()) continue;
        for (std::size_t d = 0; d < to.cols(); ++d) to(e, d) += share * call.output_gradient(r, d);
      }
    }
  }
  // A mean over a number of rows that is not known lies between the smallest and the largest row that may be there.
  void bounds(const OpBounds& call) const override {
    const auto table = call.parameters[0];
    const bool mean = call.attributes[2] != 0;
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t d = 0; d < table.cols(); ++d) {
        double low = 0, high = 0, least = 0, most = 0, size = 0, count = 0;
        bool certain = true;
        for (std::size_t i = 0; i < call.input_lower[0].cols(); ++i) {
          const Reach found = reach(table, call.input_lower[0](r, i), call.input_upper[0](r, i), d);
          low += found.low;
          high += found.high;
          least = std::min(least, found.low);
          most = std::max(most, found.high);
          size += std::max(std::abs(found.low), std::abs(found.high));
          certain = certain && found.certain;
          count += found.inside;
        }
        if (mean && certain && count > 0) {
          low /= count, high /= count, size /= count;
        } else if (mean) {
          low = least, high = most;
        }
        const double slack = (static_cast<double>(call.input_lower[0].cols()) + 4) * 0x1p-23 * size + 1e-37;
        call.output_lower(r, d) = static_cast<float>(low - slack);
        call.output_upper(r, d) = static_cast<float>(high + slack);
      }
    }
  }

 private:
  static float factor(const OpContext& call, std::span<const float> ids) {
    if (call.attributes[2] == 0) return 1.0f;
    const std::size_t entries = call.parameters[0].rows();
    const auto count = std::count_if(ids.begin(), ids.end(), [&](float id) { return entry(id, entries) < entries; });
    return count > 0 ? 1.0f / static_cast<float>(count) : 1.0f;
  }
};

}  // namespace

const Op& embedding_bag_op() noexcept {
  static const EmbeddingBag op;
  return op;
}

}  // namespace redoubt::detail
