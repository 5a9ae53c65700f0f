#pragma once
// Which rows are in which node of a tree that grows.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/grow_table.hpp"
#include "trees/histogram.hpp"
#include "trees/row_list.hpp"
#include "trees/split_search.hpp"
#include "trees/team.hpp"

namespace redoubt::detail {

/// Who works on a node: all threads together, or one of them, in a lane of its own, while others work on other nodes.
struct Crew {
  std::size_t threads, lane;
};

/// The rows of a tree and their gradient pairs, node by node in a run of their own. Two buffers: a split moves the rows
/// of a node from one to the same places of the other, stable, those that go left first.
class RowPartition {
 public:
  static constexpr std::size_t parallel_rows = 24 * 1024;  ///< fewer are moved by the calling thread

  RowPartition(const BinnedMatrix& bins, Team& team);

  /// The rows of the next tree, which stay the caller's; for so many lanes.
  void start(RowList rows, std::size_t lanes);
  /// Before the first split: room of the caller's for row numbers, a number for each row of the tree or more; empty:
  /// there is none.
  void use_room(std::span<std::uint32_t> first, std::span<std::uint32_t> second);
  RowList rows() const noexcept { return rows_; }
  bool all_rows() const noexcept { return rows_.size() == bins_.rows(); }
  /// Of the rows of the tree, to be filled in before the first split.
  std::uint32_t* pairs() noexcept { return pairs_[0].data(); }

  NodeRows root() const noexcept { return {all_rows() ? nullptr : rows_.list(), pairs_[0].data(), rows_.size()}; }
  NodeRows node(int side, std::size_t begin, std::size_t end) const noexcept {
    return {moved_[side] + begin, pairs_[side].data() + begin, end - begin};
  }
  /// Row numbers of a leaf after `finish`.
  std::span<const std::uint32_t> row_numbers(int side, std::size_t begin, std::size_t end) const noexcept {
    return {moved_[side] + begin, end - begin};
  }
  /// After the last split: the caller's rows are needed no longer. `root_is_leaf`: there was no split.
  void finish(bool root_is_leaf);

  /// The rows of `node`, which begin at `first` of buffer `side`, into the other one: `lefts` of them go left.
  /// Nodes may be split side by side in different lanes.
  void split(const NodeRows& node, int side, std::size_t first, const Split& split, std::size_t lefts,
             const Crew& crew);

 private:
  const std::uint8_t* codes_for(const Split& split, std::size_t lane, std::array<std::uint32_t, 8>& set);
  void forget_codes(std::uint32_t column, std::size_t lane);

  const BinnedMatrix& bins_;
  Team& team_;
  const kernels::detail::GrowTable& kernels_;
  RowList rows_;
  std::array<std::uint32_t*, 2> moved_{};  // in the caller's room or our own
  std::array<PageVector<std::uint32_t>, 2> room_, pairs_;
  std::vector<std::uint16_t> masks_;
  std::vector<PageVector<std::uint8_t>> listed_codes_;  // per lane, zero between splits
};

}  // namespace redoubt::detail
