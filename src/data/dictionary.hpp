#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/data/column.hpp"

namespace redoubt::detail {

/// Whole-number targets with more distinct values are quantities, unless the task is given.
inline constexpr std::size_t max_class_numbers = 20;

/// Distinct texts numbered in order of first sight; open addressing. The hash is seeded per process, so that a file
/// cannot be crafted to collide; nothing that leaves this class depends on the seed.
class Dictionary {
 public:
  Dictionary();
  std::int32_t find_or_add(std::string_view text);
  std::size_t size() const noexcept { return names_.size(); }
  std::string_view operator[](std::int32_t code) const noexcept { return names_[static_cast<std::size_t>(code)]; }

 private:
  void grow();

  TextColumn names_;
  std::vector<std::uint64_t> hashes_;
  std::vector<std::int32_t> slots_;  // -1: free
  std::size_t mask_;
};

/// A categorical column from codes into `names`: unused names are dropped, the others sorted (as numbers if all of
/// them are numbers), codes renumbered. -1 stays missing.
Column categorical_column(ColumnSpec spec, std::vector<std::int32_t> codes, const Dictionary& names);

/// Whether strings are text rather than categories, by the rule that CsvOptions states.
bool is_text(std::size_t values, std::size_t bytes, std::size_t distinct, std::size_t max_categories) noexcept;

/// A text column as categories, if it is not text by that rule.
Column string_column(Column column, std::size_t max_categories);

/// A column of cells as it would become a target: at most 20 distinct whole numbers, or strings, are
/// classes (categorical, names as written); other numbers are values. `task` forces one.
Column target_column(ColumnSpec spec, const std::vector<double>& values, Task task);

}  // namespace redoubt::detail
