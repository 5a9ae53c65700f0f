#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "nn/ops/op_table.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "epsilon", .fallback = 1e-5, .low = 1e-12, .high = 1}};

/// y = scale * x / sqrt(mean(x^2) + epsilon) over the last axis (Zhang & Sennrich, arXiv:1910.07467).
class RmsNorm final : public Op {
 public:
  std::string_view name() const noexcept override { return "rms_norm"; }
  std::string_view onnx_name() const noexcept override { return "RMSNormalization"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double>) const override { return inputs[0]; }
  std::vector<OpParameter> parameters(std::span<const OpShape> inputs, std::span<const double>) const override {
    return {{.name = "scale", .shape = {inputs[0].back()}}};
  }
  void initialise(std::span<const MatrixView<float>> parameters, Random&) const override {
    std::fill_n(parameters[0].data(), parameters[0].cols(), 1.0f);
  }
  void forward(const OpForward& call) const override {
    const auto scale = call.parameters[0].row(0);
    for_each(call, call.output.rows(), [&](std::size_t r, std::size_t first, std::size_t width) {
      const float* const x = call.inputs[0].row(r).data() + first;
      const double inverse = inverse_size(x, width, call.attributes[0]);
      for (std::size_t i = 0; i < width; ++i)
        call.output(r, first + i) = static_cast<float>(scale[i] * (x[i] * inverse));
    });
  }
  void backward(const OpBackward& call) const override {
    const auto scale = call.parameters[0].row(0);
    for_each(call, call.output_gradient.rows(), [&](std::size_t r, std::size_t first, std::size_t width) {
      const float* const x = call.inputs[0].row(r).data() + first;
      const float* const from = call.output_gradient.row(r).data() + first;
      const double inverse = inverse_size(x, width, call.attributes[0]);
      double projected = 0;
      for (std::size_t i = 0; i < width; ++i) {
        projected += static_cast<double>(from[i]) * scale[i] * x[i];
        if (call.parameter_gradients[0].data()) {
          call.parameter_gradients[0](0, i) += static_cast<float>(from[i] * (x[i] * inverse));
        }
      }
      if (!call.input_gradients[0].data()) return;
      const double pull = projected * inverse * inverse * inverse / static_cast<double>(width);
      for (std::size_t i = 0; i < width; ++i) {
        call.input_gradients[0](r, first + i) +=
            static_cast<float>(inverse * (static_cast<double>(from[i]) * scale[i]) - pull * x[i]);
      }
    });
  }
  // Bounds of the mean square; a normalised value is at most sqrt(width) away from zero, whatever the row.
  void bounds(const OpBounds& call) const override {
    const auto scale = call.parameters[0].row(0);
    for_each(call, call.output_lower.rows(), [&](std::size_t r, std::size_t first, std::size_t width) {
      double smallest = 0, largest = 0;
      const auto ends = [&](std::size_t i) {
        return std::pair<double, double>{call.input_lower[0](r, first + i), call.input_upper[0](r, first + i)};
      };
      for (std::size_t i = 0; i < width; ++i) {
        const auto [low, high] = ends(i);
        const double near = low > 0 ? low : (high < 0 ? high : 0.0);
        smallest += near * near;
        largest += std::max(low * low, high * high);
      }
      const double size = static_cast<double>(width), farthest = std::sqrt(size);
      const double narrowest = std::sqrt(smallest / size + call.attributes[0]);
      const double widest = std::sqrt(largest / size + call.attributes[0]);
      for (std::size_t i = 0; i < width; ++i) {
        const auto [low, high] = ends(i);
        double a = scale[i] * std::max(low / (low > 0 ? widest : narrowest), -farthest);
        double b = scale[i] * std::min(high / (high > 0 ? narrowest : widest), farthest);
        if (a > b) std::swap(a, b);
        const double slack = 1e-6 * (std::abs(a) + std::abs(b)) + 1e-30;
        call.output_lower(r, first + i) = static_cast<float>(a - slack);
        call.output_upper(r, first + i) = static_cast<float>(b + slack);
      }
    });
  }

 private:
  template <class Visit>
  static void for_each(const OpContext& call, std::size_t rows, Visit visit) {
    const std::size_t width = call.shapes[0].back(), size = op_size(call.shapes[0]);
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t first = 0; first < size; first += width) visit(r, first, width);
    }
  }
  static double inverse_size(const float* x, std::size_t width, double epsilon) {
    double square = 0;
    for (std::size_t i = 0; i < width; ++i) square += static_cast<double>(x[i]) * x[i];
    return 1.0 / std::sqrt(square / static_cast<double>(width) + epsilon);
  }
};

}  // namespace

const Op& rms_norm_op() noexcept {
  static const RmsNorm op;
  return op;
}

}  // namespace redoubt::detail
