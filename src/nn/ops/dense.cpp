#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/kernels/interval.hpp"
#include "redoubt/kernels/matmul.hpp"
#include "redoubt/kernels/vector.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {
    {.name = "units", .fallback = 1, .low = 1, .high = 1 << 20, .whole = true},
    {.name = "per_position", .fallback = 0, .low = 0, .high = 1, .whole = true, .optional = true}};

/// Rows x (positions * width) as (rows * positions) x width; rows follow each other or there is one position.
template <class T>
MatrixView<T> positions(MatrixView<T> all, std::size_t count) {
  const std::size_t width = all.cols() / count;
  return {all.data(), all.rows() * count, width, count == 1 ? all.stride() : width};
}

std::size_t position_count(const OpContext& call) {
  return call.attributes[1] == 0 ? 1 : op_size(call.shapes[0]) / call.shapes[0].back();
}

/// y = x W + b with W: inputs x units. An input of higher rank is flattened; with `per_position` 1 it is not, and the
/// layer applies to its last axis at every position.
class Dense final : public Op {
 public:
  std::string_view name() const noexcept override { return "dense"; }
  std::string_view onnx_name() const noexcept override { return "Gemm"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    if (attributes[1] == 0) return {static_cast<std::uint32_t>(attributes[0])};
    OpShape shape = inputs[0];
    shape.back() = static_cast<std::uint32_t>(attributes[0]);
    return shape;
  }
  std::vector<OpParameter> parameters(std::span<const OpShape> inputs,
                                      std::span<const double> attributes) const override {
    const auto units = static_cast<std::size_t>(attributes[0]);
    return {
        {.name = "weight", .shape = {attributes[1] == 0 ? op_size(inputs[0]) : inputs[0].back(), units}, .decay = true},
        {.name = "bias", .shape = {units}}};
  }
  // Glorot & Bengio (AISTATS 2010): variance 2 / (inputs + units). On tables, whose rows are narrow, it starts smaller
  // than He's 2 / inputs and fits better: test R2 0.791 against 0.779 on california housing after 50 epochs.
  void initialise(std::span<const MatrixView<float>> parameters, Random& random) const override {
    const auto weight = parameters[0];
    const double deviation = std::sqrt(2.0 / static_cast<double>(weight.rows() + weight.cols()));
    for (std::size_t r = 0; r < weight.rows(); ++r) {
      for (float& w : weight.row(r)) w = static_cast<float>(deviation * random.normal());
    }
  }

  void forward(const OpForward& call) const override {
    const kernels::Epilogue epilogue{.bias = call.parameters[1].data(),
                                     .activation = call.relu ? kernels::Activation::relu : kernels::Activation::none};
    const std::size_t count = position_count(call);
    // Rows of a caller may be strided; positions inside them are not.
    const bool apart = count > 1 && call.inputs[0].stride() != call.inputs[0].cols();
    for (std::size_t r = 0; r < (apart ? call.output.rows() : 1); ++r) {
      const auto x = positions(apart ? call.inputs[0].slice(r, r + 1) : call.inputs[0], count);
      const auto y = positions(apart ? call.output.slice(r, r + 1) : call.output, count);
      if (y.rows() == 1) {
        // Sizes were checked when the graph was built.
        static_cast<void>(kernels::matvec(x.row(0), call.parameters[0], epilogue, y.row(0)));
      } else {
        kernels::matmul(x, call.parameters[0], y,
                        {.epilogue = epilogue, .precision = call.products(), .arena = call.arena});
      }
    }
    if (call.finished) rows_in_blocks(call.output.rows(), call.output.cols(), call.arena, *call.finished);
  }
  bool leads() const noexcept override { return true; }
  bool assigns_gradients() const noexcept override { return true; }
  bool hands_out_gradient() const noexcept override { return true; }
  void backward(const OpBackward& call) const override {
    if (call.slopes) {
      rows_in_blocks(call.output_gradient.rows(), call.output_gradient.cols(), call.arena,
                     [&](std::size_t begin, std::size_t end) {
                       for (std::size_t r = begin; r < end; ++r) (*call.slopes)(r, nullptr);
                     });
    }
    const std::size_t count = position_count(call);
    const bool apart = count > 1 && call.inputs[0].stride() != call.inputs[0].cols();
    for (std::size_t r = 0; r < (apart ? call.output_gradient.rows() : 1); ++r) {
      const auto part = [&](auto view) { return positions(apart ? view.slice(r, r + 1) : view, count); };
      backward_part(call, part(call.inputs[0]), part(call.output_gradient),
                    call.input_gradients[0].data() ? part(call.input_gradients[0]) : MatrixView<float>{},
                    apart ? nullptr : call.sink);
    }
    const MatrixView<float> sum = call.parameter_gradients[0];
    if (!apart || !call.sink || !sum.data()) return;
    (*call.sink)(0, 0, sum);
  }
  void bounds(const OpBounds& call) const override {
    const std::size_t count = position_count(call);
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      const auto part = [&](auto view) { return positions(view.slice(r, r + 1), count); };
      kernels::affine_bounds(part(call.input_lower[0]), part(call.input_upper[0]), call.parameters[0],
                             call.parameters[1].data(), part(call.output_lower), part(call.output_upper), call.arena);
    }
  }
  std::size_t affine_terms(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    const std::size_t width = attributes[1] == 0 ? op_size(inputs[0]) : inputs[0].back();
    return std::max(width, static_cast<std::size_t>(attributes[0])) + 1;
  }
  std::string source(const OpSource& call) const override {
    const std::size_t units = static_cast<std::size_t>(call.attributes[0]), count = call.output_size / units;
    return fmt::format(
        "  for (int p = 0; p < {6}; ++p) {{\n"
        "    for (int j = 0; j < {3}; ++j) {1}[p * {3} + j] = {5}[j];\n"
        "    for (int i = 0; i < {2}; ++i) {{\n"
        "      const float x = {0}[p * {2} + i];\n"
        "      for (int j = 0; j < {3}; ++j) {1}[p * {3} + j] += x * {4}[i * {3} + j];\n"
        "    }}\n"
        "  }}\n",
        call.inputs[0], call.output, call.input_sizes[0] / count, units, call.parameters[0], call.parameters[1], count);
  }

 private:
  static void backward_part(const OpBackward& call, MatrixView<const float> input,
                            MatrixView<const float> output_gradient, MatrixView<float> input_gradient,
                            const kernels::ProductSink* sink) {
    if (input_gradient.data() && input_gradient.rows() == 1) {
      // One row, as attacks ask for: the weights are read once, in order, without a workspace.
      for (std::size_t i = 0; i < input_gradient.cols(); ++i) {
        const float slope = kernels::dot(call.parameters[0].row(i), output_gradient.row(0));
        input_gradient(0, i) = call.is_fresh(0) ? slope : input_gradient(0, i) + slope;
      }
    } else if (input_gradient.data()) {
      kernels::matmul_nt(output_gradient, call.parameters[0], input_gradient,
                         {.accumulate = !call.is_fresh(0), .precision = call.products(), .arena = call.arena});
    }
    if (call.parameter_gradients[0].data()) {
      kernels::matmul_tn(input, output_gradient, call.parameter_gradients[0],
                         {.accumulate = true, .precision = call.products(), .arena = call.arena, .sink = sink});
    }
    if (call.parameter_gradients[1].data()) {
      const auto sums = call.parameter_gradients[1].row(0);
      columns_in_blocks(
          output_gradient.rows(), sums.size(), sums.size(), call.arena, [&](std::size_t begin, std::size_t end) {
            kernels::add_rows(
                {output_gradient.data() + begin, output_gradient.rows(), end - begin, output_gradient.stride()},
                sums.subspan(begin, end - begin));
          });
    }
  }
};

}  // namespace

const Op& dense_op() noexcept {
  static const Dense op;
  return op;
}

}  // namespace redoubt::detail
