#pragma once
// What the objectives, metrics and samplers of boosting see of the training.
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/trees/gradient_boosting.hpp"
#include "trees/row_list.hpp"
#include "trees/team.hpp"

namespace redoubt::detail {

constexpr std::size_t boosting_block = 4096;  // rows of one unit of work; its floats stay in L1

/// Rows of each query, in the order of the rows.
struct QueryGroups {
  std::vector<std::uint32_t> rows;
  std::vector<std::size_t> offsets{0};
  std::size_t count() const noexcept { return offsets.size() - 1; }
  std::span<const std::uint32_t> operator[](std::size_t q) const noexcept {
    return std::span(rows).subspan(offsets[q], offsets[q + 1] - offsets[q]);
  }
};
/// In the order of their first row. `rows` ascending.
QueryGroups group_queries(std::span<const std::uint32_t> queries, RowList rows);

struct BoostingData {
  const TreeTarget& y;
  std::size_t rows = 0;  ///< of the matrix
  RowList train;
  std::vector<std::size_t> blocks;  ///< first rows of the blocks that hold training rows
  std::vector<float> weights;       ///< of rows times class weights; empty: all 1
  bool keep_hessian = true;         ///< no sampler changes the hessians that an objective wrote
  Team& team;

  BoostingData(const GradientBoostingOptions& options, const TreeTarget& y, std::size_t rows, RowList train,
               Team& team);
  double weight(std::uint32_t r) const noexcept { return weights.empty() ? 1.0 : weights[r]; }

  /// Sums over the training rows: add(row, sums) adds to `count` numbers. In parallel, in an order that does not depend
  /// on the threads.
  template <class F>
  std::vector<double> totals(std::size_t count, const F& add) const {
    constexpr std::size_t step = 64 * 1024, lanes = 4;  // lanes: no sum waits for the one before
    std::vector<double> sums((train.size() + step - 1) / step * count), all(count);
    team.parallel_for(train.size(), step, [&](std::size_t begin, std::size_t end) {
      std::vector<double> mine(lanes * count);
      for (std::size_t i = begin; i < end; ++i) add(train[i], mine.data() + i % lanes * count);
      for (std::size_t k = 0; k < mine.size(); ++k) sums[begin / step * count + k % count] += mine[k];
    });
    for (std::size_t k = 0; k < sums.size(); ++k) all[k % count] += sums[k];
    return all;
  }
  /// Of the weight of the training rows, per class.
  std::vector<double> class_shares() const;
  /// f(begin, end) for each block with training rows, in parallel.
  template <class F>
  void for_blocks(const F& f) const {
    team.parallel_for(blocks.size(), 1, [&](std::size_t first, std::size_t last) {
      for (std::size_t b = first; b < last; ++b) f(blocks[b], std::min(blocks[b] + boosting_block, rows));
    });
  }
};

}  // namespace redoubt::detail
