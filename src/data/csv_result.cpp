#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "data/convert.hpp"
#include "data/csv_reader.hpp"
#include "data/number.hpp"
#include "redoubt/core/error.hpp"

// Which rows are bad and why, and what becomes of the good ones: one dataset, or piece after piece.

namespace redoubt::detail {
namespace {

constexpr std::size_t most_listed = 100;  // bad rows of a stream

std::string place(const QuarantinedRow& row) {
  return fmt::format("{}:{}: field {}: {}", row.file, row.line, row.column, row.reason);
}

void refuse_most(const QuarantinedRow& first, std::uint64_t bad, std::uint64_t kept) {
  if (bad <= kept) return;
  fail(errc::parse_error, fmt::format("{} ({} of {} rows are bad: are delimiter, quoting and types right?)",
                                      place(first), bad, bad + kept));
}

Column build(Builder& builder, const std::vector<std::size_t>* rows) {
  const bool to_time = builder.kind == Kind::number && builder.spec.type == ColumnType::timestamp;
  Column column;
  column.spec = std::move(builder.spec);
  switch (builder.kind) {
    case Kind::skipped:
    case Kind::number:
      column.spec.type = ColumnType::numeric;
      column.numbers = std::move(builder.numbers);
      break;
    case Kind::time:
      column.spec.type = ColumnType::timestamp;
      column.times = std::move(builder.times);
      break;
    case Kind::dictionary:
      column.spec.type = ColumnType::categorical;
      column.codes = std::move(builder.codes);
      break;
    case Kind::text:
      column.spec.type = ColumnType::text;
      column.texts = std::move(builder.texts);
      break;
  }
  if (rows) column = column.take(*rows);
  if (builder.kind == Kind::dictionary) {
    // After the cut, so that names which only bad rows had are gone.
    return categorical_column(std::move(column.spec), std::move(column.codes), builder.dictionary);
  }
  if (to_time) return to_timestamp(column);
  return column;
}

std::vector<std::size_t> kept_rows(const std::vector<bool>& dropped) {
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < dropped.size(); ++row) {
    if (!dropped[row]) rows.push_back(row);
  }
  return rows;
}

}  // namespace

std::uint64_t CsvReader::line_of(std::size_t row) const {
  const auto after = std::upper_bound(line_offsets_.begin(), line_offsets_.end(), row,
                                      [](std::size_t r, const auto& entry) { return r < entry.first; });
  return std::prev(after)->second + row;
}

std::string CsvReader::describe(const FaultyRow& row) const {
  switch (row.fault) {
    case RowFault::wrong_count:
      return fmt::format("{} field{}, expected {}", row.found, row.found == 1 ? "" : "s", columns_.size());
    case RowFault::text_after_quote: return "text after a closing quote";
    case RowFault::open_quote: return "a quote that never closes";
  }
  return {};
}

std::string CsvReader::describe(const Builder& column, CellFault fault) const {
  switch (fault) {
    case CellFault::number: return fmt::format("\"{}\" is numeric, but the cell is no finite number", column.spec.name);
    case CellFault::time:
      return fmt::format("\"{}\" is a timestamp, but the cell is no ISO 8601 time", column.spec.name);
    case CellFault::encoding: return fmt::format("\"{}\" holds NUL or invalid UTF-8", column.spec.name);
    case CellFault::weight: return fmt::format("weight \"{}\" is missing or negative", column.spec.name);
    case CellFault::label: return fmt::format("target \"{}\" is no number, unlike the others", column.spec.name);
  }
  return {};
}

std::vector<QuarantinedRow> CsvReader::bad_rows_of(std::vector<bool>& dropped, std::size_t& kept) {
  for (Builder& column : columns_) {
    if (column.spec.role != ColumnRole::weight) continue;
    for (std::size_t row = 0; row < row_ids_.size(); ++row) {
      if (!(column.numbers[row] >= 0)) column.bad.push_back({row, CellFault::weight});
    }
  }
  std::vector<QuarantinedRow> quarantine;
  dropped.assign(row_ids_.size(), false);
  kept = row_ids_.size();
  for (const FaultyRow& row : faulty_) {
    quarantine.push_back({origin_, static_cast<std::size_t>(row.line), row.field, describe(row)});
  }
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    for (const BadCell& cell : columns_[c].bad) {
      if (dropped[cell.row]) continue;
      dropped[cell.row] = true;
      --kept;
      quarantine.push_back(
          {origin_, static_cast<std::size_t>(line_of(cell.row)), c + 1, describe(columns_[c], cell.fault)});
    }
  }
  std::stable_sort(quarantine.begin(), quarantine.end(),
                   [](const QuarantinedRow& a, const QuarantinedRow& b) { return a.line < b.line; });
  return quarantine;
}

Dataset CsvReader::finish() {
  std::vector<bool> dropped;
  std::size_t kept = 0;
  std::vector<QuarantinedRow> quarantine = bad_rows_of(dropped, kept);
  if (quarantine.empty() && kept == 0) fail_at(header_lines_, "there is a header but no row");
  if (!quarantine.empty()) {
    if (options_.bad_rows == BadRows::error) fail(errc::parse_error, place(quarantine.front()));
    refuse_most(quarantine.front(), quarantine.size(), kept);
  }
  std::vector<std::size_t> rows;
  const bool cut = kept < row_ids_.size();
  if (cut) {
    rows = kept_rows(dropped);
    std::vector<RowId> ids;
    for (const std::size_t row : rows) ids.push_back(row_ids_[row]);
    row_ids_ = std::move(ids);
  }
  std::vector<Column> columns;
  for (Builder& builder : columns_) columns.push_back(build(builder, cut ? &rows : nullptr));
  return Dataset(std::move(columns), std::move(row_ids_)).with_quarantine(std::move(quarantine));
}

// ---- piece by piece ----

void CsvReader::begin(const Schema& schema, const Schema& features, bool number_classes) {
  longest_row_ = longest_streamed_row;
  has_schema_ = true;
  open();
  assign_roles();
  for (Builder& column : columns_) {
    if (schema.find(column.spec.name) != Schema::npos) continue;
    column.forced = true;
    column.kind = Kind::skipped;
  }
  infer_kinds();
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    Builder& column = columns_[c];
    const bool wanted = features.find(column.spec.name) != Schema::npos;
    if (wanted) wanted_.push_back(c);
    if (column.spec.role == ColumnRole::target) target_ = c;
    if (column.kind != Kind::number || column.spec.type != ColumnType::timestamp) continue;
    if (column.mean_bytes == 0) {  // nothing in the first rows
      column.kind = Kind::time;
    } else if (wanted) {
      fail(errc::unsupported, fmt::format("{}: \"{}\" holds times as numbers, whose unit only the whole column tells; "
                                          "only ISO 8601 times can be streamed",
                                          origin_, column.spec.name));
    }
  }
  const ColumnSpec& target = schema[schema.find(ColumnRole::target)];
  for (std::size_t k = 0; k < target.categories.size(); ++k)
    classes_.emplace(target.categories[k], static_cast<float>(k));
  number_classes_ = number_classes;
  restart();
}

void CsvReader::leave_out(std::vector<RowId> rows) {
  left_out_ = std::move(rows);
  std::sort(left_out_.begin(), left_out_.end());
}

void CsvReader::restart() {
  to_body();
  at_ = 0;
  good_rows_ = bad_rows_ = 0;
  first_bad_.clear();
}

CsvPiece CsvReader::next(std::size_t most) {
  for (;;) {
    const std::string_view text = blocks_.view().substr(at_);
    const std::size_t used = text.empty() ? 0 : tokenizer_->scan(text, blocks_.last(), columns_.size(), rows_, most);
    if (used == 0) {
      if (blocks_.last()) break;
      if (at_ > 0) {
        blocks_.consume(at_);
        at_ = 0;
      } else {
        enlarge();
      }
      continue;
    }
    for (Builder& column : columns_) column.reset(column.kind);
    row_ids_.clear();
    line_offsets_.clear();
    faulty_.clear();
    for (std::size_t c = 0; c < columns_.size(); ++c) append(columns_[c], text, rows_, c, 0);
    add_rows(rows_, 0);
    at_ += used;
    CsvPiece found = piece();
    if (found.features.rows() > 0) return found;
  }
  if (!first_bad_.empty()) refuse_most(first_bad_.front(), bad_rows_, good_rows_);
  return {};
}

CsvPiece CsvReader::piece() {
  if (Builder& target = columns_[target_]; number_classes_) {
    for (std::size_t row = 0; row < row_ids_.size(); ++row) {
      if (target.codes[row] < 0) continue;
      const std::string_view text = target.dictionary[target.codes[row]];
      double number = 0;
      if (!parse_number(text.data(), text.data() + text.size(), number)) target.bad.push_back({row, CellFault::label});
    }
  }
  std::vector<bool> dropped;
  std::size_t kept = 0;
  for (QuarantinedRow& row : bad_rows_of(dropped, kept)) {
    if (options_.bad_rows == BadRows::error) fail(errc::parse_error, place(row));
    ++bad_rows_;
    if (first_bad_.size() < most_listed) first_bad_.push_back(std::move(row));
  }
  good_rows_ += kept;
  for (std::size_t row = 0; !left_out_.empty() && row < dropped.size(); ++row) {
    if (dropped[row] || !std::binary_search(left_out_.begin(), left_out_.end(), row_ids_[row])) continue;
    dropped[row] = true;
    --kept;
  }
  if (kept == 0) return {};
  CsvPiece piece{.features = {}, .targets = target_values(dropped)};
  const bool cut = kept < row_ids_.size();
  const std::vector<std::size_t> rows = kept_rows(dropped);
  std::vector<RowId> ids;
  for (const std::size_t row : rows) ids.push_back(row_ids_[row]);
  std::vector<Column> columns;
  for (const std::size_t c : wanted_) {
    const ColumnSpec spec = columns_[c].spec;
    columns.push_back(build(columns_[c], cut ? &rows : nullptr));
    columns_[c].spec = spec;
  }
  piece.features = Dataset(std::move(columns), std::move(ids));
  return piece;
}

std::vector<float> CsvReader::target_values(const std::vector<bool>& dropped) const {
  const Builder& target = columns_[target_];
  const auto refuse = [&](std::size_t row, const std::string& what) {
    fail(errc::parse_error,
         fmt::format("{}:{}: field {}: target \"{}\" {}", origin_, line_of(row), target_ + 1, target.spec.name, what));
  };
  std::vector<float> known;  // class of each string of this piece, or -1
  for (std::size_t code = 0; code < target.dictionary.size(); ++code) {
    const auto found = classes_.find(std::string(target.dictionary[static_cast<std::int32_t>(code)]));
    known.push_back(found == classes_.end() ? -1.0f : found->second);
  }
  std::vector<float> values;
  for (std::size_t row = 0; row < dropped.size(); ++row) {
    if (dropped[row]) continue;
    if (target.kind == Kind::number) {
      if (std::isnan(target.numbers[row])) refuse(row, "is missing");
      values.push_back(static_cast<float>(target.numbers[row]));
      continue;
    }
    const std::int32_t code = target.codes[row];
    if (code < 0) refuse(row, "is missing");
    values.push_back(known[static_cast<std::size_t>(code)]);
    if (values.back() < 0) {
      refuse(row, fmt::format("is \"{}\", which is none of the {} classes of the schema",
                              target.dictionary[code].substr(0, 40), classes_.size()));
    }
  }
  return values;
}

}  // namespace redoubt::detail
