#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"

namespace redoubt {

/// Rows of a sparse matrix, one after the other: row r has values[i] in column columns[i] for
/// row_offsets[r] <= i < row_offsets[r + 1], each column at most once, in any order. What is absent is 0.
struct CsrView {
  std::span<const std::uint64_t> row_offsets;  ///< rows + 1 of them, from 0 to values.size(), ascending
  std::span<const std::uint32_t> columns;
  std::span<const float> values;  ///< NaN: missing
  std::size_t cols = 0;

  std::size_t rows() const noexcept { return row_offsets.empty() ? 0 : row_offsets.size() - 1; }
};

/// Numeric rows, most of whose cells are 0, with what is to be learned from them. Filled by `read_libsvm_sparse`;
/// `TreeTarget::of` takes the target, for `GradientBoosting::fit_sparse` with `view()`.
struct SparseDataset {
  std::vector<std::uint64_t> row_offsets = {0};
  std::vector<std::uint32_t> columns;
  std::vector<float> values;
  std::size_t cols = 0;

  Task task = Task::none;
  std::vector<std::int32_t> labels;    ///< classification: indices into `classes`
  std::vector<std::string> classes;    ///< sorted: as numbers if all of them are
  std::vector<double> targets;         ///< regression and ranking
  std::vector<double> weights;         ///< empty: all 1
  std::vector<std::uint32_t> queries;  ///< ranking: numbered in order of first sight; empty: no query ids
  std::vector<RowId> row_ids;
  std::vector<QuarantinedRow> quarantine;

  std::size_t rows() const noexcept { return row_offsets.size() - 1; }
  CsrView view() const noexcept { return {row_offsets, columns, values, cols}; }
};

}  // namespace redoubt
