#include "data/assemble.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "data/names.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt::detail {

void Quarantine::add(std::size_t line, std::size_t field, std::string reason) {
  if (policy_ == BadRows::error) fail_at_line(origin_, line, fmt::format("field {}: {}", field, reason));
  rows_.push_back({origin_, line, field, std::move(reason)});
}

void Quarantine::refuse_most(std::size_t kept) const {
  if (rows_.size() <= kept) return;
  const QuarantinedRow& row = rows_.front();
  fail_at_line(
      origin_, row.line,
      fmt::format("field {}: {} ({} of {} rows are bad: is this file of that kind, and are the options right?)",
                  row.column, row.reason, rows_.size(), rows_.size() + kept));
}

void fail_at_line(std::string_view origin, std::size_t line, std::string_view what) {
  fail(errc::parse_error, fmt::format("{}:{}: {}", origin, line, what));
}

void set_role(std::vector<ColumnSpec>& specs, std::string_view name, ColumnRole role, std::string_view origin) {
  if (name.empty()) return;
  std::vector<std::string_view> known;
  for (ColumnSpec& spec : specs) {
    known.push_back(spec.name);
    if (spec.name != name) continue;
    if (spec.role != ColumnRole::feature && spec.role != role) {
      fail(errc::invalid_argument,
           fmt::format("column \"{}\" cannot be both {} and {}", name, to_string(spec.role), to_string(role)));
    }
    spec.role = role;
    return;
  }
  fail(errc::not_found, fmt::format("{} has no column \"{}\"; nearest: {}", origin, name, nearest_names(name, known)));
}

template <class T>
std::vector<Column> matrix_columns(MatrixView<const T> x, std::string_view prefix) {
  std::vector<Column> columns(x.cols());
  for (std::size_t c = 0; c < x.cols(); ++c) {
    columns[c].spec.name = fmt::format("{}{}", prefix, c);
    columns[c].numbers.resize(x.rows());
  }
  // Blocks of rows that stay in the cache while the columns are filled from them.
  constexpr std::size_t rows_per_block = 64;
  for (std::size_t begin = 0; begin < x.rows(); begin += rows_per_block) {
    const std::size_t end = std::min(x.rows(), begin + rows_per_block);
    for (std::size_t c = 0; c < x.cols(); ++c) {
      double* out = columns[c].numbers.data();
      for (std::size_t r = begin; r < end; ++r) out[r] = static_cast<double>(x(r, c));
    }
  }
  return columns;
}
template std::vector<Column> matrix_columns(MatrixView<const double>, std::string_view);
template std::vector<Column> matrix_columns(MatrixView<const std::uint8_t>, std::string_view);

bool next_line(std::string_view text, std::size_t& position, std::string_view& line) {
  if (position >= text.size()) return false;
  const std::size_t end = std::min(text.find('\n', position), text.size());
  line = text.substr(position, end - position);
  if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
  position = end + 1;
  return true;
}

}  // namespace redoubt::detail
