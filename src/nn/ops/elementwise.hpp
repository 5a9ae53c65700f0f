#pragma once
// What ops that map every value alone have in common.
#include <fmt/format.h>

#include <cmath>
#include <string>
#include <string_view>

#include "redoubt/nn/op.hpp"

namespace redoubt::detail {

/// Moves a bound outwards by a relative error, so that it encloses a float function that is only that exact.
inline float lower_by(float value, float relative) { return value - std::abs(value) * relative - 1e-37f; }
inline float upper_by(float value, float relative) { return value + std::abs(value) * relative + 1e-37f; }

/// Adds derivative(x, y) * output gradient to the input gradient.
template <class Derivative>
void elementwise_backward(const OpBackward& call, Derivative derivative) {
  const auto gradient = call.input_gradients[0];
  if (!gradient.data()) return;
  for (std::size_t r = 0; r < gradient.rows(); ++r) {
    const auto x = call.inputs[0].row(r), y = call.output.row(r), from = call.output_gradient.row(r);
    const auto to = gradient.row(r);
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += derivative(x[i], y[i]) * from[i];
  }
}

/// Row by row, so that a row has the same bits whatever batch it is in.
template <class Function>
void for_each_row(MatrixView<const float> src, MatrixView<float> dst, Function function) {
  for (std::size_t r = 0; r < dst.rows(); ++r) function(src.row(r), dst.row(r));
}

/// Bounds of a non-decreasing function whose float form has relative error <= `relative`.
template <class Function>
void monotone_bounds(const OpBounds& call, float relative, Function function) {
  for_each_row(call.input_lower[0], call.output_lower, function);
  for_each_row(call.input_upper[0], call.output_upper, function);
  if (relative == 0) return;
  for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
    for (float& v : call.output_lower.row(r)) v = lower_by(v, 2 * relative);
    for (float& v : call.output_upper.row(r)) v = upper_by(v, 2 * relative);
  }
}

/// Loop over all values; in `expression` {x} is the input value.
inline std::string elementwise_source(const OpSource& call, std::string_view expression) {
  return fmt::format("  for (int i = 0; i < {}; ++i) {{\n    const float x = {}[i];\n    {}[i] = {};\n  }}\n",
                     call.output_size, call.inputs[0], call.output, expression);
}

}  // namespace redoubt::detail
