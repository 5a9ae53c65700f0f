#pragma once
// The search for the split of a node of a bagged tree, column by column.
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/bagging.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/trees/binning.hpp"
#include "trees/bagging_sums.hpp"
#include "trees/grown_tree.hpp"

namespace redoubt::detail {

struct BaggedSplit {
  double score = no_split;
  std::uint32_t column = 0, last_bin = 0;
  bool numeric = true, missing_left = false;
  BinSet left_bins;  ///< if not numeric
};

/// One object per thread. `start_node` first, then `try_column` for some columns.
template <class Sums>
class BaggedSearch {
 public:
  using Row = typename Sums::Row;
  /// `width`: classes. `random_cuts`: one random cut per column, not the best.
  BaggedSearch(const BinnedMatrix& bins, std::size_t width, std::size_t min_leaf_rows, bool random_cuts)
      : bins_(bins), min_rows_(min_leaf_rows), random_cuts_(random_cuts), sums_(width) {}

  /// Row ids[i] of the columns to come counts as rows[i]; both stay as they are until the next node. Returns whether
  /// all rows are of one kind.
  bool start_node(const std::uint32_t* ids, const Row* rows, std::size_t count);
  /// Makes a split by the column the best if it is better. bytes[ids[i]] is the row's bin. Returns whether the rows of
  /// the node differ in the column.
  bool try_column(std::uint32_t column, const std::uint8_t* bytes, Random& random, BaggedSplit& best);
  /// Of the present node.
  const Sums& sums() const { return sums_; }

 private:
  template <bool Counted>
  void fill_bins(const std::uint8_t* bytes, std::uint32_t bins);
  bool try_by_kernel(std::uint32_t column, const std::uint8_t* bytes, BaggedSplit& best);
  void try_numeric(std::uint32_t column, BaggedSplit& best);
  void try_categorical(std::uint32_t column, Random& random, BaggedSplit& best);
  bool try_random_cut(std::uint32_t column, const std::uint8_t* bytes, Random& random, BaggedSplit& best);
  bool consider(BaggedSplit& best) const;
  void move_left(std::uint32_t bin) {
    sums_.move_left(bin);
    left_rows_ += counts_[bin];
  }
  void move_back(std::uint32_t bin) {
    sums_.move_back(bin);
    left_rows_ -= counts_[bin];
  }

  const BinnedMatrix& bins_;
  const kernels::detail::BaggingTable& kernels_ = kernels::detail::bagging_table();
  std::size_t min_rows_;
  bool random_cuts_;
  Sums sums_;
  // The node.
  const std::uint32_t* ids_ = nullptr;
  const Row* rows_ = nullptr;
  std::size_t count_ = 0;
  kernels::detail::TwoClassRows few_{};                  ///< if they are few and light; else its count is 0
  std::vector<kernels::detail::TwoClassPlanes> planes_;  ///< of all, if cuts are random and the rows are light
  bool planned_ = false;
  // The column: its bins that occur in the node, ascending, and rows in each if min_leaf_rows needs them.
  std::array<std::uint32_t, 256> present_{};
  std::size_t present_count_ = 0;
  std::array<std::uint32_t, 256> counts_{};
  std::size_t left_rows_ = 0;
  std::vector<std::uint8_t> cells_;
};

}  // namespace redoubt::detail
