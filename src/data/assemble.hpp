#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/data/csv.hpp"

namespace redoubt::detail {

/// Rows that a reader set aside.
class Quarantine {
 public:
  Quarantine(std::string origin, BadRows policy) : origin_(std::move(origin)), policy_(policy) {}
  /// `field` is 1-based. With BadRows::error this throws Error(parse_error).
  void add(std::size_t line, std::size_t field, std::string reason);
  /// Error(parse_error) with the first reason if more rows are bad than the `kept` ones.
  void refuse_most(std::size_t kept) const;
  std::vector<QuarantinedRow> take() { return std::move(rows_); }
  std::size_t size() const noexcept { return rows_.size(); }

 private:
  std::string origin_;
  BadRows policy_;
  std::vector<QuarantinedRow> rows_;
};

/// "FILE:LINE: what" as Error(parse_error).
[[noreturn]] void fail_at_line(std::string_view origin, std::size_t line, std::string_view what);

/// Gives the named column (if `name` is not empty) the role; Error(not_found) names the nearest column,
/// Error(invalid_argument) a column that has another role already.
void set_role(std::vector<ColumnSpec>& specs, std::string_view name, ColumnRole role, std::string_view origin);

/// Columns `prefix`0, `prefix`1, ... of a row-major matrix.
template <class T>
std::vector<Column> matrix_columns(MatrixView<const T> x, std::string_view prefix);

/// The next line of `text` from `position` on, without its end (LF or CRLF); false at the end of the text.
bool next_line(std::string_view text, std::size_t& position, std::string_view& line);

}  // namespace redoubt::detail
