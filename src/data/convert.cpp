#include "data/convert.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "data/dictionary.hpp"
#include "data/timestamp.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt::detail {

Column to_categorical(const Column& column) {
  Dictionary names;
  std::vector<std::int32_t> codes(column.size(), -1);
  for (std::size_t row = 0; row < column.size(); ++row) {
    if (!column.missing(row)) codes[row] = names.find_or_add(column.to_text(row));
  }
  return categorical_column(column.spec, std::move(codes), names);
}

Column to_timestamp(const Column& column) {
  Column result;
  result.spec = column.spec;
  result.spec.type = ColumnType::timestamp;
  result.spec.categories.clear();
  result.times.assign(column.size(), missing_time);
  if (column.spec.type == ColumnType::numeric) {
    double largest = 0;
    for (const double value : column.numbers) {
      if (std::isfinite(value)) largest = std::max(largest, std::abs(value));
    }
    const double scale = largest < 1e11 ? 1e6 : largest < 1e14 ? 1e3 : largest < 1e17 ? 1.0 : 1e-3;
    for (std::size_t row = 0; row < column.size(); ++row) {
      if (std::isnan(column.numbers[row])) continue;
      const double micros = column.numbers[row] * scale;
      if (std::abs(micros) >= 9.2e18) {
        fail(errc::type_mismatch,
             fmt::format("column \"{}\", row {}: {} is no time", column.spec.name, row, column.numbers[row]));
      }
      result.times[row] = static_cast<std::int64_t>(std::llround(micros));
    }
    return result;
  }
  for (std::size_t row = 0; row < column.size(); ++row) {
    if (column.missing(row)) continue;
    const std::string text = column.to_text(row);
    if (!parse_timestamp(text, result.times[row])) {
      fail(errc::type_mismatch,
           fmt::format("column \"{}\", row {}: \"{}\" is no ISO 8601 time", column.spec.name, row, text.substr(0, 40)));
    }
  }
  return result;
}

}  // namespace redoubt::detail
