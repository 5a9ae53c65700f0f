#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"
#include "redoubt/kernels/vector.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {
    {.name = "epsilon", .fallback = 1e-5, .low = 1e-12, .high = 1},
    {.name = "per_position", .fallback = 0, .low = 0, .high = 1, .whole = true, .optional = true}};

constexpr std::size_t chunk = 256;

/// The mean as the sum of two floats, so that differences from it are right to a rounding also far from zero.
struct Moments {
  float high, low, inverse_deviation;
  float centred(float x) const { return (x - high) - low; }
  float operator()(float x) const { return centred(x) * inverse_deviation; }
};

Moments moments(std::span<const float> x, double epsilon) {
  const auto size = static_cast<double>(x.size());
  const double mean = kernels::sum(x) / size;
  Moments m{.high = static_cast<float>(mean)};
  m.low = static_cast<float>(mean - m.high);
  std::array<double, 8> lanes{};
  const std::size_t whole = x.size() / 8 * 8;
  for (std::size_t at = 0; at < whole; at += 8) {
    for (std::size_t l = 0; l < 8; ++l) {
      const double c = m.centred(x[at + l]);
      lanes[l] += c * c;
    }
  }
  for (std::size_t i = whole; i < x.size(); ++i) {
    const double c = m.centred(x[i]);
    lanes[i - whole] += c * c;
  }
  double square = 0;
  for (const double lane : lanes) square += lane;
  m.inverse_deviation = static_cast<float>(1.0 / std::sqrt(square / size + epsilon));
  return m;
}

template <class Visit>
void for_each_position(std::size_t begin, std::size_t end, std::size_t cols, std::size_t width, Visit visit) {
  for (std::size_t r = begin; r < end; ++r) {
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

  /// The mean and inverse deviation of every position.
  std::size_t scratch(std::span<const OpShape> inputs, std::span<const double> attributes,
                      bool backward) const override {
    return !backward ? 0 : attributes[1] == 0 ? 3 : 3 * op_size(inputs[0]) / inputs[0].back();
  }

  void forward(const OpForward& call) const override {
    const auto scale = call.parameters[0].row(0), shift = call.parameters[1].row(0);
    rows_in_blocks(call.output.rows(), call.output.cols(), call.arena, [&](std::size_t begin, std::size_t end) {
      for_each_position(begin, end, call.output.cols(), scale.size(), [&](std::size_t r, std::size_t first) {
        const auto x = call.inputs[0].row(r).subspan(first, scale.size());
        const auto y = call.output.row(r).subspan(first, scale.size());
        const Moments m = moments(x, call.attributes[0]);
        for (std::size_t i = 0; i < x.size(); ++i) y[i] = scale[i] * m(x[i]) + shift[i];
      });
    });
  }
  bool assigns_gradients() const noexcept override { return true; }
  void backward(const OpBackward& call) const override {
    const auto scale = call.parameters[0].row(0);
    const std::size_t width = scale.size(), cols = call.output_gradient.cols(), rows = call.output_gradient.rows();
    const auto size = static_cast<float>(width);
    const MatrixView<float> to = call.input_gradients[0];
    rows_in_blocks(rows, cols, call.arena, [&](std::size_t begin, std::size_t end) {
      std::array<float, chunk> z, g;
      for_each_position(begin, end, cols, width, [&](std::size_t r, std::size_t first) {
        const auto x = call.inputs[0].row(r).subspan(first, width);
        const auto from = call.output_gradient.row(r).subspan(first, width);
        const Moments m = moments(x, call.attributes[0]);
        float* const kept = call.scratch.data() + 3 * ((r * cols + first) / width);
        kept[0] = m.high, kept[1] = m.low, kept[2] = m.inverse_deviation;
        if (!to.data()) return;
        double sum = 0, projected = 0;  // of the gradient in the normalised row
        for (std::size_t at = 0; at < width; at += chunk) {
          const std::size_t count = std::min(chunk, width - at);
          for (std::size_t i = 0; i < count; ++i) {
            z[i] = m(x[at + i]);
            g[i] = from[at + i] * scale[at + i];
          }
          sum += kernels::sum({g.data(), count});
          projected += kernels::dot({g.data(), count}, {z.data(), count});
        }
        const float level = static_cast<float>(sum) / size, lean = static_cast<float>(projected) / size;
        float* const dst = to.row(r).data() + first;
        if (call.is_fresh(0)) std::fill_n(dst, width, 0.0f);
        for (std::size_t i = 0; i < width; ++i) {
          dst[i] += m.inverse_deviation * (from[i] * scale[i] - level - m(x[i]) * lean);
        }
      });
    });
    const MatrixView<float> scales = call.parameter_gradients[0], shifts = call.parameter_gradients[1];
    if (!scales.data() && !shifts.data()) return;
    columns_in_blocks(rows, cols, width, call.arena, [&](std::size_t begin, std::size_t end) {
      for_each_position(0, rows, cols, width, [&](std::size_t r, std::size_t first) {
        const float* const x = call.inputs[0].row(r).data() + first;
        const float* const from = call.output_gradient.row(r).data() + first;
        const float* const kept = call.scratch.data() + 3 * ((r * cols + first) / width);
        const Moments m{kept[0], kept[1], kept[2]};
        if (scales.data()) {
          float* const sums = scales.data();
          for (std::size_t i = begin; i < end; ++i) sums[i] += from[i] * m(x[i]);
        }
        if (shifts.data()) {
          float* const sums = shifts.data();
          for (std::size_t i = begin; i < end; ++i) sums[i] += from[i];
        }
      });
    });
  }
  // Bounds of each deviation from the mean, then of the variance as the mean of their squares. A normalised value is
  // also at most sqrt(size - 1) away from zero, whatever the row.
  void bounds(const OpBounds& call) const override {
    const auto scale = call.parameters[0].row(0), shift = call.parameters[1].row(0);
    const double size = static_cast<double>(scale.size());
    const double farthest = std::sqrt(size - 1);
    const std::size_t cols = call.output_lower.cols();
    for_each_position(0, call.output_lower.rows(), cols, scale.size(), [&](std::size_t r, std::size_t first) {
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
