#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"

namespace redoubt {

struct LibsvmOptions {
  Task task = Task::none;  ///< none: at most 20 distinct whole numbers are classes, else regression
  /// Columns f0, f1, ... up to this index at least: give it so that train and test files agree. 0: the largest index
  /// seen.
  std::size_t features = 0;
  std::size_t max_cells = std::size_t{1} << 27;  ///< rows times columns; more is Error(unsupported), before allocation
  BadRows bad_rows = BadRows::quarantine;
};

/// Reads `label [qid:Q] index:value ... [# comment]` lines into dense columns f<index> (absent entries are 0) and the
/// target "label"; index 0 is column f0 if it occurs, else columns start at f1. Query ids become the column "qid" with
/// the role `ignore`. Indices must rise within a row. Bad rows as in CsvOptions.
Dataset read_libsvm(const std::string& path, const LibsvmOptions& options = {});
Dataset read_libsvm_text(std::string_view text, const LibsvmOptions& options = {}, const std::string& origin = "text");

}  // namespace redoubt
