#pragma once
// Interventional SHAP values of a forest against background rows.
#include <cstdint>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/trees/forest.hpp"

namespace redoubt::detail {

/// Per leaf, a row is a pattern: a bit per distinct feature of the leaf's path, on if the row passes all of the path's
/// tests of that feature. A row x and a background row b reach the leaf with the features that x provides exactly where
/// the patterns together are full, so all that matters of the background is how often each pattern occurs.
class ShapBackground {
 public:
  ShapBackground() = default;
  /// Error(unsupported) if more than `max_shap_depth` different columns lie on one path.
  ShapBackground(const Forest& forest, MatrixView<const float> rows, Arena* arena);

  /// Adds to dst (rows x (outputs * inputs), zeroed) for all trees.
  void add_values(const Forest& forest, MatrixView<const float> src, MatrixView<double> dst) const;

 private:
  static constexpr std::size_t word_bits = 64;

  struct Node {
    std::int32_t node;      // of the forest
    std::int32_t child[2];  // places of inner nodes, or ~place of a leaf, both in the tree
    std::uint32_t bit;      // of its feature in the patterns below
    bool fresh;             // no node above has its feature
  };
  struct Leaf {
    std::int32_t leaf;            // of the forest
    std::uint32_t first_feature;  // in features
    std::uint32_t features;
    std::uint32_t begin = 0, end = 0;  // background patterns
  };
  struct Tree {
    std::size_t words = 1;     // of a pattern
    std::vector<Node> nodes;   // pre-order
    std::vector<Leaf> leaves;  // of paths with at least one node
    std::vector<std::uint32_t> features;
    std::vector<std::uint64_t> patterns;  // words per pattern
    std::vector<std::uint32_t> bits;      // per pattern: bits that are on
    std::vector<double> shares;           // per pattern: of the background rows
  };

  Tree build(const Forest& forest, std::size_t tree) const;
  static void find_patterns(const Forest& forest, const Tree& tree, std::span<const float> row,
                            std::vector<std::uint64_t>& at_nodes, std::uint64_t* at_leaves);
  void shares_of(const Tree& tree, const Leaf& leaf, const std::uint64_t* pattern, std::vector<double>& shares) const;

  std::vector<Tree> trees_;
  std::size_t largest_ = 0;      // features on a path
  std::vector<double> weights_;  // [a * (largest + 1) + c]: (a - 1)! c! / (a + c)!
};

}  // namespace redoubt::detail
