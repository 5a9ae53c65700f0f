#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/fwd.hpp"

namespace redoubt {

enum class ColumnType : std::uint8_t {
  numeric,      ///< double; NaN is missing
  categorical,  ///< code into the column's list of categories; -1 is missing
  text,         ///< UTF-8; the empty text is missing
  timestamp     ///< microseconds since 1970-01-01 UTC; `missing_time` is missing
};

enum class ColumnRole : std::uint8_t {
  feature,
  target,  ///< what is to be predicted
  source,  ///< who supplied the row: an account, a sensor, a partner
  time,    ///< when the row arose
  weight,  ///< sample weight, non-negative
  ignore   ///< carried along, never seen by a model
};

enum class Task : std::uint8_t { none, classification, regression };

const char* to_string(ColumnType type) noexcept;
const char* to_string(ColumnRole role) noexcept;
const char* to_string(Task task) noexcept;

struct ColumnSpec {
  std::string name;
  ColumnType type = ColumnType::numeric;
  ColumnRole role = ColumnRole::feature;
  std::vector<std::string> categories;  ///< categorical only: code -> name, sorted when inferred

  bool operator==(const ColumnSpec&) const = default;
};

/// Names, types and roles of columns. Value type.
class Schema {
 public:
  static constexpr std::size_t npos = static_cast<std::size_t>(-1);

  Schema() = default;
  /// Throws Error(invalid_argument) on an empty or repeated name, or on two targets, sources, times or weights.
  explicit Schema(std::vector<ColumnSpec> columns);

  std::size_t size() const noexcept { return columns_.size(); }
  const ColumnSpec& operator[](std::size_t column) const noexcept { return columns_[column]; }
  const std::vector<ColumnSpec>& columns() const noexcept { return columns_; }

  std::size_t find(std::string_view name) const noexcept;  ///< index or npos
  std::size_t at(std::string_view name) const;             ///< index; Error(not_found) names the nearest columns
  std::size_t find(ColumnRole role) const noexcept;        ///< first column of that role or npos
  std::vector<std::size_t> features() const;               ///< indices of the feature columns, in order

  /// classification if the target is categorical, regression if numeric, none without one.
  Task task() const noexcept;

  bool operator==(const Schema&) const = default;

 private:
  std::vector<ColumnSpec> columns_;
};

}  // namespace redoubt
