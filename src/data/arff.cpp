#include "redoubt/data/arff.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <unordered_map>
#include <utility>

#include "data/assemble.hpp"
#include "data/input_file.hpp"
#include "data/number.hpp"
#include "data/timestamp.hpp"
#include "data/utf8.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

constexpr std::size_t max_attributes = 65536;
constexpr std::size_t max_sparse_cells = std::size_t{1} << 27;  // a sparse row costs as much memory as a dense one

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r'; }

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

bool equals_keyword(std::string_view text, std::string_view keyword) {
  return text.size() == keyword.size() &&
         std::equal(text.begin(), text.end(), keyword.begin(), [](char a, char b) { return lower(a) == b; });
}

// Cuts one line into names and values.
class Line {
 public:
  explicit Line(std::string_view text) : text_(text) {}

  void skip_space() {
    while (position_ < text_.size() && is_space(text_[position_])) ++position_;
  }
  bool at_end() {
    skip_space();
    return position_ == text_.size();
  }
  char peek() const { return position_ < text_.size() ? text_[position_] : '\0'; }
  bool take(char c) {
    skip_space();
    if (peek() != c) return false;
    ++position_;
    return true;
  }
  // A quoted word with backslash escapes, or everything up to a character of `ends`, blanks at its end removed.
  // False if a quote stays open.
  bool word(std::string_view ends, std::string& value, bool& quoted) {
    skip_space();
    value.clear();
    quoted = peek() == '\'' || peek() == '"';
    if (quoted) {
      const char quote = text_[position_++];
      while (position_ < text_.size()) {
        char c = text_[position_++];
        if (c == quote) return true;
        if (c == '\\' && position_ < text_.size()) {
          c = text_[position_++];
          if (c == 'n')
            c = '\n';
          else if (c == 't')
            c = '\t';
          else if (c == 'r')
            c = '\r';
        }
        value.push_back(c);
      }
      return false;
    }
    while (position_ < text_.size() && ends.find(text_[position_]) == std::string_view::npos)
      value.push_back(text_[position_++]);
    while (!value.empty() && is_space(value.back())) value.pop_back();
    return true;
  }
  std::string_view rest() {
    skip_space();
    return text_.substr(position_);
  }

 private:
  std::string_view text_;
  std::size_t position_ = 0;
};

class ArffReader {
 public:
  ArffReader(std::string_view text, const ArffOptions& options, const std::string& origin)
      : text_(text), options_(options), origin_(origin), quarantine_(origin, options.bad_rows) {
    if (text_.starts_with("\xef\xbb\xbf")) text_.remove_prefix(3);
  }

  Dataset read() {
    read_header();
    assign_roles();
    for (std::string_view line; next(line);) {
      if (skippable(line)) continue;
      std::size_t field = 0;
      std::string reason = add_row(line, field);
      if (reason.empty()) {
        ids_.push_back(id_);
        ++rows_;
      } else {
        for (Column& column : columns_) cut(column);
        quarantine_.add(line_, field, std::move(reason));
      }
      ++id_;
    }
    quarantine_.refuse_most(rows_);
    if (rows_ == 0) detail::fail_at_line(origin_, line_, "there is no row behind @data");
    return Dataset(std::move(columns_), std::move(ids_)).with_quarantine(quarantine_.take());
  }

 private:
  bool next(std::string_view& line) {
    if (!detail::next_line(text_, position_, line)) return false;
    ++line_;
    return true;
  }
  static bool skippable(std::string_view line) {
    const std::size_t first = line.find_first_not_of(" \t\r");
    return first == std::string_view::npos || line[first] == '%';
  }
  [[noreturn]] void fail_here(const std::string& what) const { detail::fail_at_line(origin_, line_, what); }

  void read_header() {
    std::unordered_map<std::string, std::size_t> seen;
    for (std::string_view text; next(text);) {
      if (skippable(text)) continue;
      Line line(text);
      std::string word;
      bool quoted = false;
      if (!line.word(" \t", word, quoted)) fail_here("a quote that never closes");
      if (equals_keyword(word, "@relation")) continue;
      if (equals_keyword(word, "@data")) {
        if (columns_.empty()) fail_here("@data before any @attribute");
        return;
      }
      if (!equals_keyword(word, "@attribute")) {
        fail_here(fmt::format("expected @attribute or @data, found \"{}\"", word.substr(0, 40)));
      }
      Column column;
      if (!line.word(" \t{", column.spec.name, quoted)) fail_here("a quote that never closes");
      if (column.spec.name.empty()) fail_here("an attribute without a name");
      if (!detail::is_clean_text(column.spec.name)) fail_here("the name of an attribute is not UTF-8 text");
      if (!seen.emplace(column.spec.name, columns_.size()).second) {
        fail_here(fmt::format("a second attribute \"{}\"", column.spec.name));
      }
      if (columns_.size() == max_attributes) fail_here(fmt::format("more than {} attributes", max_attributes));
      codes_.emplace_back();
      read_type(line, column);
      columns_.push_back(std::move(column));
    }
    detail::fail_at_line(origin_, std::max<std::size_t>(line_, 1), "there is no @data line: not an ARFF file?");
  }

  void read_type(Line& line, Column& column) {
    if (line.take('{')) {
      column.spec.type = ColumnType::categorical;
      std::string value;
      bool quoted = false;
      while (!line.take('}')) {
        if (line.at_end()) fail_here("a list of values without its closing }");
        if (!line.word(",}", value, quoted)) fail_here("a quote that never closes");
        if (!detail::is_clean_text(value)) fail_here("a value is not UTF-8 text");
        if (!codes_.back().emplace(value, static_cast<std::int32_t>(column.spec.categories.size())).second) {
          fail_here(fmt::format("\"{}\" has the value \"{}\" twice", column.spec.name, value.substr(0, 40)));
        }
        column.spec.categories.push_back(value);
        if (!line.take(',') && line.rest().substr(0, 1) != "}") fail_here("expected , or } in a list of values");
      }
      return;
    }
    std::string type;
    bool quoted = false;
    if (!line.word(" \t", type, quoted)) fail_here("a quote that never closes");
    if (equals_keyword(type, "numeric") || equals_keyword(type, "real") || equals_keyword(type, "integer")) {
      column.spec.type = ColumnType::numeric;
    } else if (equals_keyword(type, "string")) {
      column.spec.type = ColumnType::text;
    } else if (equals_keyword(type, "date")) {
      column.spec.type = ColumnType::timestamp;
    } else if (equals_keyword(type, "relational")) {
      detail::fail(errc::unsupported, fmt::format("{}:{}: relational attributes cannot be read", origin_, line_));
    } else {
      fail_here(fmt::format("\"{}\" has the unknown type \"{}\"", column.spec.name, type.substr(0, 40)));
    }
  }

  void assign_roles() {
    std::vector<ColumnSpec> specs;
    for (Column& column : columns_) specs.push_back(column.spec);
    detail::set_role(specs, options_.source, ColumnRole::source, origin_);
    detail::set_role(specs, options_.time, ColumnRole::time, origin_);
    detail::set_role(specs, options_.weight, ColumnRole::weight, origin_);
    for (const std::string& name : options_.ignore) detail::set_role(specs, name, ColumnRole::ignore, origin_);
    if (!options_.target.empty()) {
      detail::set_role(specs, options_.target, ColumnRole::target, origin_);
    } else if (!options_.no_target && specs.back().role == ColumnRole::feature) {
      specs.back().role = ColumnRole::target;
    }
    for (std::size_t i = 0; i < specs.size(); ++i) columns_[i].spec.role = specs[i].role;
  }

  // Back to the rows that are complete.
  void cut(Column& column) const {
    const auto shorten = [&](auto& values) {
      if (values.size() > rows_) values.resize(rows_);
    };
    shorten(column.numbers);
    shorten(column.codes);
    shorten(column.times);
    if (column.texts.size() > rows_) {
      column.texts.offsets.resize(rows_ + 1);
      column.texts.bytes.resize(column.texts.offsets.back());
    }
  }

  // "" or why the row is bad.
  std::string add_row(std::string_view text, std::size_t& field) {
    Line line(text);
    if (line.take('{')) return add_sparse_row(line, field);
    std::string value;
    bool quoted = false;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      field = c + 1;
      if (c > 0 && !line.take(',')) return fmt::format("{} values, expected {}", c, columns_.size());
      if (!line.word(",", value, quoted)) return "a quote that never closes";
      if (std::string reason = add_value(c, value, quoted); !reason.empty()) return reason;
    }
    ++field;
    return line.at_end() ? std::string{} : fmt::format("more than the expected {} values", columns_.size());
  }

  std::string add_sparse_row(Line& line, std::size_t& field) {
    if ((rows_ + 1) * columns_.size() > max_sparse_cells) {
      detail::fail(errc::unsupported, fmt::format("{}:{}: sparse rows of {} attributes fill more than {} cells",
                                                  origin_, line_, columns_.size(), max_sparse_cells));
    }
    std::size_t next_column = 0;
    const auto fill_to = [&](std::size_t column) {
      for (; next_column < column; ++next_column) add_default(next_column);
    };
    std::string word, value;
    bool quoted = false;
    while (!line.take('}')) {
      ++field;
      std::size_t index = 0;
      if (!line.word(" \t,}", word, quoted)) return "a quote that never closes";
      const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), index);
      if (error != std::errc{} || end != word.data() + word.size() || index >= columns_.size()) {
        return fmt::format("a sparse index is not a whole number below {}", columns_.size());
      }
      if (index < next_column) return "sparse indices do not rise";
      fill_to(index);
      if (!line.word(",}", value, quoted)) return "a quote that never closes";
      if (std::string reason = add_value(index, value, quoted); !reason.empty()) return reason;
      ++next_column;
      if (!line.take(',') && line.rest().substr(0, 1) != "}") return "expected , or } in a sparse row";
    }
    if (!line.at_end()) return "text behind a sparse row";
    fill_to(columns_.size());
    return {};
  }

  // What a sparse row leaves out is 0: the number, or the first value of a nominal attribute.
  void add_default(std::size_t c) {
    Column& column = columns_[c];
    switch (column.spec.type) {
      case ColumnType::numeric: column.numbers.push_back(0); break;
      case ColumnType::categorical: column.codes.push_back(column.spec.categories.empty() ? -1 : 0); break;
      case ColumnType::text: column.texts.push_back({}); break;
      case ColumnType::timestamp: column.times.push_back(missing_time); break;
    }
  }

  std::string add_value(std::size_t c, const std::string& value, bool quoted) {
    Column& column = columns_[c];
    const bool missing = !quoted && value == "?";
    switch (column.spec.type) {
      case ColumnType::numeric: {
        double number = std::nan("");
        if (!missing && !detail::parse_number(value.data(), value.data() + value.size(), number)) {
          return fmt::format("\"{}\" is numeric, but the value is no finite number", column.spec.name);
        }
        if (column.spec.role == ColumnRole::weight && !(number >= 0)) {
          return fmt::format("weight \"{}\" is missing or negative", column.spec.name);
        }
        column.numbers.push_back(number);
        break;
      }
      case ColumnType::categorical: {
        const auto entry = codes_[c].find(value);
        if (!missing && entry == codes_[c].end()) {
          return fmt::format("\"{}\" has no such value among its {}", column.spec.name, column.spec.categories.size());
        }
        column.codes.push_back(missing ? -1 : entry->second);
        break;
      }
      case ColumnType::text:
        if (!detail::is_clean_text(value)) return fmt::format("\"{}\" holds NUL or invalid UTF-8", column.spec.name);
        column.texts.push_back(missing ? std::string_view{} : std::string_view(value));
        break;
      case ColumnType::timestamp: {
        std::int64_t time = missing_time;
        if (!missing && !detail::parse_timestamp(value, time)) {
          return fmt::format("\"{}\" is a date, but the value is no ISO 8601 time", column.spec.name);
        }
        column.times.push_back(time);
        break;
      }
    }
    return {};
  }

  std::string_view text_;
  const ArffOptions& options_;
  const std::string& origin_;
  detail::Quarantine quarantine_;
  std::size_t position_ = 0, line_ = 0, rows_ = 0;
  RowId id_ = 0;
  std::vector<RowId> ids_;
  std::vector<Column> columns_;
  std::vector<std::unordered_map<std::string, std::int32_t>> codes_;
};

}  // namespace

Dataset read_arff_text(std::string_view text, const ArffOptions& options, const std::string& origin) {
  return ArffReader(text, options, origin).read();
}

Dataset read_arff(const std::string& path, const ArffOptions& options) {
  return read_arff_text(detail::read_whole_text(path), options, path);
}

}  // namespace redoubt
