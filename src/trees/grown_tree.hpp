#pragma once
// What the tree learners on bins have in common: a set of bins, a tree over them, its translation into a forest.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/target.hpp"

namespace redoubt::detail {

/// The bins of one column that go left.
class BinSet {
 public:
  void insert(std::uint32_t bin) noexcept { words_[bin / 64] |= std::uint64_t{1} << (bin % 64); }
  bool contains(std::uint32_t bin) const noexcept { return words_[bin / 64] >> (bin % 64) & 1; }
  /// Bins 0 .. last.
  static BinSet up_to(std::uint32_t last) noexcept {
    BinSet set;
    for (std::uint32_t w = 0; w <= last / 64; ++w) set.words_[w] = ~std::uint64_t{0};
    set.words_[last / 64] >>= 63 - last % 64;
    return set;
  }
  const std::array<std::uint64_t, 4>& words() const noexcept { return words_; }

 private:
  std::array<std::uint64_t, 4> words_{};
};

struct GrownNode {
  std::uint32_t column = 0;
  std::uint32_t last_bin = 0;        ///< numeric: the last bin that goes left
  BinSet left_bins;                  ///< with the bin of missing values, if it goes left
  std::int32_t left = 0, right = 0;  ///< as in ForestArrays, counted within the tree
  float cover = 0, gain = 0;
};

/// One tree in bins. Nodes are in the order of their splits, so children come after their parent.
struct GrownTree {
  std::int32_t root = ~0;
  std::vector<GrownNode> nodes;
  std::vector<float> leaf_values;
  std::vector<float> leaf_cover;

  std::uint32_t leaf_of(const std::uint8_t* codes) const noexcept {
    std::int32_t i = root;
    while (i >= 0) {
      const GrownNode& node = nodes[static_cast<std::size_t>(i)];
      i = node.left_bins.contains(codes[node.column]) ? node.left : node.right;
    }
    return static_cast<std::uint32_t>(~i);
  }
};

/// Leaf of one row of a matrix, dense or sparse.
inline std::uint32_t leaf_of(const GrownTree& tree, const BinnedMatrix& bins, std::size_t row) noexcept {
  std::int32_t i = tree.root;
  while (i >= 0) {
    const GrownNode& node = tree.nodes[static_cast<std::size_t>(i)];
    i = node.left_bins.contains(bins.code(row, node.column)) ? node.left : node.right;
  }
  return static_cast<std::uint32_t>(~i);
}

/// Adds a tree to a forest: bins become thresholds and sets of category codes.
void append_tree(ForestArrays& forest, const GrownTree& tree, const BinnedMatrix& bins, std::uint32_t output,
                 std::uint32_t leaf_width);

/// Numeric split after bin `last`: puts the bins that go left into `set`.
inline BinSet numeric_left(const ColumnBins& column, std::uint32_t last, bool missing_left) noexcept {
  BinSet set = BinSet::up_to(last);
  if (missing_left) set.insert(column.missing());
  return set;
}

/// Checks of a target against the number of rows. Throws Error(invalid_argument, shape_mismatch).
void check_target(const TreeTarget& y, std::size_t rows);
/// Whether all have a target and a weight above 0.
bool all_usable(const TreeTarget& y, std::size_t count);
/// Of `rows` (empty: all) those that have a target and a weight above 0, ascending. Error(invalid_argument) if none
/// has.
std::vector<std::uint32_t> usable_rows(const TreeTarget& y, std::size_t count, std::span<const std::uint32_t> rows);

/// Error(invalid_argument) "<estimator>: <option> is <value>, must be <rule>" unless `ok`.
void require_option(bool ok, const char* estimator, const char* option, double value, const char* rule);

/// The artifact around a forest that `fit` has learned from `data`.
Model make_tree_model(const char* algorithm, std::string options, std::uint64_t seed, const Dataset& data, Task task,
                      Encoder encoder, Shared<const Forest> forest);

}  // namespace redoubt::detail
