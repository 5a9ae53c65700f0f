#pragma once
#include <array>
#include <span>
#include <string_view>

#include "redoubt/core/parallel.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt {

namespace detail {
/// One thread: products inside a block of rows, which is itself a task, stay on their thread.
Arena& serial_arena();

/// At prediction the output holds the values of the input, under another name or shape.
inline bool keeps_values(std::string_view op) { return op == "reshape" || op == "dropout"; }

/// Fills in the fallbacks; Error(invalid_argument) naming `what` and the attribute that is out of its range.
void complete_attributes(const Op& op, std::vector<double>& values, std::string_view what);
}  // namespace detail

/// The views of one node that every op call needs, without allocation.
struct Graph::Call {
  std::array<MatrixView<const float>, max_op_inputs> inputs;
  std::array<MatrixView<const float>, max_op_parameters> parameters;

  /// Parameters of `node` as views; rank 1 becomes one row.
  template <class T, class Views>
  static std::size_t parameter_views(const Graph& graph, std::size_t node, T* values, Views& views) {
    const std::size_t first = graph.first_parameter_[node], count = graph.first_parameter_[node + 1] - first;
    for (std::size_t p = 0; p < count; ++p) {
      const GraphParameter& entry = graph.table_[first + p];
      const bool matrix = entry.shape.size() == 2;
      views[p] = {values + entry.offset, matrix ? entry.shape[0] : 1, entry.shape.back()};
    }
    return count;
  }

  /// Fills what a pass shares; `at` gives the view of a tensor.
  template <class At>
  void fill(const Graph& graph, std::size_t node, OpContext& context, At at) {
    const auto& sources = graph.nodes_[node].inputs;
    for (std::size_t i = 0; i < sources.size(); ++i) inputs[i] = at(sources[i]);
    const std::size_t count = parameter_views(graph, node, graph.parameters_.data(), parameters);
    context.shapes = graph.input_shapes_[node];
    context.attributes = graph.nodes_[node].attributes;
    context.parameters = std::span<const MatrixView<const float>>(parameters.data(), count);
    context.node = static_cast<std::uint32_t>(node);
  }
  std::span<const MatrixView<const float>> used(const Graph& graph, std::size_t node) const {
    return {inputs.data(), graph.nodes_[node].inputs.size()};
  }
};

}  // namespace redoubt
