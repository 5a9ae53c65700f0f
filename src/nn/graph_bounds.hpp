#pragma once
#include <memory>
#include <span>
#include <vector>

#include "nn/graph_internal.hpp"

namespace redoubt {

/// Bounds of every tensor up to the scores.
struct Graph::Box {
  std::span<const float> input_lower, input_upper;
  std::vector<float> lower, upper;
  std::shared_ptr<LinearPass> linear;  // null: interval bounds only

  const float* low(const Graph& graph, std::uint32_t t) const {
    return t == 0 ? input_lower.data() : lower.data() + graph.value_at_[t];
  }
  const float* high(const Graph& graph, std::uint32_t t) const {
    return t == 0 ? input_upper.data() : upper.data() + graph.value_at_[t];
  }
  /// How far the compiled values of node `i` may lie from those of a sum in any order, beyond its rounding, per
  /// channel: Winograd's algorithm rounds sums of more values. Empty: nothing.
  std::vector<double> winograd_errors(const Graph& graph, std::size_t i) const;
};

}  // namespace redoubt
