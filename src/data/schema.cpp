#include "redoubt/data/schema.hpp"

#include <fmt/format.h>

#include <string_view>
#include <unordered_set>
#include <utility>

#include "data/names.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {

const char* to_string(ColumnType type) noexcept {
  switch (type) {
    case ColumnType::numeric: return "numeric";
    case ColumnType::categorical: return "categorical";
    case ColumnType::text: return "text";
    case ColumnType::timestamp: return "timestamp";
  }
  return "unknown";
}

const char* to_string(ColumnRole role) noexcept {
  switch (role) {
    case ColumnRole::feature: return "feature";
    case ColumnRole::target: return "target";
    case ColumnRole::source: return "source";
    case ColumnRole::time: return "time";
    case ColumnRole::weight: return "weight";
    case ColumnRole::ignore: return "ignore";
  }
  return "unknown";
}

const char* to_string(Task task) noexcept {
  switch (task) {
    case Task::none: return "none";
    case Task::classification: return "classification";
    case Task::regression: return "regression";
  }
  return "unknown";
}

Schema::Schema(std::vector<ColumnSpec> columns) : columns_(std::move(columns)) {
  std::unordered_set<std::string_view> names;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].name.empty()) detail::fail(errc::invalid_argument, fmt::format("column {} has no name", i + 1));
    if (!names.insert(columns_[i].name).second) {
      detail::fail(errc::invalid_argument, fmt::format("two columns are named \"{}\"", columns_[i].name));
    }
  }
  for (const ColumnRole role : {ColumnRole::target, ColumnRole::source, ColumnRole::time, ColumnRole::weight}) {
    const ColumnSpec* holder = nullptr;
    for (const ColumnSpec& column : columns_) {
      if (column.role != role) continue;
      if (holder) {
        detail::fail(errc::invalid_argument,
                     fmt::format("columns \"{}\" and \"{}\" both have the role {}; give one of them another role first",
                                 holder->name, column.name, to_string(role)));
      }
      holder = &column;
    }
  }
}

std::size_t Schema::find(std::string_view name) const noexcept {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].name == name) return i;
  }
  return npos;
}

std::size_t Schema::at(std::string_view name) const {
  const std::size_t index = find(name);
  if (index != npos) return index;
  if (columns_.empty()) detail::fail(errc::not_found, fmt::format("no column \"{}\": there are no columns", name));
  std::vector<std::string_view> known;
  for (const ColumnSpec& column : columns_) known.push_back(column.name);
  detail::fail(errc::not_found, fmt::format("no column \"{}\" among {}; nearest: {}", name, columns_.size(),
                                            detail::nearest_names(name, known)));
}

std::size_t Schema::find(ColumnRole role) const noexcept {
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].role == role) return i;
  }
  return npos;
}

std::vector<std::size_t> Schema::features() const {
  std::vector<std::size_t> indices;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (columns_[i].role == ColumnRole::feature) indices.push_back(i);
  }
  return indices;
}

Task Schema::task() const noexcept {
  const std::size_t target = find(ColumnRole::target);
  if (target == npos) return Task::none;
  switch (columns_[target].type) {
    case ColumnType::categorical: return Task::classification;
    case ColumnType::numeric: return Task::regression;
    case ColumnType::text:
    case ColumnType::timestamp: return Task::none;
  }
  return Task::none;
}

}  // namespace redoubt
