#pragma once
#include <cstddef>
#include <initializer_list>
#include <string>
#include <vector>

#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/layer.hpp"

namespace redoubt {

/// Layers one after the other, whose input sizes follow from the first:
/// `Sequential{layer::Dense{128}, layer::ReLU{}, layer::Dense{10}}`. Ends in the same Graph as everything else.
struct Sequential {
  std::vector<Layer> layers;

  Sequential() = default;
  Sequential(std::initializer_list<Layer> list) : layers(list) {}

  /// The graph for rows of shape `input`; its parameters are zero until `Graph::initialise`. An `Output` layer gets
  /// `outputs` units; with `outputs` > 0 the last layer must have that many values. `softmax` adds one at the end.
  /// Error(shape_mismatch) or Error(invalid_argument) naming the layer, its number and the shapes.
  Graph graph(OpShape input, std::size_t outputs = 0, bool softmax = false) const;
};

}  // namespace redoubt
