#pragma once
// What ops that map every value alone have in common.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>

#include "redoubt/core/parallel.hpp"
#include "redoubt/nn/op.hpp"

namespace redoubt::detail {

/// Moves a bound outwards by a relative error, so that it encloses a float function that is only that exact.
inline float lower_by(float value, float relative) { return value - std::abs(value) * relative - 1e-37f; }
inline float upper_by(float value, float relative) { return value + std::abs(value) * relative + 1e-37f; }

/// Calls body(first row, end) for fixed blocks of rows of `width` values, on the threads of the call if there is enough
/// to do.
template <class Body>
void rows_in_blocks(std::size_t rows, std::size_t width, Arena* arena, Body body) {
  const std::size_t block = std::max<std::size_t>(1, 16384 / std::max<std::size_t>(1, width));
  if (rows <= block) return body(std::size_t{0}, rows);
  parallel_for(rows, block, body, arena);
}

/// Calls body(first column, end) for sums over `rows` rows of `cols` values into `width` columns: every thread owns
/// columns, so the order of the sums is that of the rows.
template <class Body>
void columns_in_blocks(std::size_t rows, std::size_t cols, std::size_t width, Arena* arena, Body body) {
  const auto threads = static_cast<std::size_t>((arena ? *arena : Arena::default_arena()).threads());
  if (rows * cols < 65536 || threads == 1) return body(std::size_t{0}, width);
  parallel_for(width, (width / threads + 63) / 64 * 64, body, arena);
}

class ElementwiseOp : public Op {
 public:
  OpShape infer(std::span<const OpShape> inputs, std::span<const double>) const override { return inputs[0]; }
  bool assigns_gradients() const noexcept override { return true; }
};

/// Adds derivative(x, y) * output gradient to the input gradient, or assigns it if that is fresh.
template <class Derivative>
void elementwise_backward(const OpBackward& call, Derivative derivative) {
  const auto gradient = call.input_gradients[0];
  if (!gradient.data()) return;
  rows_in_blocks(gradient.rows(), gradient.cols(), call.arena, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) {
      const auto x = call.inputs[0].row(r), y = call.output.row(r), from = call.output_gradient.row(r);
      const auto to = gradient.row(r);
      if (call.is_fresh(0)) {
        for (std::size_t i = 0; i < to.size(); ++i) to[i] = derivative(x[i], y[i]) * from[i];
      } else {
        for (std::size_t i = 0; i < to.size(); ++i) to[i] += derivative(x[i], y[i]) * from[i];
      }
    }
  });
}

/// Row by row, so that a row has the same bits whatever batch it is in.
template <class Function>
void for_each_row(MatrixView<const float> src, MatrixView<float> dst, Function function) {
  for (std::size_t r = 0; r < dst.rows(); ++r) function(src.row(r), dst.row(r));
}

template <class Function>
void for_each_row(const OpForward& call, Function function) {
  rows_in_blocks(call.output.rows(), call.output.cols(), call.arena, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r) function(call.inputs[0].row(r), call.output.row(r));
  });
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

/// Lines of x for x > 0, else alpha x (0 <= alpha <= 1): above the chord, below the steeper of the two slopes that
/// leaves the smaller area (Zhang et al., arXiv:1811.00866).
inline bool relu_lines(const OpLines& call, float alpha) {
  for (std::size_t i = 0; i < call.lower.size(); ++i) {
    const double low = call.lower[i], high = call.upper[i];
    const bool unstable = low < 0 && high > 0;
    const float side = low >= 0 ? 1.0f : alpha;
    call.slope_below[i] = unstable && high > -low ? 1.0f : side;
    call.slope_above[i] = unstable ? static_cast<float>((high - alpha * low) / (high - low)) : side;
    // alpha x is rounded.
    const double rounding = alpha == 0 || low >= 0 ? 0 : 0x1p-23 * std::abs(low) * alpha + 1e-37;
    call.offset_below[i] = -rounding;
    call.offset_above[i] = rounding;
    if (!unstable) continue;
    const double slope = call.slope_above[i];
    call.offset_above[i] += std::max({0.0, alpha * low - slope * low, high - slope * high});
  }
  return true;
}

/// Lines of an increasing function that is convex before 0 and concave behind it, whose float form is off by
/// `relative`: through both ends, with the smaller of the slopes there.
template <class Function, class Derivative>
bool s_lines(const OpLines& call, double relative, Function value, Derivative derivative) {
  for (std::size_t i = 0; i < call.lower.size(); ++i) {
    const double low = call.lower[i], high = call.upper[i];
    const double slope = static_cast<float>((1 - 1e-6) * std::min(derivative(low), derivative(high)));
    const double slack = 1e-36 + relative * std::max(std::abs(value(low)), std::abs(value(high))) +
                         1e-14 * slope * std::max(std::abs(low), std::abs(high));
    call.slope_below[i] = call.slope_above[i] = static_cast<float>(slope);
    call.offset_below[i] = value(low) - slope * low - slack;
    call.offset_above[i] = value(high) - slope * high + slack;
  }
  return true;
}

/// Loop over all values; in `expression` {x} is the input value.
inline std::string elementwise_source(const OpSource& call, std::string_view expression) {
  return fmt::format("  for (int i = 0; i < {}; ++i) {{\n    const float x = {}[i];\n    {}[i] = {};\n  }}\n",
                     call.output_size, call.inputs[0], call.output, expression);
}

}  // namespace redoubt::detail
