#include "redoubt/data/libsvm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <utility>

#include "data/assemble.hpp"
#include "data/dictionary.hpp"
#include "data/input_file.hpp"
#include "data/number.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

constexpr std::uint32_t max_index = 1u << 17;  // every index is a dense column, used or not

struct Entry {
  std::uint32_t row, index;
  double value;
};

struct Rows {
  std::vector<Entry> entries;
  std::vector<double> labels;
  std::vector<std::string> queries;
  std::vector<RowId> ids;
  std::uint32_t largest_index = 0;
  bool zero_index = false, any_query = false;
};

std::string_view next_word(std::string_view& line) {
  while (!line.empty() && detail::is_blank(line.front())) line.remove_prefix(1);
  std::size_t length = 0;
  while (length < line.size() && !detail::is_blank(line[length])) ++length;
  const std::string_view word = line.substr(0, length);
  line.remove_prefix(length);
  return word;
}

// Appends one row; on a fault returns its reason and field and leaves `rows` as it was.
std::string add_row(std::string_view line, RowId id, Rows& rows, std::size_t& field) {
  const auto row = static_cast<std::uint32_t>(rows.labels.size());
  const std::size_t first = rows.entries.size();
  const auto bad = [&](std::string reason) {
    rows.entries.resize(first);
    return reason;
  };
  field = 1;
  const std::string_view label_text = next_word(line);
  double label = 0;
  if (!detail::parse_number(label_text.data(), label_text.data() + label_text.size(), label)) {
    return bad("the label is no finite number");
  }
  std::string query;
  std::int64_t previous = -1;
  for (std::string_view word = next_word(line); !word.empty(); word = next_word(line)) {
    ++field;
    const std::size_t colon = word.find(':');
    if (colon == std::string_view::npos) return bad("an entry is not of the form index:value");
    const std::string_view key = word.substr(0, colon), text = word.substr(colon + 1);
    if (key == "qid" && field == 2) {
      if (text.empty()) return bad("qid has no value");
      query = text;
      continue;
    }
    std::uint32_t index = 0;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
    if (error != std::errc{} || end != key.data() + key.size() || index > max_index) {
      return bad(fmt::format("an index is not a whole number from 0 to {}", max_index));
    }
    if (static_cast<std::int64_t>(index) <= previous) return bad("indices do not rise");
    previous = index;
    double value = 0;
    if (!detail::parse_number(text.data(), text.data() + text.size(), value)) return bad("a value is no finite number");
    rows.entries.push_back({row, index, value});
  }
  for (std::size_t i = first; i < rows.entries.size(); ++i) {
    rows.largest_index = std::max(rows.largest_index, rows.entries[i].index);
    rows.zero_index = rows.zero_index || rows.entries[i].index == 0;
  }
  rows.any_query = rows.any_query || !query.empty();
  rows.labels.push_back(label);
  rows.queries.push_back(std::move(query));
  rows.ids.push_back(id);
  return {};
}

}  // namespace

Dataset read_libsvm_text(std::string_view text, const LibsvmOptions& options, const std::string& origin) {
  if (options.features > max_index) {
    detail::fail(errc::invalid_argument,
                 fmt::format("features is {}, the largest index is {}", options.features, max_index));
  }
  Rows rows;
  detail::Quarantine quarantine(origin, options.bad_rows);
  std::size_t position = 0, line_number = 0;
  RowId id = 0;
  for (std::string_view line; detail::next_line(text, position, line);) {
    ++line_number;
    line = line.substr(0, line.find('#'));
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    std::size_t field = 0;
    std::string reason = add_row(line, id++, rows, field);
    if (!reason.empty()) quarantine.add(line_number, field, std::move(reason));
    if (rows.labels.size() >= std::size_t{1} << 31) {
      detail::fail(errc::unsupported, fmt::format("{} has more than 2^31 rows", origin));
    }
  }
  quarantine.refuse_most(rows.labels.size());
  if (rows.labels.empty()) detail::fail_at_line(origin, 1, "there is no row");

  const std::size_t count = rows.labels.size();
  const std::size_t last = std::max<std::size_t>(rows.largest_index, options.features);
  const std::size_t first = rows.zero_index ? 0 : 1;
  const std::size_t width = last + 1 - first;
  if (width > options.max_cells / count) {
    detail::fail(errc::unsupported,
                 fmt::format("{}: {} rows of {} columns are more than the {} cells that may be filled; see "
                             "LibsvmOptions::max_cells",
                             origin, count, width, options.max_cells));
  }
  std::vector<Column> columns(width);
  for (std::size_t c = 0; c < width; ++c) {
    columns[c].spec.name = fmt::format("f{}", c + first);
    columns[c].numbers.assign(count, 0.0);
  }
  for (const Entry& entry : rows.entries) columns[entry.index - first].numbers[entry.row] = entry.value;
  if (rows.any_query) {
    detail::Dictionary names;
    std::vector<std::int32_t> codes;
    for (const std::string& query : rows.queries) codes.push_back(query.empty() ? -1 : names.find_or_add(query));
    columns.push_back(
        detail::categorical_column({"qid", ColumnType::categorical, ColumnRole::ignore, {}}, std::move(codes), names));
  }
  columns.push_back(
      detail::target_column({"label", ColumnType::numeric, ColumnRole::target, {}}, rows.labels, options.task));
  return Dataset(std::move(columns), std::move(rows.ids)).with_quarantine(quarantine.take());
}

Dataset read_libsvm(const std::string& path, const LibsvmOptions& options) {
  return read_libsvm_text(detail::read_whole_text(path), options, path);
}

}  // namespace redoubt
