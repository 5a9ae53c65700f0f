#pragma once
// A tree as the SHAP kernels walk it.
#include <cstdint>
#include <vector>

#include "kernels/shap_table.hpp"
#include "redoubt/trees/forest.hpp"

namespace redoubt::detail {

/// Different columns on one path that SHAP values are computed for: a node's tables grow with them.
inline constexpr std::size_t max_shap_depth = 512;

/// Share of the left child's cover in both children's.
double left_share(const ForestArrays& a, std::int32_t node);

/// How node `node` sends x: as Forest does.
bool goes_left(const ForestArrays& a, std::int32_t node, float x);

/// Nodes and weights on (0, 1): exact for polynomials of degree below 2 * points.
struct QuadratureRule {
  std::vector<double> at, weight;
  explicit QuadratureRule(std::size_t points);
};

/// Score `output` of tree `tree`, with the tables of kernels::detail::ShapTree.
class ShapProgram {
 public:
  ShapProgram(const Forest& forest, std::size_t tree, std::size_t output);

  std::size_t output() const noexcept { return output_; }
  double expected() const noexcept { return expected_; }  ///< mean leaf value by cover
  bool empty() const noexcept { return nodes_.empty(); }  ///< the root is a leaf
  std::size_t count() const noexcept { return nodes_.size(); }
  std::size_t slots() const noexcept { return slots_; }
  std::size_t points() const noexcept { return points_; }
  /// Nodes that the kernels cannot test themselves: place in the program, node of the forest.
  struct Decided {
    std::uint32_t place;
    std::int32_t node;
  };
  const std::vector<Decided>& decided() const noexcept { return decided_; }
  kernels::detail::ShapTree view() const noexcept;
  std::size_t bytes() const noexcept;  ///< of the tables

 private:
  struct Edge {
    double z = 1;      ///< cover ratios of the feature multiplied along the path
    double ratio = 1;  ///< of this edge
    double value = 1;  ///< of the leaf, 1 if the child is a node
  };
  std::size_t walk(const Forest& forest, std::size_t tree);
  void fill();

  std::size_t output_ = 0, slots_ = 0, points_ = 1, passes_ = 1;
  double expected_ = 0;
  std::vector<kernels::detail::ShapNode> nodes_;
  std::vector<std::int32_t> order_;
  std::vector<Edge> edges_;  ///< two per node; gone after construction
  std::vector<double> numbers_, edge_values_, off_values_;
  std::vector<std::uint32_t> path_, path_begin_;
  std::vector<Decided> decided_;
};

}  // namespace redoubt::detail
