#include "redoubt/data/csv.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <unordered_map>
#include <unordered_set>

#include "data/convert.hpp"
#include "data/csv_blocks.hpp"
#include "data/csv_column.hpp"
#include "data/csv_tokens.hpp"
#include "data/dictionary.hpp"
#include "data/input_file.hpp"
#include "data/names.hpp"
#include "data/number.hpp"
#include "data/timestamp.hpp"
#include "data/utf8.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {
namespace {

using detail::bad_cell_share;
using detail::BadCell;
using detail::Blocks;
using detail::Builder;
using detail::CellFault;
using detail::Kind;
using detail::MissingTokens;
using detail::trimmed;

constexpr std::size_t max_columns = 65536;
constexpr std::size_t max_classes = 65536;
constexpr std::size_t sample_rows = 10000;
constexpr std::size_t max_class_numbers = 20;

class Reader {
 public:
  Reader(Blocks& blocks, const CsvOptions& options, const std::string& origin)
      : blocks_(blocks), options_(options), origin_(origin), missing_(options.missing) {}

  Dataset read() {
    check_encoding();
    const char delimiter = options_.delimiter ? options_.delimiter : sniff_delimiter();
    if (delimiter == '\n' || delimiter == '\r' || (options_.quoting && delimiter == '"')) {
      detail::fail(errc::invalid_argument, "the delimiter may not be a line end or a quote");
    }
    tokenizer_ = std::make_unique<detail::CsvTokenizer>(delimiter, options_.quoting);
    read_header();
    assign_roles();
    infer_kinds();
    read_pass(/*second=*/false);
    settle_types();
    return finish();
  }

 private:
  [[noreturn]] void fail_at(std::uint64_t line, const std::string& what) const {
    detail::fail(errc::parse_error, fmt::format("{}:{}: {}", origin_, line, what));
  }

  void check_encoding() {
    const std::string_view start = blocks_.view();
    if (start.starts_with("\xff\xfe") || start.starts_with("\xfe\xff")) {
      detail::fail(errc::unsupported, fmt::format("{} is UTF-16; convert it to UTF-8", origin_));
    }
    body_ = start.starts_with("\xef\xbb\xbf") ? 3 : 0;
    blocks_.consume(body_);
  }

  // The candidate whose cell count of the first row is shared by most of the first rows.
  char sniff_delimiter() const {
    char best = ',';
    double best_score = 0.3;
    std::size_t best_count = 0;
    const bool all = blocks_.last();
    for (const char candidate : {',', '\t', ';', '|'}) {
      detail::CsvTokenizer tokenizer(candidate, options_.quoting);
      detail::TokenBlock rows;
      // No row has 0 cells, so each is reported with its count. The rows are few: a long block of them is cut.
      tokenizer.scan(blocks_.view().substr(0, 1 << 16), all && blocks_.view().size() <= 1 << 16, 0, rows);
      std::size_t first = 0, equal = 0, total = 0;
      for (const detail::FaultyRow& row : rows.faulty) {
        if (row.fault != detail::RowFault::wrong_count) continue;
        if (total++ == 0) first = row.found;
        equal += row.found == first;
      }
      const double score = total ? static_cast<double>(equal) / static_cast<double>(total) : 0;
      if (first < 2 || score < best_score || (score == best_score && first <= best_count)) continue;
      best = candidate;
      best_score = score;
      best_count = first;
    }
    return best;
  }

  // Text of a cell without quotes and blanks around it; `scratch_` may hold it.
  std::string_view cell_text(std::string_view block, const detail::Cell& cell) {
    std::string_view text = block.substr(cell.begin, cell.length);
    if (cell.doubled) {
      detail::undouble_quotes(text, scratch_);
      return scratch_;
    }
    return options_.trim && !cell.quoted ? trimmed(text) : text;
  }

  bool names_a_column(const std::vector<std::string>& names, const std::string& wanted) const {
    return std::find(names.begin(), names.end(), wanted) != names.end();
  }

  std::vector<std::string> wanted_columns() const {
    std::vector<std::string> wanted;
    for (const std::string* name : {&options_.target, &options_.source, &options_.time, &options_.weight}) {
      if (!name->empty()) wanted.push_back(*name);
    }
    wanted.insert(wanted.end(), options_.ignore.begin(), options_.ignore.end());
    for (const auto& [name, type] : options_.types) wanted.push_back(name);
    return wanted;
  }

  void read_header() {
    std::vector<detail::Cell> cells;
    std::size_t bytes = 0;
    for (;;) {
      tokenizer_->restart();
      const auto row = tokenizer_->scan_first_row(blocks_.view(), blocks_.last(), max_columns + 1, cells, bytes);
      if (row == detail::CsvTokenizer::FirstRow::found) break;
      if (row == detail::CsvTokenizer::FirstRow::malformed) {
        fail_at(tokenizer_->line(), "the first row has an open quote or text after a closing quote");
      }
      if (blocks_.last()) fail_at(1, "there is no row");
      blocks_.enlarge(origin_);
    }
    if (cells.size() > max_columns) fail_at(1, fmt::format("the first row has more than {} fields", max_columns));
    std::vector<std::string> names, positions;
    bool has_data = false;
    for (const detail::Cell& cell : cells) {
      const std::string_view text = cell_text(blocks_.view(), cell);
      double number = 0;
      std::int64_t time = 0;
      has_data = has_data || detail::parse_number(text.data(), text.data() + text.size(), number) ||
                 detail::parse_timestamp(text, time);
      names.emplace_back(text);
      positions.push_back(fmt::format("c{}", positions.size() + 1));
    }
    switch (options_.header) {
      case Header::present: has_header_ = true; break;
      case Header::absent: has_header_ = false; break;
      case Header::automatic: {
        const std::vector<std::string> wanted = wanted_columns();
        const auto all_in = [&](const std::vector<std::string>& known) {
          return !wanted.empty() && std::all_of(wanted.begin(), wanted.end(),
                                                [&](const std::string& name) { return names_a_column(known, name); });
        };
        has_header_ = all_in(names) || (!has_data && !all_in(positions));
        break;
      }
    }
    if (!has_header_) {
      tokenizer_->restart();
      names = positions;
    } else {
      body_ += bytes;
      header_lines_ = tokenizer_->line();
      std::unordered_map<std::string_view, std::size_t> seen;
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (names[i].empty()) names[i] = positions[i];
        if (!detail::is_clean_text(names[i])) fail_at(1, fmt::format("the name of column {} is not UTF-8 text", i + 1));
        const auto [entry, fresh] = seen.try_emplace(names[i], i);
        if (!fresh) {
          fail_at(1, fmt::format("columns {} and {} are both named \"{}\"", entry->second + 1, i + 1, names[i]));
        }
      }
      blocks_.consume(bytes);
    }
    for (std::string& name : names) {
      columns_.emplace_back();
      columns_.back().spec.name = std::move(name);
    }
  }

  Builder& find_column(const std::string& name) {
    for (Builder& column : columns_) {
      if (column.spec.name == name) return column;
    }
    std::vector<std::string_view> known;
    for (const Builder& column : columns_) known.push_back(column.spec.name);
    detail::fail(
        errc::not_found,
        fmt::format("{} has no column \"{}\"; nearest: {}{}", origin_, name, detail::nearest_names(name, known),
                    has_header_ ? "" : " (the first row was taken as data; see CsvOptions::header)"));
  }

  void set_role(const std::string& name, ColumnRole role) {
    if (name.empty()) return;
    Builder& column = find_column(name);
    if (column.spec.role != ColumnRole::feature && column.spec.role != role) {
      detail::fail(errc::invalid_argument, fmt::format("column \"{}\" cannot be both {} and {}", name,
                                                       to_string(column.spec.role), to_string(role)));
    }
    column.spec.role = role;
  }

  static Kind kind_of(ColumnType type) {
    switch (type) {
      case ColumnType::numeric: return Kind::number;
      case ColumnType::categorical: return Kind::dictionary;
      case ColumnType::text: return Kind::text;
      case ColumnType::timestamp: return Kind::time;
    }
    return Kind::text;
  }

  void force(Builder& column, ColumnType type, std::size_t max_distinct = static_cast<std::size_t>(-1)) {
    column.forced = true;
    column.kind = kind_of(type);
    column.max_distinct = max_distinct;
  }

  void assign_roles() {
    set_role(options_.target, ColumnRole::target);
    set_role(options_.source, ColumnRole::source);
    set_role(options_.time, ColumnRole::time);
    set_role(options_.weight, ColumnRole::weight);
    for (const std::string& name : options_.ignore) set_role(name, ColumnRole::ignore);
    for (Builder& column : columns_) {
      column.max_distinct = options_.max_categories;
      if (column.spec.role == ColumnRole::source) force(column, ColumnType::categorical);
      if (column.spec.role == ColumnRole::weight) force(column, ColumnType::numeric);
      if (column.spec.role == ColumnRole::target) {
        column.suffix = options_.target_suffix;
        if (options_.task == Task::regression) force(column, ColumnType::numeric);
        if (options_.task == Task::classification) force(column, ColumnType::categorical, max_classes);
        column.inferred_target = options_.task == Task::none;
      }
    }
    for (const auto& [name, type] : options_.types) {
      Builder& column = find_column(name);
      if (column.spec.role == ColumnRole::source || column.spec.role == ColumnRole::weight) continue;
      force(column, type);
      column.inferred_target = false;
    }
  }

  // A guess from the first block; settle_types() sees to it that the whole column decides.
  void infer_kinds() {
    detail::TokenBlock rows;
    std::size_t used = 0;
    for (;;) {
      tokenizer_->restart();
      used = tokenizer_->scan(blocks_.view(), blocks_.last(), columns_.size(), rows, sample_rows);
      if (used > 0 || blocks_.last()) break;
      blocks_.enlarge(origin_);
    }
    if (rows.rows() > 0) {
      const double bytes_per_row = static_cast<double>(used) / static_cast<double>(rows.rows());
      expected_rows_ = static_cast<std::size_t>(static_cast<double>(blocks_.total_bytes()) / bytes_per_row * 1.1) + 16;
    }
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      Builder& column = columns_[c];
      const Kind guess = infer_kind(rows, c);
      if (column.inferred_target) {
        column.kind = Kind::dictionary;  // keeps the spelling
        column.max_distinct = std::max(options_.max_categories, std::size_t{1024});
      }
      if (!column.forced && !column.inferred_target) {
        column.kind = guess;
      } else if (column.forced && column.kind == Kind::time && guess == Kind::number) {
        column.kind = Kind::number;  // numbers since 1970, converted at the end
        column.spec.type = ColumnType::timestamp;
      }
    }
  }

  Kind infer_kind(const detail::TokenBlock& rows, std::size_t c) {
    std::size_t present = 0, numbers = 0, times = 0, bytes = 0;
    detail::Dictionary distinct;
    for (std::size_t r = 0; r < rows.rows(); ++r) {
      const std::string_view text = cell_text(blocks_.view(), rows.cells[r * columns_.size() + c]);
      if (missing_.contains(text)) continue;
      double number = 0;
      std::int64_t time = 0;
      ++present;
      bytes += text.size();
      numbers += detail::parse_number(text.data(), text.data() + text.size(), number);
      times += detail::parse_timestamp(text, time);
      distinct.find_or_add(text);
    }
    columns_[c].mean_bytes = static_cast<double>(bytes) / static_cast<double>(std::max<std::size_t>(rows.rows(), 1));
    const auto most = [&](std::size_t count) {
      return static_cast<double>(present - count) <= bad_cell_share * static_cast<double>(present);
    };
    if (most(numbers)) return Kind::number;  // also without any cell
    if (most(times)) return Kind::time;
    const bool text = detail::is_text(present, bytes, distinct.size(), options_.max_categories);
    return text ? Kind::text : Kind::dictionary;
  }

  // Reads the whole body into the columns that are not skipped.
  void read_pass(bool second) {
    tokenizer_->restart();
    blocks_.restart();
    // The header may be longer than a block.
    while (blocks_.view().size() < body_ && !blocks_.last()) blocks_.enlarge(origin_);
    blocks_.consume(std::min(body_, blocks_.view().size()));
    const std::uint64_t first_line = has_header_ ? header_lines_ - 1 : 0;
    // Reserved with room to spare: memory that is never touched costs nothing, growing means copying.
    const std::size_t expected = std::min(expected_rows_, blocks_.total_bytes() / columns_.size() + 2);
    for (Builder& column : columns_) column.reserve(expected, blocks_.total_bytes());
    if (!second) detail::reserve_large(row_ids_, expected);
    std::size_t rows = 0;
    detail::TokenBlock block;
    while (!blocks_.view().empty()) {
      const std::size_t used = tokenizer_->scan(blocks_.view(), blocks_.last(), columns_.size(), block);
      if (used == 0) {
        if (blocks_.last()) break;
        blocks_.enlarge(origin_);
        continue;
      }
      for (std::size_t c = 0; c < columns_.size(); ++c) append(columns_[c], block, c, rows);
      if (!second) {
        for (std::size_t r = 0; r < block.rows(); ++r) {
          const std::uint64_t offset = block.lines[r] + first_line - (rows + r);
          if (line_offsets_.empty() || line_offsets_.back().second != offset)
            line_offsets_.emplace_back(rows + r, offset);
        }
        row_ids_.insert(row_ids_.end(), block.row_numbers.begin(), block.row_numbers.end());
        for (detail::FaultyRow row : block.faulty) {
          row.line += first_line;
          faulty_.push_back(row);
        }
      }
      rows += block.rows();
      blocks_.consume(used);
    }
    if (second && rows != row_ids_.size()) {
      detail::fail(errc::io_error, fmt::format("{} changed while it was being read", origin_));
    }
  }

  void append(Builder& column, const detail::TokenBlock& block, std::size_t c, std::size_t first_row) {
    const std::size_t rows = block.rows(), stride = columns_.size();
    if (rows == 0) return;
    const detail::Cell* cells = block.cells.data() + c;
    const std::string_view text = blocks_.view();
    switch (column.kind) {
      case Kind::skipped: return;
      case Kind::number: {
        column.numbers.resize(first_row + rows);
        double* out = column.numbers.data() + first_row;
        const bool ask_first = missing_.any_numeric() || !column.suffix.empty();
        std::size_t absent = 0;
        for (std::size_t r = 0; r < rows; ++r) {
          const detail::Cell& cell = cells[r * stride];
          const char* const begin = text.data() + cell.begin;
          if (!ask_first && detail::parse_number(begin, begin + cell.length, out[r])) continue;
          const std::string_view value = without_suffix(column, cell_text(text, cell));
          out[r] = std::nan("");
          if (missing_.contains(value)) {
            ++absent;
          } else if (!(ask_first && detail::parse_number(value.data(), value.data() + value.size(), out[r]))) {
            column.bad.push_back({first_row + r, CellFault::number});
          }
        }
        column.present += rows - absent;
        return;
      }
      case Kind::time: {
        column.times.resize(first_row + rows);
        for (std::size_t r = 0; r < rows; ++r) {
          const std::string_view value = cell_text(text, cells[r * stride]);
          std::int64_t& out = column.times[first_row + r];
          out = missing_time;
          if (missing_.contains(value)) continue;
          ++column.present;
          if (!detail::parse_timestamp(value, out)) {
            out = missing_time;
            column.bad.push_back({first_row + r, CellFault::time});
          }
        }
        return;
      }
      case Kind::dictionary:
      case Kind::text: break;
    }
    for (std::size_t r = 0; r < rows; ++r) {
      std::string_view value = without_suffix(column, cell_text(text, cells[r * stride]));
      if (missing_.contains(value)) {
        value = {};
      } else {
        ++column.present;
        const char first = value.empty() ? ' ' : value[0];
        column.number_like += detail::digit_of(first) <= 9 || first == '-' || first == '+' || first == '.';
        if (!block.plain && !detail::is_clean_text(value)) {
          column.bad.push_back({first_row + r, CellFault::encoding});
          value = {};
        }
      }
      if (column.kind == Kind::text) {
        column.texts.push_back(value);
        continue;
      }
      column.codes.push_back(value.empty() ? -1 : column.dictionary.find_or_add(value));
      if (column.dictionary.size() > column.max_distinct) {
        if (column.forced) fail_too_many_classes(column);
        column.dictionary_to_text();
      }
    }
  }

  [[noreturn]] void fail_too_many_classes(const Builder& column) const {
    detail::fail(errc::type_mismatch,
                 fmt::format("{}: target \"{}\" has more than {} different values, too many for classes; for numbers "
                             "ask for Task::regression",
                             origin_, column.spec.name, max_classes));
  }

  static std::string_view without_suffix(const Builder& column, std::string_view value) {
    if (!column.suffix.empty() && value.ends_with(column.suffix)) value.remove_suffix(column.suffix.size());
    return value;
  }

  // ---- after the first pass ----

  void settle_types() {
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
        detail::fail(errc::type_mismatch,
                     fmt::format("{}: time column \"{}\" holds neither ISO 8601 times nor numbers, "
                                 "for example \"{}\"",
                                 origin_, column.spec.name, first_string(column)));
      }
    }
  }

  static std::string first_string(const Builder& column) {
    for (std::size_t row = 0;; ++row) {
      if (const std::string_view text = column.string_at(row); !text.empty()) return std::string(text.substr(0, 40));
    }
  }

  // A string column as numbers, if nearly all of its cells are. Cells with a broken encoding stay bad.
  bool convert_to_numbers(Builder& column) {
    std::vector<double> numbers(row_ids_.size(), std::nan(""));
    std::vector<BadCell> bad = column.bad;
    for (std::size_t row = 0; row < numbers.size(); ++row) {
      const std::string_view text = column.string_at(row);
      if (text.empty()) continue;
      if (!detail::parse_number(text.data(), text.data() + text.size(), numbers[row]))
        bad.push_back({row, CellFault::number});
    }
    return adopt(column, bad, [&] {
      column.numbers = std::move(numbers);
      column.kind = Kind::number;
    });
  }

  bool convert_to_times(Builder& column) {
    std::vector<std::int64_t> times(row_ids_.size(), missing_time);
    std::vector<BadCell> bad = column.bad;
    for (std::size_t row = 0; row < times.size(); ++row) {
      const std::string_view text = column.string_at(row);
      if (!text.empty() && !detail::parse_timestamp(text, times[row])) {
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
  bool adopt(Builder& column, std::vector<BadCell>& bad, Change change) {
    std::swap(column.bad, bad);
    if (column.too_many_bad()) {
      std::swap(column.bad, bad);
      return false;
    }
    change();
    return true;
  }

  void settle_target(Builder& column, bool maybe_numbers) {
    if (maybe_numbers) {
      // Few whole numbers are classes with the names as written.
      std::unordered_set<std::string> names;
      bool whole = true;
      std::vector<BadCell> bad = column.bad;
      for (std::size_t row = 0; row < row_ids_.size(); ++row) {
        const std::string_view text = column.string_at(row);
        double number = 0;
        if (text.empty()) continue;
        if (!detail::parse_number(text.data(), text.data() + text.size(), number)) {
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

  void make_dictionary(Builder& column) {
    column.codes.assign(row_ids_.size(), -1);
    for (std::size_t row = 0; row < row_ids_.size(); ++row) {
      if (column.texts[row].empty()) continue;
      column.codes[row] = column.dictionary.find_or_add(column.texts[row]);
      if (column.dictionary.size() > max_classes) fail_too_many_classes(column);
    }
    column.texts = {};
    column.kind = Kind::dictionary;
  }

  // ---- bad rows and the result ----

  std::uint64_t line_of(std::size_t row) const {
    const auto after = std::upper_bound(line_offsets_.begin(), line_offsets_.end(), row,
                                        [](std::size_t r, const auto& entry) { return r < entry.first; });
    return std::prev(after)->second + row;
  }

  std::string describe(const detail::FaultyRow& row) const {
    switch (row.fault) {
      case detail::RowFault::wrong_count:
        return fmt::format("{} field{}, expected {}", row.found, row.found == 1 ? "" : "s", columns_.size());
      case detail::RowFault::text_after_quote: return "text after a closing quote";
      case detail::RowFault::open_quote: return "a quote that never closes";
    }
    return {};
  }

  std::string describe(const Builder& column, CellFault fault) const {
    switch (fault) {
      case CellFault::number:
        return fmt::format("\"{}\" is numeric, but the cell is no finite number", column.spec.name);
      case CellFault::time:
        return fmt::format("\"{}\" is a timestamp, but the cell is no ISO 8601 time", column.spec.name);
      case CellFault::encoding: return fmt::format("\"{}\" holds NUL or invalid UTF-8", column.spec.name);
      case CellFault::weight: return fmt::format("weight \"{}\" is missing or negative", column.spec.name);
      case CellFault::label: return fmt::format("target \"{}\" is no number, unlike the others", column.spec.name);
    }
    return {};
  }

  Dataset finish() {
    for (Builder& column : columns_) {
      if (column.spec.role != ColumnRole::weight) continue;
      for (std::size_t row = 0; row < row_ids_.size(); ++row) {
        if (!(column.numbers[row] >= 0)) column.bad.push_back({row, CellFault::weight});
      }
    }
    std::vector<QuarantinedRow> quarantine;
    std::vector<bool> dropped(row_ids_.size());
    std::size_t kept_rows = row_ids_.size();
    for (const detail::FaultyRow& row : faulty_) {
      quarantine.push_back({origin_, static_cast<std::size_t>(row.line), row.field, describe(row)});
    }
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      for (const BadCell& cell : columns_[c].bad) {
        if (dropped[cell.row]) continue;
        dropped[cell.row] = true;
        --kept_rows;
        quarantine.push_back(
            {origin_, static_cast<std::size_t>(line_of(cell.row)), c + 1, describe(columns_[c], cell.fault)});
      }
    }
    std::stable_sort(quarantine.begin(), quarantine.end(),
                     [](const QuarantinedRow& a, const QuarantinedRow& b) { return a.line < b.line; });
    refuse_if_needed(quarantine, kept_rows);
    std::vector<std::size_t> rows;
    const bool cut = kept_rows < row_ids_.size();
    if (cut) {
      for (std::size_t row = 0; row < row_ids_.size(); ++row) {
        if (!dropped[row]) rows.push_back(row);
      }
      std::vector<RowId> ids;
      for (const std::size_t row : rows) ids.push_back(row_ids_[row]);
      row_ids_ = std::move(ids);
    }
    std::vector<Column> columns;
    for (Builder& builder : columns_) columns.push_back(build(builder, cut ? &rows : nullptr));
    return Dataset(std::move(columns), std::move(row_ids_)).with_quarantine(std::move(quarantine));
  }

  void refuse_if_needed(const std::vector<QuarantinedRow>& quarantine, std::size_t kept) const {
    const auto describe_first = [&] {
      const QuarantinedRow& row = quarantine.front();
      return fmt::format("{}:{}: field {}: {}", row.file, row.line, row.column, row.reason);
    };
    if (quarantine.empty()) {
      if (kept == 0) fail_at(header_lines_, "there is a header but no row");
      return;
    }
    if (options_.bad_rows == BadRows::error) detail::fail(errc::parse_error, describe_first());
    if (quarantine.size() > kept) {
      detail::fail(errc::parse_error, fmt::format("{} ({} of {} rows are bad: are delimiter, quoting and types right?)",
                                                  describe_first(), quarantine.size(), quarantine.size() + kept));
    }
  }

  static Column build(Builder& builder, const std::vector<std::size_t>* rows) {
    const bool to_time = builder.kind == Kind::number && builder.spec.type == ColumnType::timestamp;
    Column column;
    column.spec = std::move(builder.spec);
    switch (builder.kind) {
      case Kind::skipped:
      case Kind::number:
        column.spec.type = ColumnType::numeric;
        column.numbers = std::move(builder.numbers);
        break;
      case Kind::time:
        column.spec.type = ColumnType::timestamp;
        column.times = std::move(builder.times);
        break;
      case Kind::dictionary:
        column.spec.type = ColumnType::categorical;
        column.codes = std::move(builder.codes);
        break;
      case Kind::text:
        column.spec.type = ColumnType::text;
        column.texts = std::move(builder.texts);
        break;
    }
    if (rows) column = column.take(*rows);
    if (builder.kind == Kind::dictionary) {
      // After the cut, so that names which only bad rows had are gone.
      return detail::categorical_column(std::move(column.spec), std::move(column.codes), builder.dictionary);
    }
    if (to_time) return detail::to_timestamp(column);
    return column;
  }

  Blocks& blocks_;
  const CsvOptions& options_;
  const std::string& origin_;
  MissingTokens missing_;
  std::unique_ptr<detail::CsvTokenizer> tokenizer_;
  std::vector<Builder> columns_;
  bool has_header_ = false;
  std::size_t body_ = 0;            // bytes before the first data row
  std::uint64_t header_lines_ = 1;  // line after the header
  std::size_t expected_rows_ = 0;
  std::vector<RowId> row_ids_;
  std::vector<std::pair<std::size_t, std::uint64_t>> line_offsets_;  // from this row on: line - row
  std::vector<detail::FaultyRow> faulty_;
  std::string scratch_;
};

}  // namespace

Dataset read_csv(const std::string& path, const CsvOptions& options) {
  detail::InputFile file(path);
  if (!file.regular()) return read_csv_text(detail::read_whole_text(path), options, path);
  Blocks blocks(file);
  return Reader(blocks, options, path).read();
}

Dataset read_csv_text(std::string_view text, const CsvOptions& options, const std::string& origin) {
  Blocks blocks(text);
  return Reader(blocks, options, origin).read();
}

}  // namespace redoubt
