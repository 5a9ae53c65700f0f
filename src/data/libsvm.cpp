#include "redoubt/data/libsvm.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>

#include "data/assemble.hpp"
#include "data/dictionary.hpp"
#include "data/input_file.hpp"
#include "data/number.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

constexpr std::size_t max_dense_index = 1u << 17;  // every index is a dense column, used or not

template <class Value>
struct Rows {
  std::vector<std::uint64_t> offsets = {0};
  std::vector<std::uint32_t> indices;
  std::vector<Value> values;
  std::vector<double> labels, weights;
  std::vector<std::int32_t> queries;  // codes of query_names; -1: none
  detail::Dictionary query_names;
  std::vector<RowId> ids;
  std::uint32_t largest_index = 0;
  bool any_zero_index = false, any_query = false;
};

struct Grammar {
  std::size_t max_index;
  bool weights, same_queries;  // same_queries: all rows have a query id, or none
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
template <class Value>
std::string add_row(std::string_view line, RowId id, const Grammar& grammar, Rows<Value>& rows, std::size_t& field) {
  const std::size_t first = rows.indices.size();
  const auto bad = [&](std::string reason) {
    rows.indices.resize(first);
    rows.values.resize(first);
    return reason;
  };
  field = 1;
  std::string_view label_text = next_word(line);
  double label = 0, weight = 1;
  if (const std::size_t colon = label_text.find(':'); grammar.weights && colon != std::string_view::npos) {
    const std::string_view text = label_text.substr(colon + 1);
    if (!detail::parse_number(text.data(), text.data() + text.size(), weight) || weight < 0)
      return bad("the weight is no finite number from 0 on");
    label_text = label_text.substr(0, colon);
  }
  if (!detail::parse_number(label_text.data(), label_text.data() + label_text.size(), label)) {
    return bad("the label is no finite number");
  }
  std::string_view query;
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
    if (error != std::errc{} || end != key.data() + key.size() || index > grammar.max_index) {
      return bad(fmt::format("an index is not a whole number from 0 to {}", grammar.max_index));
    }
    if (static_cast<std::int64_t>(index) <= previous) return bad("indices do not rise");
    previous = index;
    double value = 0;
    if (!detail::parse_number(text.data(), text.data() + text.size(), value)) return bad("a value is no finite number");
    if (std::abs(value) > static_cast<double>(std::numeric_limits<Value>::max()))
      return bad("a value is beyond the range of float");
    rows.indices.push_back(index);
    rows.values.push_back(static_cast<Value>(value));
  }
  if (grammar.same_queries && !rows.labels.empty() && query.empty() == rows.any_query) {
    field = 2;
    return bad(rows.any_query ? "the row has no qid, others have" : "the row has a qid, others have not");
  }
  if (rows.indices.size() > first) {
    rows.largest_index = std::max(rows.largest_index, rows.indices.back());
    rows.any_zero_index = rows.any_zero_index || rows.indices[first] == 0;
  }
  rows.any_query = rows.any_query || !query.empty();
  rows.labels.push_back(label);
  if (grammar.weights) rows.weights.push_back(weight);
  rows.queries.push_back(query.empty() ? -1 : rows.query_names.find_or_add(query));
  rows.ids.push_back(id);
  rows.offsets.push_back(rows.indices.size());
  return {};
}

template <class Value>
Rows<Value> parse(std::string_view text, const Grammar& grammar, const std::string& origin,
                  detail::Quarantine& quarantine) {
  Rows<Value> rows;
  std::size_t position = 0, line_number = 0;
  RowId id = 0;
  for (std::string_view line; detail::next_line(text, position, line);) {
    ++line_number;
    line = line.substr(0, line.find('#'));
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    std::size_t field = 0;
    std::string reason = add_row(line, id++, grammar, rows, field);
    if (!reason.empty()) quarantine.add(line_number, field, std::move(reason));
    if (rows.labels.size() >= std::size_t{1} << 31) {
      detail::fail(errc::unsupported, fmt::format("{} has more than 2^31 rows", origin));
    }
  }
  quarantine.refuse_most(rows.labels.size());
  if (rows.labels.empty()) detail::fail_at_line(origin, 1, "there is no row");
  return rows;
}

void check_features(std::size_t features, std::size_t max_index) {
  if (features > max_index)
    detail::fail(errc::invalid_argument, fmt::format("features is {}, the largest index is {}", features, max_index));
}

/// Labels of rows with query ids are grades.
Task task_of(Task asked, bool any_query) { return asked == Task::none && any_query ? Task::regression : asked; }

}  // namespace

Dataset read_libsvm_text(std::string_view text, const LibsvmOptions& options, const std::string& origin) {
  check_features(options.features, max_dense_index);
  detail::Quarantine quarantine(origin, options.bad_rows);
  auto rows = parse<double>(text, {max_dense_index, options.weights, false}, origin, quarantine);
  const std::size_t count = rows.labels.size();
  const std::size_t last = std::max<std::size_t>(rows.largest_index, options.features);
  const std::size_t first = rows.any_zero_index ? 0 : 1;
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
  for (std::size_t r = 0; r < count; ++r)
    for (std::uint64_t i = rows.offsets[r]; i < rows.offsets[r + 1]; ++i)
      columns[rows.indices[i] - first].numbers[r] = rows.values[i];
  const Task task = task_of(options.task, rows.any_query);
  if (rows.any_query) {
    columns.push_back(detail::categorical_column({"qid", ColumnType::categorical, ColumnRole::ignore, {}},
                                                 std::move(rows.queries), rows.query_names));
  }
  if (options.weights) {
    columns.emplace_back();
    columns.back().spec = {"weight", ColumnType::numeric, ColumnRole::weight, {}};
    columns.back().numbers = std::move(rows.weights);
  }
  columns.push_back(detail::target_column({"label", ColumnType::numeric, ColumnRole::target, {}}, rows.labels, task));
  return Dataset(std::move(columns), std::move(rows.ids)).with_quarantine(quarantine.take());
}

Dataset read_libsvm(const std::string& path, const LibsvmOptions& options) {
  return read_libsvm_text(detail::read_whole_text(path), options, path);
}

SparseDataset read_libsvm_sparse_text(std::string_view text, const SparseLibsvmOptions& options,
                                      const std::string& origin) {
  if (options.max_index >= std::numeric_limits<std::uint32_t>::max())
    detail::fail(errc::invalid_argument,
                 fmt::format("max_index is {}, which must be below 2^32 - 1", options.max_index));
  check_features(options.features, options.max_index);
  detail::Quarantine quarantine(origin, options.bad_rows);
  auto rows = parse<float>(text, {options.max_index, options.weights, true}, origin, quarantine);
  SparseDataset data;
  data.cols = std::max<std::size_t>(rows.largest_index, options.features) + 1;
  data.row_offsets = std::move(rows.offsets);
  data.columns = std::move(rows.indices);
  data.values = std::move(rows.values);
  data.weights = std::move(rows.weights);
  if (rows.any_query) data.queries.assign(rows.queries.begin(), rows.queries.end());
  data.row_ids = std::move(rows.ids);
  Column target = detail::target_column({"label", ColumnType::numeric, ColumnRole::target, {}}, rows.labels,
                                        task_of(options.task, rows.any_query));
  data.task = target.spec.type == ColumnType::categorical ? Task::classification : Task::regression;
  data.labels = std::move(target.codes);
  data.classes = std::move(target.spec.categories);
  data.targets = std::move(target.numbers);
  data.quarantine = quarantine.take();
  return data;
}

SparseDataset read_libsvm_sparse(const std::string& path, const SparseLibsvmOptions& options) {
  return read_libsvm_sparse_text(detail::read_whole_text(path), options, path);
}

}  // namespace redoubt
