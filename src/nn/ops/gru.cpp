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

/// Positions x features to positions x units, from state zero (Cho et al., arXiv:1406.1078, with the reset after the
/// product). With a = x W + b and u = h R + c, three times `units` columns each in the order r, z, n:
/// r, z = sigmoid(a + u), n = tanh(a + r u), h = (1 - z) n + z h is the output of the position.
class Gru final : public Op {
 public:
  std::string_view name() const noexcept override { return "gru"; }
  std::string_view onnx_name() const noexcept override { return "GRU"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    if (inputs[0].size() != 2) {
      fail(errc::shape_mismatch,
           fmt::format("gru: the input has shape [{}]; it must be positions, features", fmt::join(inputs[0], ", ")));
    }
    return {inputs[0][0], static_cast<std::uint32_t>(attributes[0])};
  }
  std::vector<OpParameter> parameters(std::span<const OpShape> inputs,
                                      std::span<const double> attributes) const override {
    const auto units = static_cast<std::size_t>(attributes[0]);
    return {{.name = "weight", .shape = {inputs[0][1], 3 * units}, .decay = true},
            {.name = "recurrent", .shape = {units, 3 * units}, .decay = true},
            {.name = "bias", .shape = {3 * units}},
            {.name = "recurrent_bias", .shape = {3 * units}}};
  }
  // Glorot & Bengio (AISTATS 2010) per gate.
  void initialise(std::span<const MatrixView<float>> parameters, Random& random) const override {
    const std::size_t units = parameters[1].rows();
    for (std::size_t p = 0; p < 2; ++p) {
      const double deviation = std::sqrt(2.0 / static_cast<double>(parameters[p].rows() + units));
      for (std::size_t r = 0; r < parameters[p].rows(); ++r) {
        for (float& w : parameters[p].row(r)) w = static_cast<float>(deviation * random.normal());
      }
    }
  }
  std::size_t scratch(std::span<const OpShape> inputs, std::span<const double> attributes,
                      bool backward) const override {
    const auto units = static_cast<std::size_t>(attributes[0]);
    return backward ? inputs[0][0] * 6 * units + 7 * units : 6 * units;
  }

  void forward(const OpForward& call) const override {
    const SequenceSizes s = sequence_sizes(call);
    const std::size_t rows = call.output.rows();
    const MatrixView<float> gates{call.scratch.data(), rows, 3 * s.units};
    const MatrixView<float> pulls{gates.data() + 3 * s.units * rows, rows, 3 * s.units};
    for (std::size_t t = 0; t < s.positions; ++t) {
      fill_gates(s, call, call.inputs[0], call.output, t, gates, pulls);
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t u = 0; u < s.units; ++u) {
          const float z = gates(r, s.units + u), n = gates(r, 2 * s.units + u);
          const float before = t > 0 ? call.output(r, (t - 1) * s.units + u) : 0.0f;
          call.output(r, t * s.units + u) = (1 - z) * n + z * before;
        }
      }
    }
  }
  void backward(const OpBackward& call) const override {
    const SequenceSizes s = sequence_sizes(call);
    const std::size_t rows = call.output_gradient.rows(), columns = 3 * s.units;
    float* const memory = call.scratch.data();
    const auto kept = [&](std::size_t i) { return MatrixView<float>{memory + i * columns * rows, rows, columns}; };
    const MatrixView<float> by_gate = kept(2 * s.positions), by_pull = kept(2 * s.positions + 1);
    const MatrixView<float> to_output{by_pull.data() + columns * rows, rows, s.units};
    for (std::size_t t = 0; t < s.positions; ++t) {
      fill_gates(s, call, call.inputs[0], call.output, t, kept(2 * t), kept(2 * t + 1));
    }
    std::fill_n(to_output.data(), rows * s.units, 0.0f);
    const kernels::MatmulOptions more{.accumulate = true, .arena = call.arena};
    for (std::size_t t = s.positions; t-- > 0;) {
      const auto gates = kept(2 * t), pulls = kept(2 * t + 1);
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t u = 0; u < s.units; ++u) {
          const std::size_t iz = s.units + u, in = 2 * s.units + u;
          const float reset = gates(r, u), z = gates(r, iz), n = gates(r, in);
          const float before = t > 0 ? call.output(r, (t - 1) * s.units + u) : 0.0f;
          const float slope = to_output(r, u) + call.output_gradient(r, t * s.units + u);
          const float by_n = slope * (1 - z) * (1 - n * n);
          by_gate(r, in) = by_n;
          by_pull(r, in) = by_n * reset;
          by_gate(r, u) = by_pull(r, u) = by_n * pulls(r, in) * reset * (1 - reset);
          by_gate(r, iz) = by_pull(r, iz) = slope * (before - n) * z * (1 - z);
          to_output(r, u) = slope * z;
        }
        for (std::size_t i = 0; i < columns; ++i) {
          if (call.parameter_gradients[2].data()) call.parameter_gradients[2](0, i) += by_gate(r, i);
          if (call.parameter_gradients[3].data()) call.parameter_gradients[3](0, i) += by_pull(r, i);
        }
      }
      if (call.input_gradients[0].data()) {
        kernels::matmul_nt(by_gate, call.parameters[0], position(call.input_gradients[0], t, s.features), more);
      }
      if (call.parameter_gradients[0].data()) {
        kernels::matmul_tn(position(call.inputs[0], t, s.features), by_gate, call.parameter_gradients[0], more);
      }
      if (t == 0) break;
      if (call.parameter_gradients[1].data()) {
        kernels::matmul_tn(position(call.output, t - 1, s.units), by_pull, call.parameter_gradients[1], more);
      }
      kernels::matmul_nt(by_pull, call.parameters[1], to_output, more);
    }
  }
  void bounds(const OpBounds& call) const override {
    const SequenceSizes s = sequence_sizes(call);
    const std::size_t columns = 3 * s.units;
    std::vector<float> h_low(s.units), h_high(s.units), a_low(columns), a_high(columns), u_low(columns),
        u_high(columns);
    const auto product = [&](const float* low, const float* high, std::size_t depth, std::size_t parameter,
                             std::size_t bias, std::vector<float>& to_low, std::vector<float>& to_high) {
      kernels::affine_bounds({low, 1, depth}, {high, 1, depth}, call.parameters[parameter],
                             call.parameters[bias].data(), {to_low.data(), 1, columns}, {to_high.data(), 1, columns},
                             call.arena);
    };
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      std::fill(h_low.begin(), h_low.end(), 0.0f);
      std::fill(h_high.begin(), h_high.end(), 0.0f);
      for (std::size_t t = 0; t < s.positions; ++t) {
        product(call.input_lower[0].row(r).data() + t * s.features, call.input_upper[0].row(r).data() + t * s.features,
                s.features, 0, 2, a_low, a_high);
        product(h_low.data(), h_high.data(), s.units, 1, 3, u_low, u_high);
        for (std::size_t u = 0; u < s.units; ++u) {
          // Sums and products round once more each: relative to what is added.
          const auto sum = [](Box a, Box b) {
            const double slack =
                1e-6 * (std::max(std::abs(a.low), std::abs(a.high)) + std::max(std::abs(b.low), std::abs(b.high)));
            return Box{a.low + b.low - slack, a.high + b.high + slack};
          };
          const auto a = [&](std::size_t k) { return Box{a_low[k * s.units + u], a_high[k * s.units + u]}; };
          const auto pull = [&](std::size_t k) { return Box{u_low[k * s.units + u], u_high[k * s.units + u]}; };
          const Box reset_sum = sum(a(0), pull(0)), z_sum = sum(a(1), pull(1));
          const Box reset = box_sigmoid(reset_sum.low, reset_sum.high), z = box_sigmoid(z_sum.low, z_sum.high);
          const Box n_sum = sum(a(2), times(reset, pull(2))), n = box_tanh(n_sum.low, n_sum.high);
          const Box before{h_low[u], h_high[u]};
          const Box open{1 - z.high - 1e-7, 1 - z.low + 1e-7};
          const Box mixed = sum(times(open, n), times(z, before));
          // A mean of n and the state lies between them too.
          const double low = std::max(mixed.low, std::min(n.low, before.low) - 1e-6);
          const double high = std::min(mixed.high, std::max(n.high, before.high) + 1e-6);
          const Box h = widened(low, high);
          const std::size_t i = t * s.units + u;
          call.output_lower(r, i) = h_low[u] = static_cast<float>(h.low);
          call.output_upper(r, i) = h_high[u] = static_cast<float>(h.high);
        }
      }
    }
  }

 private:
  /// r, z and n of position t, and u of each from the output before it.
  static void fill_gates(const SequenceSizes& s, const OpContext& call, MatrixView<const float> x,
                         MatrixView<const float> outputs, std::size_t t, MatrixView<float> gates,
                         MatrixView<float> pulls) {
    Arena* const arena = call.arena ? call.arena : &serial_arena();
    kernels::matmul(position(x, t, s.features), call.parameters[0], gates,
                    {.epilogue = {.bias = call.parameters[2].data()}, .arena = arena});
    if (t > 0) {
      kernels::matmul(position(outputs, t - 1, s.units), call.parameters[1], pulls,
                      {.epilogue = {.bias = call.parameters[3].data()}, .arena = arena});
    }
    for (std::size_t r = 0; r < gates.rows(); ++r) {
      const auto g = gates.row(r), u = pulls.row(r);
      if (t == 0) std::copy_n(call.parameters[3].data(), u.size(), u.begin());
      const auto two = g.first(2 * s.units), fresh = g.last(s.units);
      for (std::size_t i = 0; i < two.size(); ++i) two[i] += u[i];
      kernels::sigmoid(two, two);
      for (std::size_t i = 0; i < s.units; ++i) fresh[i] += g[i] * u[2 * s.units + i];
      kernels::tanh(fresh, fresh);
    }
  }
};

}  // namespace

const Op& gru_op() noexcept {
  static const Gru op;
  return op;
}

}  // namespace redoubt::detail
