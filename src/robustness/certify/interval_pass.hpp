#pragma once
// Bounds of the scores of many rows, and their gradients: for training, so without the widening that makes bounds hold
// for rounded floats (Graph::bounds has it).
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt::detail {

class CrownPass;

/// Not thread-safe; parallel inside. The graph must outlive it. Allocates in the constructor only.
class IntervalPass {
 public:
  /// Error(unsupported) naming the node whose op is neither monotone nor affine with one weight.
  IntervalPass(const Graph& graph, std::size_t rows);

  /// Bounds of all tensors for boxes of up to `rows` rows. `labels`: one per row.
  /// worst(r, k) is the largest that score k - score label can be in the box, 0 for the label itself.
  void forward(MatrixView<const float> lower, MatrixView<const float> upper, std::span<const std::size_t> labels,
               Arena* arena);
  MatrixView<float> worst(std::size_t rows) { return {worst_.data(), rows, scores_}; }
  /// To be filled with the gradient of the loss by `worst`; entries of the labels do not count.
  MatrixView<float> seeds(std::size_t rows) { return {seeds_.data(), rows, scores_}; }
  /// Adds the gradient by the parameters; after `forward` of the same boxes. With `crown`, also that of its margins,
  /// of which it holds the seeds.
  void backward(MatrixView<const float> lower, MatrixView<const float> upper, std::span<const std::size_t> labels,
                std::span<float> gradient, Arena* arena, CrownPass* crown = nullptr);

 private:
  friend class CrownPass;
  struct Tensors {
    std::vector<float> lower, upper, lower_gradient, upper_gradient;
  };
  struct Node {
    const Op* op;
    std::vector<OpShape> shapes;
    std::size_t first_parameter, parameters;  // of the graph's table
    bool weighted;
  };
  MatrixView<const float> low(std::uint32_t t, MatrixView<const float> input) const;
  MatrixView<const float> high(std::uint32_t t, MatrixView<const float> input) const;
  std::vector<MatrixView<const float>> views(const Node& node, const float* values) const;
  /// What every call of the op of node `i` is told.
  void describe(OpContext& call, std::size_t i, std::span<const MatrixView<const float>> parameters,
                std::span<float> scratch, Arena* arena) const;
  void forward_node(std::size_t i, MatrixView<const float> lower, MatrixView<const float> upper, Arena* arena);
  void backward_node(std::size_t i, MatrixView<const float> lower, MatrixView<const float> upper,
                     std::span<float> gradient, Arena* arena);
  void margins(MatrixView<const float> lower, MatrixView<const float> upper, std::span<const std::size_t> labels,
               Arena* arena);
  void margin_gradients(MatrixView<const float> lower, MatrixView<const float> upper,
                        std::span<const std::size_t> labels, std::span<float> gradient, Arena* arena);

  const Graph& graph_;
  std::size_t rows_, scores_, last_ = 0;  // nodes before `last_` run; a folded last layer does not
  bool folded_ = false;
  std::vector<Node> nodes_;
  std::vector<std::size_t> sizes_;  // per tensor
  std::vector<Tensors> tensors_;
  std::vector<float> magnitudes_;                                 // of the parameters: |weights|, other ones 0
  std::vector<float> centre_, radius_, out_centre_, out_radius_;  // of one node
  std::vector<float> centre_gradient_, radius_gradient_, weight_gradient_, scratch_;
  std::vector<float> worst_, seeds_;
};

}  // namespace redoubt::detail
