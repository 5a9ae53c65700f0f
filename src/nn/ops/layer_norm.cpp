#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "nn/ops/op_table.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {
    {.name = "epsilon", .fallback = 1e-5, .low = 1e-12, .high = 1},
    {.name = "per_position", .fallback = 0, .low = 0, .high = 1, .whole = true, .optional = true}};

struct Moments {
  double mean, inverse_deviation;
};

Moments moments(std::span<const float> x, double epsilon) {
  double mean = 0, square = 0;
  for (const float v : x) mean += v;
  mean /= static_cast<double>(x.size());
  for (const float v : x) square += (v - mean) * (v - mean);
  return {mean, 1.0 / std::sqrt(square / static_cast<double>(x.size()) + epsilon)};
}

template <class Visit>
void for_each_position(std::size_t rows, std::size_t cols, std::size_t width, Visit visit) {
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t first = 0; first < cols; first += width) visit(r, first);
  }
}

/// y = scale * (x - mean) / sqrt(variance + epsilon) + shift over each row, or with `per_position` 1 over the last axis
/// at every position (Ba et al., arXiv:1607.06450).
class LayerNorm final : public Op {
 public:
  std::string_view name() const noexcept override { return "layer_norm"; }
  std::string_view onnx_name() const noexcept override { return "LayerNormalization"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double>) const override { return inputs[0]; }
  std::vector<OpParameter> parameters(std::span<const OpShape> inputs,
                                      std::span<const double> attributes) const override {
    const std::size_t width = attributes[1] == 0 ? op_size(inputs[0]) : inputs[0].back();
    return {{.name = "scale", .shape = {width}}, {.name = "shift", .shape = {width}}};
  }
  void initialise(std::span<const MatrixView<float>> parameters, Random&) const override {
    std::fill(parameters[0].row(0).begin(), parameters[0].row(0).end(), 1.0f);
  }

  void forward(const OpForward& call) const override {
    const auto scale = call.parameters[0].row(0), shift = call.parameters[1].row(0);
    for_each_position(call.output.rows(), call.output.cols(), scale.size(), [&](std::size_t r, std::size_t first) {
      const auto x = call.inputs[0].row(r).subspan(first, scale.size());
      const auto y = call.output.row(r).subspan(first, scale.size());
      const Moments m = moments(x, call.attributes[0]);
      for (std::size_t i = 0; i < x.size(); ++i) {
        y[i] = static_cast<float>(scale[i] * ((x[i] - m.mean) * m.inverse_deviation) + shift[i]);
      }
    });
  }
  void backward(const OpBackward& call) const override {
    const auto scale = call.parameters[0].row(0);
    const double size = static_cast<double>(scale.size());
    const std::size_t cols = call.output_gradient.cols();
    for_each_position(call.output_gradient.rows(), cols, scale.size(), [&](std::size_t r, std::size_t first) {
      const auto x = call.inputs[0].row(r).subspan(first, scale.size());
      const auto from = call.output_gradient.row(r).subspan(first, scale.size());
      const Moments m = moments(x, call.attributes[0]);
      double sum = 0, projected = 0;  // of the gradient in the normalised row
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double z = (x[i] - m.mean) * m.inverse_deviation, g = static_cast<double>(from[i]) * scale[i];
        sum += g;
        projected += g * z;
        if (call.parameter_gradients[0].data()) call.parameter_gradients[0](0, i) += static_cast<float>(from[i] * z);
        if (call.parameter_gradients[1].data()) call.parameter_gradients[1](0, i) += from[i];
      }
      if (!call.input_gradients[0].data()) return;
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double z = (x[i] - m.mean) * m.inverse_deviation, g = static_cast<double>(from[i]) * scale[i];
        call.input_gradients[0](r, first + i) +=
            static_cast<float>(m.inverse_deviation * (g - (sum + z * projected) / size));
      }
    });
  }
  // Bounds of each deviation from the mean, then of the variance as the mean of their squares. A normalised value is
  // also at most sqrt(size - 1) away from zero, whatever the row.
  void bounds(const OpBounds& call) const override {
    const auto scale = call.parameters[0].row(0), shift = call.parameters[1].row(0);
    const double size = static_cast<double>(scale.size());
    const double farthest = std::sqrt(size - 1);
    const std::size_t cols = call.output_lower.cols();
    for_each_position(call.output_lower.rows(), cols, scale.size(), [&](std::size_t r, std::size_t first) {
      const auto lower = call.input_lower[0].row(r).subspan(first, scale.size());
      const auto upper = call.input_upper[0].row(r).subspan(first, scale.size());
      double lower_sum = 0, upper_sum = 0;
      for (std::size_t i = 0; i < lower.size(); ++i) {
        lower_sum += lower[i];
        upper_sum += upper[i];
      }
      const auto deviation = [&](std::size_t i) {
        return std::pair{lower[i] - (upper_sum - upper[i] + lower[i]) / size,
                         upper[i] - (lower_sum - lower[i] + upper[i]) / size};
      };
      double smallest = 0, largest = 0;
      for (std::size_t i = 0; i < lower.size(); ++i) {
        const auto [low, high] = deviation(i);
        const double near = low > 0 ? low : (high < 0 ? high : 0.0);
        smallest += near * near;
        largest += std::max(low * low, high * high);
      }
      const double widest = std::sqrt(largest / size + call.attributes[0]);
      const double narrowest = std::sqrt(smallest / size + call.attributes[0]);
      for (std::size_t i = 0; i < lower.size(); ++i) {
        const auto [low, high] = deviation(i);
        double a = std::max(low / (low > 0 ? widest : narrowest), -farthest);
        double b = std::min(high / (high > 0 ? narrowest : widest), farthest);
        a = scale[i] * a;
        b = scale[i] * b;
        if (a > b) std::swap(a, b);
        const double slack = 1e-6 * (std::abs(a) + std::abs(b) + std::abs(shift[i])) + 1e-30;
        call.output_lower(r, first + i) = static_cast<float>(a + shift[i] - slack);
        call.output_upper(r, first + i) = static_cast<float>(b + shift[i] + slack);
      }
    });
  }
  std::string source(const OpSource& call) const override {
    const std::size_t width = call.attributes[1] == 0 ? call.output_size : call.shapes[0].back();
    return fmt::format(
        "  for (int at = 0; at < {6}; at += {2}) {{\n"
        "    const float* const x = {0} + at;\n"
        "    double mean = 0, square = 0;\n"
        "    for (int i = 0; i < {2}; ++i) mean += x[i];\n"
        "    mean /= {2};\n"
        "    for (int i = 0; i < {2}; ++i) square += (x[i] - mean) * (x[i] - mean);\n"
        "    const double inverse = 1.0 / std::sqrt(square / {2} + {5:.17g});\n"
        "    for (int i = 0; i < {2}; ++i) {1}[at + i] = (float)({3}[i] * ((x[i] - mean) * inverse) + {4}[i]);\n"
        "  }}\n",
        call.inputs[0], call.output, width, call.parameters[0], call.parameters[1], call.attributes[0],
        call.output_size);
  }
};

}  // namespace

const Op& layer_norm_op() noexcept {
  static const LayerNorm op;
  return op;
}

}  // namespace redoubt::detail
