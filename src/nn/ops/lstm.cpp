#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "nn/ops/op_table.hpp"
#include "nn/ops/recurrent.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/kernels/activation.hpp"
#include "redoubt/kernels/interval.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "units", .fallback = 1, .low = 1, .high = 65536, .whole = true}};

/// Positions x features to positions x units, from state zero (Hochreiter & Schmidhuber, 1997; with forget gate):
/// i, f, o = sigmoid, g = tanh of x W + h R + b, in the order i, f, g, o of four times `units` columns;
/// c = f c + i g; h = o tanh(c) is the output of the position.
class Lstm final : public Op {
 public:
  std::string_view name() const noexcept override { return "lstm"; }
  std::string_view onnx_name() const noexcept override { return "LSTM"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    if (inputs[0].size() != 2) {
      fail(errc::shape_mismatch,
           fmt::format("lstm: the input has shape [{}]; it must be positions, features", fmt::join(inputs[0], ", ")));
    }
    return {inputs[0][0], static_cast<std::uint32_t>(attributes[0])};
  }
  std::vector<OpParameter> parameters(std::span<const OpShape> inputs,
                                      std::span<const double> attributes) const override {
    const auto units = static_cast<std::size_t>(attributes[0]);
    return {{.name = "weight", .shape = {inputs[0][1], 4 * units}, .decay = true},
            {.name = "recurrent", .shape = {units, 4 * units}, .decay = true},
            {.name = "bias", .shape = {4 * units}}};
  }
  // Glorot & Bengio (AISTATS 2010) per gate; the forget gate starts open (Jozefowicz et al., ICML 2015).
  void initialise(std::span<const MatrixView<float>> parameters, Random& random) const override {
    const std::size_t units = parameters[1].rows();
    for (std::size_t p = 0; p < 2; ++p) {
      const double deviation = std::sqrt(2.0 / static_cast<double>(parameters[p].rows() + units));
      for (std::size_t r = 0; r < parameters[p].rows(); ++r) {
        for (float& w : parameters[p].row(r)) w = static_cast<float>(deviation * random.normal());
      }
    }
    std::fill_n(parameters[2].data() + units, units, 1.0f);
  }
  std::size_t scratch(std::span<const OpShape> inputs, std::span<const double> attributes,
                      bool backward) const override {
    const auto units = static_cast<std::size_t>(attributes[0]);
    return backward ? inputs[0][0] * 5 * units + 6 * units : 5 * units;
  }

  void forward(const OpForward& call) const override {
    const SequenceSizes s = sequence_sizes(call);
    const std::size_t rows = call.output.rows();
    const MatrixView<float> gates{call.scratch.data(), rows, 4 * s.units};
    const MatrixView<float> cell{gates.data() + 4 * s.units * rows, rows, s.units};
    for (std::size_t t = 0; t < s.positions; ++t) step(s, call, call.inputs[0], call.output, t, gates, cell, cell);
  }
  void backward(const OpBackward& call) const override {
    const SequenceSizes s = sequence_sizes(call);
    const std::size_t rows = call.output_gradient.rows();
    float* const memory = call.scratch.data();
    const auto gates = [&](std::size_t t) {
      return MatrixView<float>{memory + t * 4 * s.units * rows, rows, 4 * s.units};
    };
    const auto cell = [&](std::size_t t) {
      return MatrixView<float>{memory + (s.positions * 4 + t) * s.units * rows, rows, s.units};
    };
    float* const rest = memory + s.positions * 5 * s.units * rows;
    const MatrixView<float> slopes{rest, rows, 4 * s.units};
    const MatrixView<float> to_output{rest + 4 * s.units * rows, rows, s.units};
    const MatrixView<float> to_cell{rest + 5 * s.units * rows, rows, s.units};
    for (std::size_t t = 0; t < s.positions; ++t) again(s, call, t, gates(t), cell(t), t > 0 ? cell(t - 1) : cell(t));
    std::fill_n(to_output.data(), 2 * s.units * rows, 0.0f);  // and to_cell
    const kernels::MatmulOptions more{.accumulate = true, .arena = call.arena};
    for (std::size_t t = s.positions; t-- > 0;) {
      for (std::size_t r = 0; r < rows; ++r) {
        const auto g = gates(t).row(r);
        for (std::size_t u = 0; u < s.units; ++u) {
          const float in = g[u], forget = g[s.units + u], fresh = g[2 * s.units + u], out = g[3 * s.units + u];
          const float squashed = std::tanh(cell(t)(r, u)), before = t > 0 ? cell(t - 1)(r, u) : 0.0f;
          const float by_output = to_output(r, u) + call.output_gradient(r, t * s.units + u);
          const float by_cell = to_cell(r, u) + by_output * out * (1 - squashed * squashed);
          slopes(r, u) = by_cell * fresh * in * (1 - in);
          slopes(r, s.units + u) = by_cell * before * forget * (1 - forget);
          slopes(r, 2 * s.units + u) = by_cell * in * (1 - fresh * fresh);
          slopes(r, 3 * s.units + u) = by_output * squashed * out * (1 - out);
          to_cell(r, u) = by_cell * forget;
        }
      }
      if (call.input_gradients[0].data()) {
        kernels::matmul_nt(slopes, call.parameters[0], position(call.input_gradients[0], t, s.features), more);
      }
      if (call.parameter_gradients[0].data()) {
        kernels::matmul_tn(position(call.inputs[0], t, s.features), slopes, call.parameter_gradients[0], more);
      }
      if (call.parameter_gradients[2].data()) {
        for (std::size_t r = 0; r < rows; ++r) {
          for (std::size_t i = 0; i < 4 * s.units; ++i) call.parameter_gradients[2](0, i) += slopes(r, i);
        }
      }
      if (t == 0) break;
      if (call.parameter_gradients[1].data()) {
        kernels::matmul_tn(position(call.output, t - 1, s.units), slopes, call.parameter_gradients[1], more);
      }
      kernels::matmul_nt(slopes, call.parameters[1], to_output, {.arena = call.arena});
    }
  }
  // One product per position over (x, h) side by side, so that its widening covers the whole chain of additions.
  void bounds(const OpBounds& call) const override {
    const SequenceSizes s = sequence_sizes(call);
    const std::size_t depth = s.features + s.units, columns = 4 * s.units;
    std::vector<float> stacked(call.parameters[0].data(), call.parameters[0].data() + s.features * columns);
    stacked.insert(stacked.end(), call.parameters[1].data(), call.parameters[1].data() + s.units * columns);
    std::vector<float> low(depth), high(depth), gate_low(columns), gate_high(columns);
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      std::vector<Box> cell(s.units, Box{0, 0});
      std::fill(low.begin(), low.end(), 0.0f);
      std::fill(high.begin(), high.end(), 0.0f);
      for (std::size_t t = 0; t < s.positions; ++t) {
        std::copy_n(call.input_lower[0].row(r).data() + t * s.features, s.features, low.begin());
        std::copy_n(call.input_upper[0].row(r).data() + t * s.features, s.features, high.begin());
        kernels::affine_bounds({low.data(), 1, depth}, {high.data(), 1, depth}, {stacked.data(), depth, columns},
                               call.parameters[2].data(), {gate_low.data(), 1, columns}, {gate_high.data(), 1, columns},
                               call.arena);
        for (std::size_t u = 0; u < s.units; ++u) {
          const auto gate = [&](std::size_t k) {
            const std::size_t i = k * s.units + u;
            return k == 2 ? box_tanh(gate_low[i], gate_high[i]) : box_sigmoid(gate_low[i], gate_high[i]);
          };
          const Box kept = times(gate(1), cell[u]), added = times(gate(0), gate(2));
          const double slack = 1e-6 * (std::max(std::abs(kept.low), std::abs(kept.high)) +
                                       std::max(std::abs(added.low), std::abs(added.high)));
          cell[u] = {kept.low + added.low - slack, kept.high + added.high + slack};
          const Box out = times(gate(3), box_tanh(cell[u].low, cell[u].high));
          const Box h = widened(out.low, out.high);
          const std::size_t i = t * s.units + u;
          low[s.features + u] = call.output_lower(r, i) = static_cast<float>(h.low - 1e-6 * std::abs(h.low));
          high[s.features + u] = call.output_upper(r, i) = static_cast<float>(h.high + 1e-6 * std::abs(h.high));
        }
      }
    }
  }

 private:
  /// Gates and cell of position t from its input and the output before it.
  static void gates_and_cell(const SequenceSizes& s, const OpContext& call, MatrixView<const float> x,
                             MatrixView<const float> outputs, std::size_t t, MatrixView<float> gates,
                             MatrixView<float> cell, MatrixView<const float> before) {
    kernels::matmul(
        position(x, t, s.features), call.parameters[0], gates,
        {.epilogue = {.bias = call.parameters[2].data()}, .arena = call.arena ? call.arena : &serial_arena()});
    if (t > 0) {
      kernels::matmul(position(outputs, t - 1, s.units), call.parameters[1], gates,
                      {.accumulate = true, .arena = call.arena ? call.arena : &serial_arena()});
    }
    for (std::size_t r = 0; r < gates.rows(); ++r) {
      const auto g = gates.row(r);
      const auto in_and_forget = g.first(2 * s.units), fresh = g.subspan(2 * s.units, s.units), out = g.last(s.units);
      kernels::sigmoid(in_and_forget, in_and_forget);
      kernels::tanh(fresh, fresh);
      kernels::sigmoid(out, out);
      for (std::size_t u = 0; u < s.units; ++u) {
        const float kept = t > 0 ? g[s.units + u] * before(r, u) : 0.0f;
        cell(r, u) = kept + g[u] * fresh[u];
      }
    }
  }
  static void step(const SequenceSizes& s, const OpContext& call, MatrixView<const float> x, MatrixView<float> outputs,
                   std::size_t t, MatrixView<float> gates, MatrixView<float> cell, MatrixView<const float> before) {
    gates_and_cell(s, call, x, outputs, t, gates, cell, before);
    for (std::size_t r = 0; r < gates.rows(); ++r) {
      const auto y = position(outputs, t, s.units).row(r);
      kernels::tanh(cell.row(r), y);
      for (std::size_t u = 0; u < s.units; ++u) y[u] *= gates(r, 3 * s.units + u);
    }
  }
  static void again(const SequenceSizes& s, const OpBackward& call, std::size_t t, MatrixView<float> gates,
                    MatrixView<float> cell, MatrixView<const float> before) {
    gates_and_cell(s, call, call.inputs[0], call.output, t, gates, cell, before);
  }
};

}  // namespace

const Op& lstm_op() noexcept {
  static const Lstm op;
  return op;
}

}  // namespace redoubt::detail
