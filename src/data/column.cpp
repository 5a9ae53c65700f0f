#include "redoubt/data/column.hpp"

#include <charconv>
#include <cmath>

#include "data/timestamp.hpp"

namespace redoubt {

std::size_t Column::size() const noexcept {
  switch (spec.type) {
    case ColumnType::numeric: return numbers.size();
    case ColumnType::categorical: return codes.size();
    case ColumnType::text: return texts.size();
    case ColumnType::timestamp: return times.size();
  }
  return 0;
}

bool Column::missing(std::size_t row) const noexcept {
  switch (spec.type) {
    case ColumnType::numeric: return std::isnan(numbers[row]);
    case ColumnType::categorical: return codes[row] < 0;
    case ColumnType::text: return texts[row].empty();
    case ColumnType::timestamp: return times[row] == missing_time;
  }
  return true;
}

namespace {

template <class T>
std::vector<T> pick(const std::vector<T>& values, const std::vector<std::size_t>& rows) {
  std::vector<T> picked(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) picked[i] = values[rows[i]];
  return picked;
}

}  // namespace

Column Column::take(const std::vector<std::size_t>& rows) const {
  Column taken;
  taken.spec = spec;
  switch (spec.type) {
    case ColumnType::numeric: taken.numbers = pick(numbers, rows); break;
    case ColumnType::categorical: taken.codes = pick(codes, rows); break;
    case ColumnType::timestamp: taken.times = pick(times, rows); break;
    case ColumnType::text: {
      std::size_t bytes = 0;
      for (const std::size_t row : rows) bytes += texts[row].size();
      taken.texts.bytes.reserve(bytes);
      taken.texts.offsets.reserve(rows.size() + 1);
      for (const std::size_t row : rows) taken.texts.push_back(texts[row]);
      break;
    }
  }
  return taken;
}

std::string Column::to_text(std::size_t row) const {
  if (missing(row)) return {};
  switch (spec.type) {
    case ColumnType::numeric: {
      char buffer[32];
      return {buffer, std::to_chars(buffer, buffer + sizeof buffer, numbers[row]).ptr};
    }
    case ColumnType::categorical: return spec.categories[static_cast<std::size_t>(codes[row])];
    case ColumnType::text: return std::string(texts[row]);
    case ColumnType::timestamp: return detail::format_timestamp(times[row]);
  }
  return {};
}

}  // namespace redoubt
