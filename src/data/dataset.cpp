#include "redoubt/data/dataset.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "data/convert.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/data/split.hpp"

namespace redoubt {
namespace {

constexpr std::int32_t max_classes = 65536;  // bounds the class names that a stray label code would create

[[noreturn]] void fail_type(const Column& column, const char* needed) {
  detail::fail(errc::type_mismatch,
               fmt::format("column \"{}\" has the role {} and must be {}, but it is {}", column.spec.name,
                           to_string(column.spec.role), needed, to_string(column.spec.type)));
}

// What a role asks of its column.
Column fit_to_role(Column column) {
  const ColumnType type = column.spec.type;
  switch (column.spec.role) {
    case ColumnRole::source:
      if (type != ColumnType::categorical) return detail::to_categorical(column);
      return column;
    case ColumnRole::target:
      if (type == ColumnType::text) return detail::to_categorical(column);
      return column;
    case ColumnRole::time:
      if (type != ColumnType::timestamp) return detail::to_timestamp(column);
      return column;
    case ColumnRole::weight:
      if (type != ColumnType::numeric) fail_type(column, "numeric");
      for (std::size_t row = 0; row < column.numbers.size(); ++row) {
        if (!(column.numbers[row] >= 0) || std::isinf(column.numbers[row])) {
          detail::fail(errc::invalid_argument,
                       fmt::format("weight column \"{}\", row {}: {} is not a finite non-negative number",
                                   column.spec.name, row, column.numbers[row]));
        }
      }
      return column;
    case ColumnRole::feature:
    case ColumnRole::ignore: return column;
  }
  return column;
}

void check_storage(const Column& column) {
  if (column.spec.type == ColumnType::categorical) {
    const auto count = static_cast<std::int64_t>(column.spec.categories.size());
    for (std::size_t row = 0; row < column.codes.size(); ++row) {
      if (column.codes[row] < -1 || column.codes[row] >= count) {
        detail::fail(errc::invalid_argument, fmt::format("column \"{}\", row {}: code {} is outside its {} categories",
                                                         column.spec.name, row, column.codes[row], count));
      }
    }
  }
  if (column.spec.type == ColumnType::text) {
    const auto& offsets = column.texts.offsets;
    if (offsets.empty() || offsets.front() != 0 || offsets.back() != column.texts.bytes.size() ||
        !std::is_sorted(offsets.begin(), offsets.end())) {
      detail::fail(errc::invalid_argument,
                   fmt::format("column \"{}\": text offsets must rise from 0 to the {} bytes of its buffer",
                               column.spec.name, column.texts.bytes.size()));
    }
  }
}

Shared<const Column> share(Column column) { return Shared<const Column>::make(std::move(column)); }

std::vector<Column> feature_columns(MatrixView<const float> x) {
  std::vector<Column> columns(x.cols());
  for (std::size_t c = 0; c < x.cols(); ++c) {
    columns[c].spec.name = fmt::format("f{}", c);
    columns[c].numbers.resize(x.rows());
    for (std::size_t r = 0; r < x.rows(); ++r) columns[c].numbers[r] = x(r, c);
  }
  return columns;
}

void check_target_length(std::size_t rows, std::size_t targets) {
  if (rows != targets) {
    detail::fail(errc::shape_mismatch, fmt::format("x has {} rows, but the target has {} values", rows, targets));
  }
}

}  // namespace

Dataset::Dataset(std::vector<Column> columns, std::vector<RowId> row_ids) : row_ids_(std::move(row_ids)) {
  const std::size_t rows = columns.empty() ? row_ids_.size() : columns.front().size();
  std::vector<ColumnSpec> specs;
  for (const Column& column : columns) {
    if (column.size() != rows) {
      detail::fail(errc::shape_mismatch, fmt::format("column \"{}\" has {} rows, but column \"{}\" has {}",
                                                     columns.front().spec.name, rows, column.spec.name, column.size()));
    }
    check_storage(column);
  }
  for (Column& column : columns) {
    column = fit_to_role(std::move(column));
    specs.push_back(column.spec);
  }
  schema_ = Schema(std::move(specs));
  if (row_ids_.empty()) {
    row_ids_.resize(rows);
    std::iota(row_ids_.begin(), row_ids_.end(), RowId{0});
  } else if (row_ids_.size() != rows) {
    detail::fail(errc::shape_mismatch, fmt::format("{} row ids for {} rows", row_ids_.size(), rows));
  }
  for (Column& column : columns) columns_.push_back(share(std::move(column)));
}

Dataset Dataset::from_matrix(MatrixView<const float> x, std::span<const std::int32_t> labels) {
  check_target_length(x.rows(), labels.size());
  std::vector<Column> columns = feature_columns(x);
  Column target;
  target.spec = {"target", ColumnType::categorical, ColumnRole::target, {}};
  target.codes.assign(labels.begin(), labels.end());
  std::int32_t classes = 0;
  for (std::size_t row = 0; row < labels.size(); ++row) {
    if (labels[row] < -1 || labels[row] >= max_classes) {
      detail::fail(errc::invalid_argument,
                   fmt::format("label {} of row {} is not a class code in [-1, {})", labels[row], row, max_classes));
    }
    classes = std::max(classes, labels[row] + 1);
  }
  for (std::int32_t code = 0; code < classes; ++code) target.spec.categories.push_back(fmt::format("{}", code));
  columns.push_back(std::move(target));
  return Dataset(std::move(columns));
}

Dataset Dataset::from_matrix(MatrixView<const float> x, std::span<const double> targets) {
  check_target_length(x.rows(), targets.size());
  std::vector<Column> columns = feature_columns(x);
  Column target;
  target.spec = {"target", ColumnType::numeric, ColumnRole::target, {}};
  target.numbers.assign(targets.begin(), targets.end());
  columns.push_back(std::move(target));
  return Dataset(std::move(columns));
}

Dataset Dataset::from_matrix(MatrixView<const float> x) { return Dataset(feature_columns(x)); }

std::span<const std::int32_t> Dataset::labels() const {
  if (task() != Task::classification) {
    detail::fail(errc::type_mismatch,
                 fmt::format("labels() needs a categorical target; the task is {}", to_string(task())));
  }
  return columns_[schema_.find(ColumnRole::target)]->codes;
}

std::span<const std::string> Dataset::classes() const {
  if (task() != Task::classification) {
    detail::fail(errc::type_mismatch,
                 fmt::format("classes() needs a categorical target; the task is {}", to_string(task())));
  }
  return schema_[schema_.find(ColumnRole::target)].categories;
}

std::span<const double> Dataset::targets() const {
  if (task() != Task::regression) {
    detail::fail(errc::type_mismatch,
                 fmt::format("targets() needs a numeric target; the task is {}", to_string(task())));
  }
  return columns_[schema_.find(ColumnRole::target)]->numbers;
}

std::span<const std::int32_t> Dataset::sources() const noexcept {
  const std::size_t index = schema_.find(ColumnRole::source);
  if (index == Schema::npos) return {};
  return columns_[index]->codes;
}

std::span<const std::string> Dataset::source_names() const noexcept {
  const std::size_t index = schema_.find(ColumnRole::source);
  if (index == Schema::npos) return {};
  return schema_[index].categories;
}

std::span<const std::int64_t> Dataset::times() const noexcept {
  const std::size_t index = schema_.find(ColumnRole::time);
  if (index == Schema::npos) return {};
  return columns_[index]->times;
}

std::span<const double> Dataset::weights() const noexcept {
  const std::size_t index = schema_.find(ColumnRole::weight);
  if (index == Schema::npos) return {};
  return columns_[index]->numbers;
}

Dataset Dataset::take(std::span<const std::size_t> rows) const {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] >= this->rows()) {
      detail::fail(errc::invalid_argument, fmt::format("take: row {} of a dataset of {} rows", rows[i], this->rows()));
    }
  }
  const std::vector<std::size_t> order(rows.begin(), rows.end());
  Dataset result;
  result.schema_ = schema_;
  result.quarantine_ = quarantine_;
  result.sealed_ = sealed_;
  result.row_ids_.reserve(order.size());
  for (const std::size_t row : order) result.row_ids_.push_back(row_ids_[row]);
  for (const auto& column : columns_) result.columns_.push_back(share(column->take(order)));
  return result;
}

Dataset Dataset::take_ids(std::span<const RowId> ids) const {
  const std::unordered_set<RowId> wanted(ids.begin(), ids.end());
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < row_ids_.size(); ++row) {
    if (wanted.contains(row_ids_[row])) rows.push_back(row);
  }
  return take(rows);
}

Dataset Dataset::without(std::span<const RowId> ids) const {
  const std::unordered_set<RowId> unwanted(ids.begin(), ids.end());
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < row_ids_.size(); ++row) {
    if (!unwanted.contains(row_ids_[row])) rows.push_back(row);
  }
  return take(rows);
}

Dataset Dataset::without_sources(std::span<const std::string> names) const {
  const std::unordered_set<std::string_view> unwanted(names.begin(), names.end());
  const auto codes = sources();
  const auto known = source_names();
  std::vector<std::size_t> rows;
  for (std::size_t row = 0; row < row_ids_.size(); ++row) {
    if (codes.empty() || codes[row] < 0 || !unwanted.contains(known[static_cast<std::size_t>(codes[row])])) {
      rows.push_back(row);
    }
  }
  return take(rows);
}

Dataset Dataset::concat(const Dataset& first, const Dataset& second) {
  if (first.cols() != second.cols()) {
    detail::fail(errc::shape_mismatch, fmt::format("concat: {} columns and {} columns", first.cols(), second.cols()));
  }
  std::vector<Column> columns;
  for (std::size_t c = 0; c < first.cols(); ++c) {
    Column joined = first.column(c);
    const Column& other = second.column(c);
    if (joined.spec.name != other.spec.name || joined.spec.type != other.spec.type ||
        joined.spec.role != other.spec.role) {
      detail::fail(errc::type_mismatch,
                   fmt::format("concat: column {} is \"{}\" ({}, {}) in one and \"{}\" ({}, {}) in the other", c + 1,
                               joined.spec.name, to_string(joined.spec.type), to_string(joined.spec.role),
                               other.spec.name, to_string(other.spec.type), to_string(other.spec.role)));
    }
    joined.numbers.insert(joined.numbers.end(), other.numbers.begin(), other.numbers.end());
    joined.times.insert(joined.times.end(), other.times.begin(), other.times.end());
    for (std::size_t row = 0; row < other.texts.size(); ++row) joined.texts.push_back(other.texts[row]);
    if (joined.spec.type == ColumnType::categorical) {
      // Codes of `first` keep their meaning; new categories of `second` follow.
      std::unordered_map<std::string_view, std::int32_t> known;
      std::vector<std::string>& names = joined.spec.categories;
      names.reserve(names.size() + other.spec.categories.size());
      for (std::size_t i = 0; i < names.size(); ++i) known.emplace(names[i], static_cast<std::int32_t>(i));
      std::vector<std::int32_t> mapped;
      for (const std::string& name : other.spec.categories) {
        const auto [entry, fresh] = known.try_emplace(name, static_cast<std::int32_t>(names.size()));
        if (fresh) names.push_back(name);
        mapped.push_back(entry->second);
      }
      for (const std::int32_t code : other.codes)
        joined.codes.push_back(code < 0 ? -1 : mapped[static_cast<std::size_t>(code)]);
    }
    columns.push_back(std::move(joined));
  }
  std::vector<RowId> ids = first.row_ids_;
  ids.insert(ids.end(), second.row_ids_.begin(), second.row_ids_.end());
  Dataset result(std::move(columns), std::move(ids));
  result.quarantine_ = first.quarantine_;
  result.quarantine_.insert(result.quarantine_.end(), second.quarantine_.begin(), second.quarantine_.end());
  result.sealed_ = first.sealed_ || second.sealed_;
  return result;
}

Dataset Dataset::with_column(Column column) const {
  const std::size_t index = schema_.at(column.spec.name);
  if (column.size() != rows()) {
    detail::fail(errc::shape_mismatch, fmt::format("with_column: \"{}\" has {} rows, the dataset has {}",
                                                   column.spec.name, column.size(), rows()));
  }
  check_storage(column);
  column = fit_to_role(std::move(column));
  std::vector<ColumnSpec> specs = schema_.columns();
  specs[index] = column.spec;
  Dataset result = *this;
  result.schema_ = Schema(std::move(specs));
  result.columns_[index] = share(std::move(column));
  return result;
}

Dataset Dataset::with_role(std::string_view name, ColumnRole role) const {
  Column changed = column(name);
  changed.spec.role = role;
  return with_column(std::move(changed));
}

std::pair<Dataset, Dataset> Dataset::split(double test_fraction, std::uint64_t seed) const {
  return split_stratified(*this, test_fraction, seed);
}

std::string Dataset::hash() const {
  Sha256 sha;
  const auto add_size = [&](std::uint64_t size) { sha.update(std::as_bytes(std::span(&size, 1))); };
  const auto add_text = [&](std::string_view text) {
    add_size(text.size());
    sha.update(text);
  };
  add_size(cols());
  for (const ColumnSpec& column : schema_.columns()) {
    add_text(column.name);
    add_size(static_cast<std::uint64_t>(column.type));
    add_size(static_cast<std::uint64_t>(column.role));
    add_size(column.categories.size());
    for (const std::string& category : column.categories) add_text(category);
  }
  add_size(rows());
  sha.update(std::as_bytes(std::span(row_ids_)));
  for (const auto& column : columns_) {
    sha.update(std::as_bytes(std::span(column->numbers)));
    sha.update(std::as_bytes(std::span(column->codes)));
    sha.update(std::as_bytes(std::span(column->times)));
    if (column->spec.type == ColumnType::text) {
      sha.update(std::as_bytes(std::span(column->texts.offsets)));
      sha.update(column->texts.bytes);
    }
  }
  return to_hex(sha.finish());
}

std::uint64_t Dataset::feature_hash(std::size_t row) const {
  std::uint64_t hash = 0;
  const auto add = [&hash](std::uint64_t value) { hash = hash64(std::as_bytes(std::span(&value, 1)), hash); };
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const Column& column = *columns_[c];
    if (column.spec.role != ColumnRole::feature) continue;
    if (column.missing(row)) {
      add(0x6d697373696e67);  // one value for every kind of "missing"
      continue;
    }
    switch (column.spec.type) {
      case ColumnType::numeric: {
        const double value = column.numbers[row] + 0.0;  // -0.0 equals 0.0
        std::uint64_t bits = 0;
        std::memcpy(&bits, &value, sizeof bits);
        add(bits);
        break;
      }
      // By name, so that equal rows of two files with other category lists hash equally.
      case ColumnType::categorical:
        hash = hash64(column.spec.categories[static_cast<std::size_t>(column.codes[row])], hash);
        break;
      case ColumnType::text: hash = hash64(column.texts[row], hash); break;
      case ColumnType::timestamp: add(static_cast<std::uint64_t>(column.times[row])); break;
    }
  }
  return hash;
}

Dataset Dataset::seal() const {
  Dataset result = *this;
  result.sealed_ = true;
  return result;
}

void Dataset::require_trainable(bool needs_target) const {
  if (sealed_) {
    detail::fail(errc::refused, "these rows are a sealed holdout: they may be evaluated, but never trained on");
  }
  if (rows() == 0) detail::fail(errc::invalid_argument, "cannot train on a dataset without rows");
  if (schema_.features().empty()) detail::fail(errc::invalid_argument, "cannot train without a feature column");
  if (!needs_target) return;
  const std::size_t target = schema_.find(ColumnRole::target);
  if (target == Schema::npos) {
    detail::fail(errc::invalid_argument, "no column has the role target; name one when reading, or use with_role()");
  }
  const Column& column = *columns_[target];
  if (task() == Task::none) fail_type(column, "categorical or numeric");
  std::size_t missing = 0, first_missing = 0;
  for (std::size_t row = rows(); row-- > 0;) {
    if (task() == Task::regression ? !std::isfinite(column.numbers[row]) : column.codes[row] < 0) {
      ++missing;
      first_missing = row;
    }
  }
  if (missing > 0) {
    detail::fail(errc::invalid_argument,
                 fmt::format("target \"{}\" is missing or not finite in {} of {} rows, first in row id {}; leave those "
                             "rows out with without()",
                             column.spec.name, missing, rows(), row_ids_[first_missing]));
  }
  if (task() == Task::classification &&
      std::all_of(column.codes.begin(), column.codes.end(), [&](auto code) { return code == column.codes.front(); })) {
    detail::fail(errc::invalid_argument,
                 fmt::format("every row has the class \"{}\"; training needs at least two", column.to_text(0)));
  }
}

Dataset Dataset::with_quarantine(std::vector<QuarantinedRow> rows) const {
  Dataset result = *this;
  result.quarantine_ = std::move(rows);
  return result;
}

}  // namespace redoubt
