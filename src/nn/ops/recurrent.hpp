#pragma once
// What lstm and gru share: views of one position, and boxes for their bounds.
#include <algorithm>
#include <cmath>

#include "redoubt/nn/op.hpp"

namespace redoubt::detail {

struct SequenceSizes {
  std::size_t positions, features, units;
};

inline SequenceSizes sequence_sizes(const OpContext& call) {
  return {call.shapes[0][0], call.shapes[0][1], static_cast<std::size_t>(call.attributes[0])};
}

/// One position of every row.
template <class T>
MatrixView<T> position(MatrixView<T> all, std::size_t t, std::size_t width) {
  return {all.data() + t * width, all.rows(), width, all.stride()};
}

struct Box {
  double low, high;
};

inline Box times(Box a, Box b) {
  const auto [low, high] = std::minmax({a.low * b.low, a.low * b.high, a.high * b.low, a.high * b.high});
  return {low, high};
}

/// Encloses a float function with relative error up to 4e-7 that is evaluated here in double precision.
inline Box widened(double low, double high) {
  return {low - 1e-6 * std::abs(low) - 1e-35, high + 1e-6 * std::abs(high) + 1e-35};
}
inline Box box_sigmoid(double low, double high) { return widened(1 / (1 + std::exp(-low)), 1 / (1 + std::exp(-high))); }
inline Box box_tanh(double low, double high) { return widened(std::tanh(low), std::tanh(high)); }

}  // namespace redoubt::detail
