#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/sparse.hpp"

namespace redoubt {

struct LibsvmOptions {
  Task task = Task::none;  ///< none: classes if at most 20 distinct whole numbers and no query ids, else regression
  /// Columns f0, f1, ... up to this index at least: give it so that train and test files agree. 0: the largest index
  /// seen.
  std::size_t features = 0;
  std::size_t max_cells = std::size_t{1} << 27;  ///< rows times columns; more is Error(unsupported), before allocation
  BadRows bad_rows = BadRows::quarantine;
  bool weights = false;  ///< labels may be written label:weight; they become the column "weight" (without one: 1)
};

/// Reads `label [qid:Q] index:value ... [# comment]` lines into dense columns f<index> (absent entries are 0) and the
/// target "label"; index 0 is column f0 if it occurs, else columns start at f1. Query ids become the column "qid" with
/// the role `ignore`. Indices must rise within a row. Bad rows as in CsvOptions.
Dataset read_libsvm(const std::string& path, const LibsvmOptions& options = {});
Dataset read_libsvm_text(std::string_view text, const LibsvmOptions& options = {}, const std::string& origin = "text");

struct SparseLibsvmOptions {
  Task task = Task::none;    ///< as in LibsvmOptions
  std::size_t features = 0;  ///< the largest index is at least this: give it so that train and test files agree
  /// A row with a larger index is bad. What learns from the rows takes some memory for every column, used or not.
  std::size_t max_index = std::size_t{1} << 22;
  BadRows bad_rows = BadRows::quarantine;
  bool weights = false;  ///< as in LibsvmOptions
};

/// The same lines as rows of a sparse matrix, which is never spread out: memory follows the entries of the file. Column
/// c holds index c, so column 0 is empty if indices count from 1, and train and test files agree. A value beyond the
/// range of float makes a row bad, and so does a missing query id if the first row has one, or one if it has none.
/// Error(parse_error) if most rows are bad or there is none.
SparseDataset read_libsvm_sparse(const std::string& path, const SparseLibsvmOptions& options = {});
SparseDataset read_libsvm_sparse_text(std::string_view text, const SparseLibsvmOptions& options = {},
                                      const std::string& origin = "text");

}  // namespace redoubt
