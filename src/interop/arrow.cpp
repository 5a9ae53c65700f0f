#include "redoubt/interop/arrow.hpp"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <string_view>
#include <utility>

#include "data/assemble.hpp"
#include "data/convert.hpp"
#include "data/dictionary.hpp"
#include "data/utf8.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

// Releases a structure at the end of the scope, as the consumer must.
template <class T>
struct Releaser {
  T* object;
  ~Releaser() {
    if (object && object->release) object->release(object);
  }
};

// One column of the batch: `rows` cells from position `first` of its buffers on.
struct Cells {
  const ArrowArray& array;
  std::size_t first, rows;
  std::string_view name;

  template <class T>
  T load(int buffer, std::size_t index) const {
    T value;
    std::memcpy(&value, static_cast<const char*>(array.buffers[buffer]) + (first + index) * sizeof(T), sizeof(T));
    return value;
  }
  static bool bit(const void* bits, std::size_t index) {
    return (static_cast<const std::uint8_t*>(bits)[index / 8] >> (index % 8) & 1) != 0;
  }
  bool null(std::size_t row) const {
    return array.null_count != 0 && array.buffers[0] != nullptr && !bit(array.buffers[0], first + row);
  }
};

[[noreturn]] void fail_corrupt(std::string_view name, const std::string& what) {
  detail::fail(errc::corrupt, fmt::format("Arrow column \"{}\": {}", name, what));
}

Cells cells_of(const ArrowArray& array, std::size_t skip, std::size_t rows, std::int64_t buffers,
               std::string_view name) {
  if (array.length < 0 || array.offset < 0 || array.n_buffers != buffers || array.buffers == nullptr) {
    fail_corrupt(name, fmt::format("length {}, offset {} and {} buffers; expected {} buffers", array.length,
                                   array.offset, array.n_buffers, buffers));
  }
  const auto length = static_cast<std::size_t>(array.length);
  if (skip > length || rows > length - skip)
    fail_corrupt(name, fmt::format("{} cells, but {} rows", length, skip + rows));
  for (std::int64_t b = 1; b < buffers && rows > 0; ++b) {
    // An empty string column may leave its bytes out, but not its offsets.
    if (array.buffers[b] == nullptr && b < 2) fail_corrupt(name, fmt::format("buffer {} is absent", b));
  }
  return {array, static_cast<std::size_t>(array.offset) + skip, rows, name};
}

float half_to_float(std::uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const float fraction = static_cast<float>(bits & 1023);
  float value = 0;
  if (exponent == 31)
    value = fraction == 0 ? INFINITY : NAN;
  else if (exponent == 0)
    value = std::ldexp(fraction, -24);
  else
    value = std::ldexp(fraction + 1024, exponent - 25);
  return (bits >> 15) != 0 ? -value : value;
}

template <class T>
std::vector<double> numbers(const Cells& cells) {
  std::vector<double> values(cells.rows);
  for (std::size_t row = 0; row < cells.rows; ++row) {
    values[row] = cells.null(row) ? std::nan("") : static_cast<double>(cells.load<T>(1, row));
  }
  return values;
}

template <class Offset>
TextColumn texts(const Cells& cells) {
  TextColumn column;
  column.offsets.reserve(cells.rows + 1);
  for (std::size_t row = 0; row < cells.rows; ++row) {
    if (cells.null(row)) {
      column.push_back({});
      continue;
    }
    const Offset begin = cells.load<Offset>(1, row), end = cells.load<Offset>(1, row + 1);
    if (begin < 0 || end < begin) fail_corrupt(cells.name, fmt::format("row {}: offsets {} and {}", row, begin, end));
    if (begin == end) {
      column.push_back({});
      continue;
    }
    const char* bytes = static_cast<const char*>(cells.array.buffers[2]);
    if (bytes == nullptr) fail_corrupt(cells.name, "the bytes of its strings are absent");
    const std::string_view text(bytes + begin, static_cast<std::size_t>(end - begin));
    if (!detail::is_clean_text(text)) fail_corrupt(cells.name, fmt::format("row {}: NUL or invalid UTF-8", row));
    column.push_back(text);
  }
  return column;
}

bool is_string(std::string_view format) { return format == "u" || format == "U"; }

TextColumn read_texts(std::string_view format, const ArrowArray& array, std::size_t skip, std::size_t rows,
                      std::string_view name) {
  const Cells cells = cells_of(array, skip, rows, 3, name);
  return format == "u" ? texts<std::int32_t>(cells) : texts<std::int64_t>(cells);
}

// Microseconds of `value` units, 0 <= units per microsecond or the other way round.
std::int64_t to_micros(std::int64_t value, std::int64_t multiply, std::int64_t divide, const Cells& cells,
                       std::size_t row) {
  std::int64_t micros = 0;
  if (__builtin_mul_overflow(value, multiply, &micros)) {
    fail_corrupt(cells.name, fmt::format("row {}: the time {} is out of range", row, value));
  }
  const std::int64_t quotient = micros / divide - (micros % divide < 0);
  return quotient == missing_time ? missing_time + 1 : quotient;
}

template <class T>
std::vector<std::int64_t> times(const Cells& cells, std::int64_t multiply, std::int64_t divide) {
  std::vector<std::int64_t> values(cells.rows, missing_time);
  for (std::size_t row = 0; row < cells.rows; ++row) {
    if (!cells.null(row)) values[row] = to_micros(cells.load<T>(1, row), multiply, divide, cells, row);
  }
  return values;
}

template <class T>
void dictionary_codes(const Cells& cells, std::size_t values, std::vector<std::int32_t>& codes) {
  for (std::size_t row = 0; row < cells.rows; ++row) {
    if (cells.null(row)) continue;
    const T code = cells.load<T>(1, row);
    if (code < T{0} || static_cast<std::uint64_t>(code) >= values) {
      fail_corrupt(cells.name, fmt::format("row {}: code {} of a dictionary of {}", row, code, values));
    }
    codes[row] = static_cast<std::int32_t>(code);
  }
}

std::vector<double> read_numbers(char format, const Cells& cells) {
  switch (format) {
    case 'c': return numbers<std::int8_t>(cells);
    case 'C': return numbers<std::uint8_t>(cells);
    case 's': return numbers<std::int16_t>(cells);
    case 'S': return numbers<std::uint16_t>(cells);
    case 'i': return numbers<std::int32_t>(cells);
    case 'I': return numbers<std::uint32_t>(cells);
    case 'l': return numbers<std::int64_t>(cells);
    case 'L': return numbers<std::uint64_t>(cells);
    case 'f': return numbers<float>(cells);
    case 'g': return numbers<double>(cells);
    default: {
      std::vector<double> values(cells.rows);
      for (std::size_t row = 0; row < cells.rows; ++row) {
        values[row] = cells.null(row) ? std::nan("") : half_to_float(cells.load<std::uint16_t>(1, row));
      }
      return values;
    }
  }
}

class ArrowReader {
 public:
  ArrowReader(const ArrowSchema& schema, const ArrowArray& array, const ArrowOptions& options)
      : schema_(schema), array_(array), options_(options) {}

  Dataset read() {
    if (schema_.format == nullptr || std::string_view(schema_.format) != "+s") {
      detail::fail(errc::unsupported,
                   fmt::format("a struct array (a record batch) is needed, not the Arrow format \"{}\"",
                               schema_.format ? schema_.format : ""));
    }
    if (array_.length < 0 || array_.offset < 0 || schema_.n_children < 0 || array_.n_children != schema_.n_children) {
      fail_corrupt("", fmt::format("{} rows at offset {}, {} children for {} fields", array_.length, array_.offset,
                                   array_.n_children, schema_.n_children));
    }
    std::vector<ColumnSpec> specs;
    for (std::int64_t c = 0; c < schema_.n_children; ++c) {
      const ArrowSchema* field = schema_.children[c];
      if (field == nullptr || field->format == nullptr || array_.children[c] == nullptr) {
        fail_corrupt("", fmt::format("child {} is absent", c));
      }
      ColumnSpec spec;
      spec.name = field->name && field->name[0] != '\0' ? field->name : fmt::format("c{}", c + 1);
      specs.push_back(std::move(spec));
    }
    detail::set_role(specs, options_.target, ColumnRole::target, "the Arrow batch");
    detail::set_role(specs, options_.source, ColumnRole::source, "the Arrow batch");
    detail::set_role(specs, options_.time, ColumnRole::time, "the Arrow batch");
    detail::set_role(specs, options_.weight, ColumnRole::weight, "the Arrow batch");
    for (const std::string& name : options_.ignore)
      detail::set_role(specs, name, ColumnRole::ignore, "the Arrow batch");
    std::vector<Column> columns;
    for (std::size_t c = 0; c < specs.size(); ++c) columns.push_back(read_column(c, std::move(specs[c])));
    std::vector<RowId> ids(static_cast<std::size_t>(array_.length));
    for (std::size_t row = 0; row < ids.size(); ++row) ids[row] = row;
    return Dataset(std::move(columns), std::move(ids));
  }

 private:
  Column read_column(std::size_t c, ColumnSpec spec) {
    const ArrowSchema& field = *schema_.children[c];
    const ArrowArray& child = *array_.children[c];
    const std::string_view format = field.format;
    const auto skip = static_cast<std::size_t>(array_.offset), rows = static_cast<std::size_t>(array_.length);
    const std::string name = spec.name;
    Column column;
    column.spec = std::move(spec);
    if (field.dictionary) {
      column = read_dictionary(field, child, skip, rows, std::move(column.spec));
    } else if (format.size() == 1 && std::string_view("cCsSiIlLefg").find(format[0]) != std::string_view::npos) {
      column.numbers = read_numbers(format[0], cells_of(child, skip, rows, 2, name));
    } else if (format == "b") {
      const Cells cells = cells_of(child, skip, rows, 2, name);
      column.spec.type = ColumnType::categorical;
      column.spec.categories = {"false", "true"};
      column.codes.assign(rows, -1);
      for (std::size_t row = 0; row < rows; ++row) {
        if (!cells.null(row)) column.codes[row] = Cells::bit(cells.array.buffers[1], cells.first + row);
      }
    } else if (is_string(format)) {
      column.spec.type = ColumnType::text;
      column.texts = read_texts(format, child, skip, rows, name);
    } else if (format == "tdD") {
      column.spec.type = ColumnType::timestamp;
      column.times = times<std::int32_t>(cells_of(child, skip, rows, 2, name), 86'400'000'000, 1);
    } else if (format == "tdm") {
      column.spec.type = ColumnType::timestamp;
      column.times = times<std::int64_t>(cells_of(child, skip, rows, 2, name), 1000, 1);
    } else if (format.size() >= 4 && format.starts_with("ts") && format[3] == ':' &&
               std::string_view("smun").find(format[2]) != std::string_view::npos) {
      const char unit = format[2];
      column.spec.type = ColumnType::timestamp;
      column.times = times<std::int64_t>(cells_of(child, skip, rows, 2, name),
                                         unit == 's'   ? 1'000'000
                                         : unit == 'm' ? 1000
                                                       : 1,
                                         unit == 'n' ? 1000 : 1);
    } else {
      detail::fail(errc::unsupported,
                   fmt::format("Arrow column \"{}\" has the format \"{}\", which cannot be read", name, format));
    }
    if (array_.null_count != 0) column = without_null_rows(std::move(column));
    return fit_to_role(std::move(column));
  }

  // Cells of rows that are null as a whole become missing.
  Column without_null_rows(Column column) const {
    if (array_.n_buffers < 1 || array_.buffers == nullptr || array_.buffers[0] == nullptr) return column;
    TextColumn texts;
    for (std::size_t row = 0; row < column.size(); ++row) {
      const bool null = !Cells::bit(array_.buffers[0], static_cast<std::size_t>(array_.offset) + row);
      switch (column.spec.type) {
        case ColumnType::numeric:
          if (null) column.numbers[row] = std::nan("");
          break;
        case ColumnType::categorical:
          if (null) column.codes[row] = -1;
          break;
        case ColumnType::timestamp:
          if (null) column.times[row] = missing_time;
          break;
        case ColumnType::text: texts.push_back(null ? std::string_view{} : column.texts[row]); break;
      }
    }
    if (column.spec.type == ColumnType::text) column.texts = std::move(texts);
    return column;
  }

  static Column read_dictionary(const ArrowSchema& field, const ArrowArray& child, std::size_t skip, std::size_t rows,
                                ColumnSpec spec) {
    const std::string_view format = field.format;
    if (child.dictionary == nullptr) fail_corrupt(spec.name, "its dictionary is absent");
    const std::string_view value_format = field.dictionary->format ? field.dictionary->format : "";
    if (!is_string(value_format) || child.dictionary->length < 0 ||
        child.dictionary->length > (std::int64_t{1} << 30)) {
      detail::fail(errc::unsupported,
                   fmt::format("Arrow column \"{}\": a dictionary of format \"{}\" and length {}; up to "
                               "2^30 strings can be read",
                               spec.name, value_format, child.dictionary->length));
    }
    const auto count = static_cast<std::size_t>(child.dictionary->length);
    const TextColumn names = read_texts(value_format, *child.dictionary, 0, count, spec.name);
    const Cells cells = cells_of(child, skip, rows, 2, spec.name);
    std::vector<std::int32_t> codes(rows, -1);
    switch (format.size() == 1 ? format[0] : '\0') {
      case 'c': dictionary_codes<std::int8_t>(cells, count, codes); break;
      case 'C': dictionary_codes<std::uint8_t>(cells, count, codes); break;
      case 's': dictionary_codes<std::int16_t>(cells, count, codes); break;
      case 'S': dictionary_codes<std::uint16_t>(cells, count, codes); break;
      case 'i': dictionary_codes<std::int32_t>(cells, count, codes); break;
      case 'I': dictionary_codes<std::uint32_t>(cells, count, codes); break;
      case 'l': dictionary_codes<std::int64_t>(cells, count, codes); break;
      case 'L': dictionary_codes<std::uint64_t>(cells, count, codes); break;
      default:
        detail::fail(errc::unsupported,
                     fmt::format("Arrow column \"{}\": dictionary codes of format \"{}\"", spec.name, format));
    }
    // A dictionary may repeat values or hold empty ones; categories may not.
    detail::Dictionary distinct;
    std::vector<std::int32_t> merged(count, -1);
    for (std::size_t i = 0; i < count; ++i) {
      if (!names[i].empty()) merged[i] = distinct.find_or_add(names[i]);
    }
    for (std::int32_t& code : codes) {
      if (code >= 0) code = merged[static_cast<std::size_t>(code)];
    }
    return detail::categorical_column(std::move(spec), std::move(codes), distinct);
  }

  // Strings become categories or stay text; a numeric target becomes classes or stays a quantity.
  Column fit_to_role(Column column) const {
    const bool target = column.spec.role == ColumnRole::target;
    if (target && column.spec.type == ColumnType::numeric) {
      return detail::target_column(std::move(column.spec), column.numbers, options_.task);
    }
    if (column.spec.type != ColumnType::text || target || column.spec.role == ColumnRole::source) return column;
    if (column.spec.role == ColumnRole::time) return column;
    return detail::string_column(std::move(column), options_.max_categories);
  }

  const ArrowSchema& schema_;
  const ArrowArray& array_;
  const ArrowOptions& options_;
};

}  // namespace

Dataset from_arrow(ArrowSchema* schema, ArrowArray* array, const ArrowOptions& options) {
  const Releaser<ArrowArray> release_array{array};
  const Releaser<ArrowSchema> release_schema{schema};
  if (schema == nullptr || array == nullptr || schema->release == nullptr || array->release == nullptr) {
    detail::fail(errc::invalid_argument, "from_arrow needs a schema and an array that have not been released");
  }
  return ArrowReader(*schema, *array, options).read();
}

}  // namespace redoubt
