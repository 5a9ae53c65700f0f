#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"
#include "redoubt/kernels/normalise.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {
    {.name = "epsilon", .fallback = 1e-5, .low = 1e-12, .high = 1},
    {.name = "per_position", .fallback = 0, .low = 0, .high = 1, .whole = true, .optional = true}};

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
        kernels::normalise(x, kernels::moments(x, call.attributes[0]), scale, shift, y);
      });
    });
  }
  bool assigns_gradients() const noexcept override { return true; }
  void backward(const OpBackward& call) const override {
    const auto scale = call.parameters[0].row(0);
    const std::size_t width = scale.size(), cols = call.output_gradient.cols(), rows = call.output_gradient.rows();
    const MatrixView<float> to = call.input_gradients[0];
    const auto wanted = [&](std::size_t p) {
      const MatrixView<float> gradient = call.parameter_gradients[p];
      return gradient.data() ? gradient.row(0) : std::span<float>{};
    };
    const auto scales = wanted(0), shifts = wanted(1);
    const bool sums = !scales.empty() || !shifts.empty();
    const bool alone = call.arena && call.arena->threads() == 1;
    rows_in_blocks(rows, cols, call.arena, [&](std::size_t begin, std::size_t end) {
      for_each_position(begin, end, cols, width, [&](std::size_t r, std::size_t first) {
        const auto x = call.inputs[0].row(r).subspan(first, width);
        const kernels::Moments m = kernels::moments(x, call.attributes[0]);
        float* const kept = call.scratch.data() + 3 * ((r * cols + first) / width);
        kept[0] = m.mean_high, kept[1] = m.mean_low, kept[2] = m.inverse_deviation;
        const auto from = call.output_gradient.row(r).subspan(first, width);
        if (sums && alone) kernels::normalise_sums(x, m, from, scales, shifts);  // while both are in cache
        if (to.data())
          kernels::normalise_gradient(x, m, scale, from, !call.is_fresh(0), to.row(r).subspan(first, width));
      });
    });
    if (!sums || alone) return;
    const auto part = [](std::span<float> sums, std::size_t begin, std::size_t count) {
      return sums.empty() ? sums : sums.subspan(begin, count);
    };
    columns_in_blocks(rows, cols, width, call.arena, [&](std::size_t begin, std::size_t end) {
      const std::size_t count = end - begin;
      for_each_position(0, rows, cols, width, [&](std::size_t r, std::size_t first) {
        const float* const kept = call.scratch.data() + 3 * ((r * cols + first) / width);
        kernels::normalise_sums(call.inputs[0].row(r).subspan(first + begin, count), {kept[0], kept[1], kept[2]},
                                call.output_gradient.row(r).subspan(first + begin, count), part(scales, begin, count),
                                part(shifts, begin, count));
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
