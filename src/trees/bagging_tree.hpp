#pragma once
// Grows bagged trees, one after the other, on one thread.
#include <cstddef>
#include <cstdint>
#include <vector>

#include "redoubt/core/random.hpp"
#include "redoubt/trees/binning.hpp"
#include "trees/bagging.hpp"
#include "trees/bagging_split.hpp"
#include "trees/grown_tree.hpp"

namespace redoubt::detail {

/// The bins by columns, a byte per cell, also of a sparse matrix. Shared by all trees.
class ColumnBytes {
 public:
  /// What is stored so already is not copied.
  explicit ColumnBytes(const BinnedMatrix& bins);
  const std::uint8_t* operator[](std::size_t c) const { return columns_[c]; }

 private:
  std::vector<const std::uint8_t*> columns_;
  std::vector<std::vector<std::uint8_t>> own_;
};

template <class Sums>
class BaggedTreeGrower {
 public:
  using Row = typename Sums::Row;
  /// `tried`: columns per node. `mean`: added to the values of leaves.
  BaggedTreeGrower(const BinnedMatrix& bins, const ColumnBytes& bytes, const BaggingOptions& options, std::size_t width,
                   std::size_t tried, double mean);

  /// `ids` are distinct; rows[i] belongs to ids[i]. Both are permuted.
  GrownTree grow(std::vector<std::uint32_t>& ids, std::vector<Row>& rows, Random& random);

 private:
  struct Job {
    std::size_t begin, end;
    std::int32_t parent;
    bool is_left, copied;
    int depth;
  };
  struct Open {
    Job job;
    BaggedSplit split;
    double gain, weight;
  };

  const std::uint8_t* column_bytes(std::uint32_t column, bool copied) const {
    return copied ? copy_.data() + column * copy_stride_ : bytes_[column];
  }
  Open open(Job job, Random& random);
  void copy_node(Job& job);
  std::size_t partition(const Job& job, const BaggedSplit& split);
  void add_leaf(GrownTree& tree, const Job& job);
  static void attach(GrownTree& tree, const Job& job, std::int32_t child);

  const BinnedMatrix& bins_;
  const ColumnBytes& bytes_;
  const BaggingOptions& options_;
  std::size_t tried_;
  double mean_;
  std::size_t width_;
  BaggedSearch<Sums> search_;
  std::vector<std::uint32_t> columns_;
  std::vector<std::uint32_t> ids_, right_ids_;
  std::vector<Row> rows_, right_rows_;
  std::size_t copied_rows_ = 0, copy_stride_ = 0;
  std::vector<std::uint8_t> copy_;
};

}  // namespace redoubt::detail
