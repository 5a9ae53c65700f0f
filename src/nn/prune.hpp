#pragma once
#include "redoubt/core/view.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt::detail {

/// The graph with `share` of the hidden units of every dense layer removed whose only user is, through elementwise ops,
/// another dense layer: those that move the next layer least on `rows` (deviation of the activation times the length of
/// the outgoing weights), down to whole vectors of 16. The mean of a removed unit goes into the next bias. What is left
/// are smaller dense matrices. Error(refused) if no layer gets smaller.
Graph prune_units(const Graph& graph, double share, MatrixView<const float> rows);

}  // namespace redoubt::detail
