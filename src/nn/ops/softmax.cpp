#include <algorithm>

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"
#include "redoubt/kernels/activation.hpp"

namespace redoubt::detail {
namespace {

constexpr double relative_error = 1e-6;  // of kernels::softmax_rows

/// y_k = e^x_k / sum_j e^x_j over a row.
class Softmax final : public Op {
 public:
  std::string_view name() const noexcept override { return "softmax"; }
  std::string_view onnx_name() const noexcept override { return "Softmax"; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double>) const override { return inputs[0]; }
  void forward(const OpForward& call) const override {
    for_each_row(
        call, [](std::span<const float> src, std::span<float> dst) { std::copy(src.begin(), src.end(), dst.begin()); });
    kernels::softmax_rows(call.output);
  }
  void backward(const OpBackward& call) const override {
    const auto gradient = call.input_gradients[0];
    if (!gradient.data()) return;
    for (std::size_t r = 0; r < gradient.rows(); ++r) {
      const auto y = call.output.row(r), from = call.output_gradient.row(r);
      double mean = 0;
      for (std::size_t i = 0; i < y.size(); ++i) mean += static_cast<double>(y[i]) * from[i];
      for (std::size_t i = 0; i < y.size(); ++i) gradient(r, i) += y[i] * (from[i] - static_cast<float>(mean));
    }
  }
  // y_k rises with x_k and falls with every other score.
  void bounds(const OpBounds& call) const override {
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      const auto lower = call.input_lower[0].row(r), upper = call.input_upper[0].row(r);
      for (std::size_t k = 0; k < lower.size(); ++k) {
        double against_low = 1, against_high = 1;
        for (std::size_t j = 0; j < lower.size(); ++j) {
          if (j == k) continue;
          against_low += std::exp(static_cast<double>(upper[j]) - lower[k]);
          against_high += std::exp(static_cast<double>(lower[j]) - upper[k]);
        }
        call.output_lower(r, k) = static_cast<float>((1 - 4 * relative_error) / against_low - 1e-30);
        call.output_upper(r, k) = static_cast<float>((1 + 4 * relative_error) / against_high + 1e-30);
      }
    }
  }
  std::string source(const OpSource& call) const override {
    return fmt::format(
        "  {{\n"
        "    float top = {0}[0];\n"
        "    for (int i = 1; i < {2}; ++i) top = {0}[i] > top ? {0}[i] : top;\n"
        "    float sum = 0;\n"
        "    for (int i = 0; i < {2}; ++i) sum += {1}[i] = std::exp({0}[i] - top);\n"
        "    for (int i = 0; i < {2}; ++i) {1}[i] /= sum;\n"
        "  }}\n",
        call.inputs[0], call.output, call.output_size);
  }
};

}  // namespace

const Op& softmax_op() noexcept {
  static const Softmax op;
  return op;
}

}  // namespace redoubt::detail
