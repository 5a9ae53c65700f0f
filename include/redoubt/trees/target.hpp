#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "redoubt/data/schema.hpp"

namespace redoubt {

struct SparseDataset;

/// What trees are to learn, one entry per row of an encoded or binned matrix. A view: the data must outlive it.
struct TreeTarget {
  Task task = Task::regression;
  std::span<const std::int32_t> labels;  ///< classification: 0 .. classes-1; -1 leaves the row out
  std::size_t classes = 0;               ///< classification: at least 2
  std::span<const double> values;        ///< regression; NaN leaves the row out. Ranking: grades 0 .. 30
  std::span<const double> weights;       ///< finite, >= 0; 0 leaves the row out; empty: all 1
  /// Ranking: rows of the same number belong to one query, wherever they stand.
  std::span<const std::uint32_t> queries = {};

  /// Target and weights of `data`. Error(invalid_argument) if it has no target.
  static TreeTarget of(const Dataset& data);
  static TreeTarget of(const SparseDataset& data);  ///< with its queries
};

}  // namespace redoubt
