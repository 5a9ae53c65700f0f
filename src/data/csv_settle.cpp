#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "data/csv_reader.hpp"
#include "data/number.hpp"
#include "data/timestamp.hpp"
#include "redoubt/core/error.hpp"

// What the types of the columns are, once all rows are there.

namespace redoubt::detail {
namespace {

std::string first_string(const Builder& column) {
  for (std::size_t row = 0;; ++row) {
    if (const std::string_view text = column.string_at(row); !text.empty()) return std::string(text.substr(0, 40));
  }
}

}  // namespace

void CsvReader::settle_types() {
  std::vector<Kind> kept;
  bool again = false;
  for (Builder& column : columns_) {
    const bool wrong =
        !column.forced && (column.kind == Kind::number || column.kind == Kind::time) && column.too_many_bad();
    kept.push_back(wrong ? Kind::skipped : column.kind);
    again = again || wrong;
    if (wrong) column.reset(Kind::dictionary);
  }
  if (again) {
    // The others keep what they have while the wrongly guessed ones are read again as strings.
    std::vector<Kind> kinds(columns_.size());
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      kinds[c] = columns_[c].kind;
      if (kept[c] != Kind::skipped) columns_[c].kind = Kind::skipped;
    }
    read_pass(/*second=*/true);
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (kept[c] != Kind::skipped) columns_[c].kind = kinds[c];
    }
  }
  for (Builder& column : columns_) {
    const bool strings = column.kind == Kind::dictionary || column.kind == Kind::text;
    if (!strings || column.forced) continue;
    const bool maybe = column.present > 0 && static_cast<double>(column.present - column.number_like) <=
                                                 bad_cell_share * static_cast<double>(column.present);
    if (column.inferred_target) {
      settle_target(column, maybe);
    } else if (maybe && !convert_to_numbers(column)) {
      convert_to_times(column);
    }
    const bool is_string = column.kind == Kind::dictionary || column.kind == Kind::text;
    if (column.spec.role == ColumnRole::time && is_string && column.present > 0) {
      fail(errc::type_mismatch, fmt::format("{}: time column \"{}\" holds neither ISO 8601 times nor numbers, "
                                            "for example \"{}\"",
                                            origin_, column.spec.name, first_string(column)));
    }
  }
}

// A string column as numbers, if nearly all of its cells are. Cells with a broken encoding stay bad.
bool CsvReader::convert_to_numbers(Builder& column) {
  std::vector<double> numbers(row_ids_.size(), std::nan(""));
  std::vector<BadCell> bad = column.bad;
  for (std::size_t row = 0; row < numbers.size(); ++row) {
    const std::string_view text = column.string_at(row);
    if (text.empty()) continue;
    if (!parse_number(text.data(), text.data() + text.size(), numbers[row])) bad.push_back({row, CellFault::number});
  }
  return adopt(column, bad, [&] {
    column.numbers = std::move(numbers);
    column.kind = Kind::number;
  });
}

bool CsvReader::convert_to_times(Builder& column) {
  std::vector<std::int64_t> times(row_ids_.size(), missing_time);
  std::vector<BadCell> bad = column.bad;
  for (std::size_t row = 0; row < times.size(); ++row) {
    const std::string_view text = column.string_at(row);
    if (!text.empty() && !parse_timestamp(text, times[row])) {
      times[row] = missing_time;
      bad.push_back({row, CellFault::time});
    }
  }
  return adopt(column, bad, [&] {
    column.times = std::move(times);
    column.kind = Kind::time;
  });
}

template <class Change>
bool CsvReader::adopt(Builder& column, std::vector<BadCell>& bad, Change change) {
  std::swap(column.bad, bad);
  if (column.too_many_bad()) {
    std::swap(column.bad, bad);
    return false;
  }
  change();
  return true;
}

void CsvReader::settle_target(Builder& column, bool maybe_numbers) {
  if (maybe_numbers) {
    // Few whole numbers are classes with the names as written.
    std::unordered_set<std::string> names;
    bool whole = true;
    std::vector<BadCell> bad = column.bad;
    for (std::size_t row = 0; row < row_ids_.size(); ++row) {
      const std::string_view text = column.string_at(row);
      double number = 0;
      if (text.empty()) continue;
      if (!parse_number(text.data(), text.data() + text.size(), number)) {
        bad.push_back({row, CellFault::label});
        continue;
      }
      whole = whole && number == std::floor(number);
      if (whole && names.size() <= max_class_numbers) names.emplace(text);
    }
    if (whole && names.size() <= max_class_numbers && adopt(column, bad, [] {})) {
      if (column.kind == Kind::text) make_dictionary(column);
      for (const BadCell& cell : column.bad) column.codes[cell.row] = -1;
      return;
    }
    if (convert_to_numbers(column)) return;
  }
  if (column.kind == Kind::text) make_dictionary(column);
}

void CsvReader::make_dictionary(Builder& column) {
  column.codes.assign(row_ids_.size(), -1);
  for (std::size_t row = 0; row < row_ids_.size(); ++row) {
    if (column.texts[row].empty()) continue;
    column.codes[row] = column.dictionary.find_or_add(column.texts[row]);
    if (column.dictionary.size() > max_classes) fail_too_many_classes(column);
  }
  column.texts = {};
  column.kind = Kind::dictionary;
}

}  // namespace redoubt::detail
