#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// Sources that act on the same items together.
struct DenseBlock {
  std::vector<std::uint32_t> sources, items;  ///< ascending
  double density = 0;                         ///< sum of the weights of the edges inside / (sources + items)
  bool operator==(const DenseBlock&) const = default;
};

/// FRAUDAR (Hooi et al., KDD 2016): the block of a bipartite graph with the largest density, where an edge to an item
/// of degree d weighs 1 / log(d + 5), so that acting on popular items too, as camouflage, hides nobody. Takes away the
/// node whose edges weigh least, again and again, and keeps the densest of the graphs on the way: at least half as
/// dense as the densest of all. Edge i joins sources[i] and items[i]; equal edges count once. O(edges log nodes).
/// Error(shape_mismatch) naming both lengths. No edges: an empty block.
DenseBlock densest_block(std::span<const std::uint32_t> sources, std::span<const std::uint32_t> items);

struct DenseBlockOptions {
  std::string by;              ///< categorical column of the items; empty: the one with most categories
  bool by_label = true;        ///< look at every label by itself; no effect without labels
  std::size_t max_blocks = 5;  ///< of each label
  std::size_t shuffles = 10;   ///< graphs by chance that a block is compared with, at least 3
  double cut = 8;  ///< a block is reported if its density lies so many standard deviations above theirs, and ...
  double min_ratio = 1.3;  ///< ... so many times their mean
  std::uint64_t seed = 0;
};

/// Campaigns: many sources that speak about the same few items. Blocks of `densest_block` that are denser than those of
/// graphs with the same activity of every source and item, but items dealt at random. Friends with the same taste make
/// blocks, too: it warns, and the rows' other evidence decides. A row's score is 1 - density by chance / density.
struct DenseBlocks {
  static constexpr std::string_view id = "dense_blocks";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::sources;

  DenseBlockOptions options;

  void update(const Batch& batch);
  void merge(const DenseBlocks& other);
  /// Abstains without a categorical column.
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  Dataset data_;
};

}  // namespace redoubt
