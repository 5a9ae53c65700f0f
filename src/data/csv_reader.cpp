#include "data/csv_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <unordered_set>

#include "data/dictionary.hpp"
#include "data/names.hpp"
#include "data/number.hpp"
#include "data/timestamp.hpp"
#include "data/utf8.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t max_columns = 65536;
constexpr std::size_t sample_rows = 10000;
constexpr std::size_t most_target_values = 1000;  // that a sample has for certain

Kind kind_of(ColumnType type) {
  switch (type) {
    case ColumnType::numeric: return Kind::number;
    case ColumnType::categorical: return Kind::dictionary;
    case ColumnType::text: return Kind::text;
    case ColumnType::timestamp: return Kind::time;
  }
  return Kind::text;
}

std::string_view without_suffix(const Builder& column, std::string_view value) {
  if (!column.suffix.empty() && value.ends_with(column.suffix)) value.remove_suffix(column.suffix.size());
  return value;
}

}  // namespace

void CsvReader::infer() {
  open();
  assign_roles();
  infer_kinds();
}

Dataset CsvReader::rest() {
  read_pass(/*second=*/false);
  settle_types();
  return finish();
}

Dataset CsvReader::read() {
  infer();
  return rest();
}

Dataset CsvReader::sample(std::size_t rows, std::uint64_t seed) {
  longest_row_ = longest_streamed_row;
  infer();
  choose_rows(rows, seed);
  return rest();
}

void CsvReader::fail_at(std::uint64_t line, const std::string& what) const {
  fail(errc::parse_error, fmt::format("{}:{}: {}", origin_, line, what));
}

void CsvReader::open() {
  check_encoding();
  const char delimiter = options_.delimiter ? options_.delimiter : sniff_delimiter();
  if (delimiter == '\n' || delimiter == '\r' || (options_.quoting && delimiter == '"')) {
    fail(errc::invalid_argument, "the delimiter may not be a line end or a quote");
  }
  tokenizer_ = std::make_unique<CsvTokenizer>(delimiter, options_.quoting);
  read_header();
}

void CsvReader::check_encoding() {
  const std::string_view start = blocks_.view();
  if (start.starts_with("\xff\xfe") || start.starts_with("\xfe\xff")) {
    fail(errc::unsupported, fmt::format("{} is UTF-16; convert it to UTF-8", origin_));
  }
  body_ = start.starts_with("\xef\xbb\xbf") ? 3 : 0;
  blocks_.consume(body_);
}

// The candidate whose cell count of the first row is shared by most of the first rows.
char CsvReader::sniff_delimiter() const {
  char best = ',';
  double best_score = 0.3;
  std::size_t best_count = 0;
  const bool all = blocks_.last();
  for (const char candidate : {',', '\t', ';', '|'}) {
    CsvTokenizer tokenizer(candidate, options_.quoting);
    TokenBlock rows;
    // No row has 0 cells, so each is reported with its count. The rows are few: a long block of them is cut.
    tokenizer.scan(blocks_.view().substr(0, 1 << 16), all && blocks_.view().size() <= 1 << 16, 0, rows);
    std::size_t first = 0, equal = 0, total = 0;
    for (const FaultyRow& row : rows.faulty) {
      if (row.fault != RowFault::wrong_count) continue;
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

void CsvReader::enlarge() {
  if (longest_row_ < CsvTokenizer::max_block && blocks_.view().size() >= longest_row_) {
    fail_at(tokenizer_->line() + lines_before_body(),
            fmt::format("the row is longer than {} bytes, or a quote in it never closes", longest_row_));
  }
  blocks_.enlarge(origin_);
}

// Text of a cell without quotes and blanks around it; `scratch_` may hold it.
std::string_view CsvReader::cell_text(std::string_view block, const Cell& cell) {
  std::string_view text = block.substr(cell.begin, cell.length);
  if (cell.doubled) {
    undouble_quotes(text, scratch_);
    return scratch_;
  }
  return options_.trim && !cell.quoted ? trimmed(text) : text;
}

std::vector<std::string> CsvReader::wanted_columns() const {
  std::vector<std::string> wanted;
  for (const std::string* name : {&options_.target, &options_.source, &options_.time, &options_.weight}) {
    if (!name->empty()) wanted.push_back(*name);
  }
  wanted.insert(wanted.end(), options_.ignore.begin(), options_.ignore.end());
  for (const auto& [name, type] : options_.types) wanted.push_back(name);
  return wanted;
}

void CsvReader::read_header() {
  std::vector<Cell> cells;
  std::size_t bytes = 0;
  for (;;) {
    tokenizer_->restart();
    const auto row = tokenizer_->scan_first_row(blocks_.view(), blocks_.last(), max_columns + 1, cells, bytes);
    if (row == CsvTokenizer::FirstRow::found) break;
    if (row == CsvTokenizer::FirstRow::malformed) {
      fail_at(tokenizer_->line(), "the first row has an open quote or text after a closing quote");
    }
    if (blocks_.last()) fail_at(1, "there is no row");
    enlarge();
  }
  if (cells.size() > max_columns) fail_at(1, fmt::format("the first row has more than {} fields", max_columns));
  std::vector<std::string> names, positions;
  bool has_data = false;
  for (const Cell& cell : cells) {
    const std::string_view text = cell_text(blocks_.view(), cell);
    double number = 0;
    std::int64_t time = 0;
    has_data = has_data || parse_number(text.data(), text.data() + text.size(), number) || parse_timestamp(text, time);
    positions.push_back(fmt::format("c{}", positions.size() + 1));
    // A schema has a name for every column, so it is compared with what empty ones become.
    names.emplace_back(has_schema_ && text.empty() ? std::string_view(positions.back()) : text);
  }
  switch (options_.header) {
    case Header::present: has_header_ = true; break;
    case Header::absent: has_header_ = false; break;
    case Header::automatic: {
      const std::vector<std::string> wanted = wanted_columns();
      const auto all_in = [&](const std::vector<std::string>& known) {
        return !wanted.empty() && std::all_of(wanted.begin(), wanted.end(), [&](const std::string& name) {
          return std::find(known.begin(), known.end(), name) != known.end();
        });
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
      if (!is_clean_text(names[i])) fail_at(1, fmt::format("the name of column {} is not UTF-8 text", i + 1));
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

Builder& CsvReader::find_column(const std::string& name) {
  for (Builder& column : columns_) {
    if (column.spec.name == name) return column;
  }
  std::vector<std::string_view> known;
  for (const Builder& column : columns_) known.push_back(column.spec.name);
  fail(errc::not_found, fmt::format("{} has no column \"{}\"; nearest: {}{}", origin_, name, nearest_names(name, known),
                                    has_header_ ? "" : " (the first row was taken as data; see CsvOptions::header)"));
}

void CsvReader::set_role(const std::string& name, ColumnRole role) {
  if (name.empty()) return;
  Builder& column = find_column(name);
  if (column.spec.role != ColumnRole::feature && column.spec.role != role) {
    fail(errc::invalid_argument,
         fmt::format("column \"{}\" cannot be both {} and {}", name, to_string(column.spec.role), to_string(role)));
  }
  column.spec.role = role;
}

void CsvReader::force(Builder& column, ColumnType type, std::size_t max_distinct) {
  column.forced = true;
  column.kind = kind_of(type);
  column.max_distinct = max_distinct;
}

void CsvReader::assign_roles() {
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
void CsvReader::infer_kinds() {
  TokenBlock rows;
  std::size_t used = 0;
  for (;;) {
    tokenizer_->restart();
    used = tokenizer_->scan(blocks_.view(), blocks_.last(), columns_.size(), rows, sample_rows);
    if (used > 0 || blocks_.last()) break;
    enlarge();
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

Kind CsvReader::infer_kind(const TokenBlock& rows, std::size_t c) {
  std::size_t present = 0, numbers = 0, times = 0, bytes = 0;
  Dictionary distinct;
  for (std::size_t r = 0; r < rows.rows(); ++r) {
    const std::string_view text = cell_text(blocks_.view(), rows.cells[r * columns_.size() + c]);
    if (missing_.contains(text)) continue;
    double number = 0;
    std::int64_t time = 0;
    ++present;
    bytes += text.size();
    numbers += parse_number(text.data(), text.data() + text.size(), number);
    times += parse_timestamp(text, time);
    distinct.find_or_add(text);
  }
  columns_[c].mean_bytes = static_cast<double>(bytes) / static_cast<double>(std::max<std::size_t>(rows.rows(), 1));
  const auto most = [&](std::size_t count) {
    return static_cast<double>(present - count) <= bad_cell_share * static_cast<double>(present);
  };
  if (most(numbers)) return Kind::number;  // also without any cell
  if (most(times)) return Kind::time;
  const bool text = is_text(present, bytes, distinct.size(), options_.max_categories);
  return text ? Kind::text : Kind::dictionary;
}

// Back to the first data row.
void CsvReader::to_body() {
  tokenizer_->restart();
  blocks_.restart();
  // The header may be longer than a block.
  while (blocks_.view().size() < body_ && !blocks_.last()) blocks_.enlarge(origin_);
  blocks_.consume(std::min(body_, blocks_.view().size()));
}

template <class Use>
void CsvReader::each_block(Use use) {
  to_body();
  TokenBlock block;
  while (!blocks_.view().empty()) {
    const std::size_t used = tokenizer_->scan(blocks_.view(), blocks_.last(), columns_.size(), block);
    if (used == 0) {
      if (blocks_.last()) break;
      enlarge();
      continue;
    }
    use(block);
    blocks_.consume(used);
  }
}

// Reads the whole body, or the chosen rows, into the columns that are not skipped.
void CsvReader::read_pass(bool second) {
  // Reserved with room to spare: memory that is never touched costs nothing, growing means copying.
  const std::size_t expected = std::min(expected_rows_, blocks_.total_bytes() / columns_.size() + 2);
  for (Builder& column : columns_) column.reserve(expected, blocks_.total_bytes());
  if (!second) reserve_large(row_ids_, expected);
  std::size_t rows = 0;
  each_block([&](TokenBlock& block) {
    if (!chosen_.empty()) leave_chosen(block);
    for (std::size_t c = 0; c < columns_.size(); ++c) append(columns_[c], blocks_.view(), block, c, rows);
    if (!second) add_rows(block, rows);
    rows += block.rows();
  });
  if (second && rows != row_ids_.size()) {
    fail(errc::io_error, fmt::format("{} changed while it was being read", origin_));
  }
}

void CsvReader::add_rows(const TokenBlock& block, std::size_t first_row) {
  const std::uint64_t before = lines_before_body();
  for (std::size_t r = 0; r < block.rows(); ++r) {
    const std::uint64_t offset = block.lines[r] + before - (first_row + r);
    if (line_offsets_.empty() || line_offsets_.back().second != offset)
      line_offsets_.emplace_back(first_row + r, offset);
  }
  row_ids_.insert(row_ids_.end(), block.row_numbers.begin(), block.row_numbers.end());
  for (FaultyRow row : block.faulty) {
    row.line += before;
    faulty_.push_back(row);
  }
}

// A uniform choice by Floyd's algorithm (Bentley & Floyd, "A sample of brilliance", CACM 1987), and the first row of
// each target value.
void CsvReader::choose_rows(std::size_t rows, std::uint64_t seed) {
  std::size_t target = columns_.size();
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const bool values = columns_[c].forced && columns_[c].kind == Kind::number;
    if (columns_[c].spec.role == ColumnRole::target && !values) target = c;
  }
  Dictionary seen;
  std::uint64_t total = 0;
  bool numbers = true;
  each_block([&](const TokenBlock& block) {
    total += block.rows() + block.faulty.size();
    if (target == columns_.size()) return;
    for (std::size_t r = 0; r < block.rows() && seen.size() < most_target_values; ++r) {
      const Cell& cell = block.cells[r * columns_.size() + target];
      const std::string_view value = without_suffix(columns_[target], cell_text(blocks_.view(), cell));
      if (missing_.contains(value)) continue;
      const std::size_t before = seen.size();
      seen.find_or_add(value);
      if (seen.size() == before) continue;
      chosen_.push_back(block.row_numbers[r]);
      double number = 0;
      numbers = numbers && parse_number(value.data(), value.data() + value.size(), number);
    }
  });
  if (target < columns_.size() && columns_[target].inferred_target && numbers && seen.size() > max_class_numbers)
    chosen_.clear();  // a quantity
  if (total <= rows) {
    chosen_.clear();
    return;
  }
  Random random(seed);
  std::unordered_set<std::uint64_t> picked;
  for (std::uint64_t row = total - rows; row < total; ++row) {
    if (!picked.insert(random.below(row + 1)).second) picked.insert(row);
  }
  chosen_.insert(chosen_.end(), picked.begin(), picked.end());
  std::sort(chosen_.begin(), chosen_.end());
  chosen_.erase(std::unique(chosen_.begin(), chosen_.end()), chosen_.end());
  expected_rows_ = std::min(expected_rows_, chosen_.size());
}

// Of the rows of a block.
void CsvReader::leave_chosen(TokenBlock& block) const {
  const auto chosen = [&](std::uint64_t row) { return std::binary_search(chosen_.begin(), chosen_.end(), row); };
  const std::size_t stride = columns_.size();
  std::size_t left = 0;
  for (std::size_t r = 0; r < block.rows(); ++r) {
    if (!chosen(block.row_numbers[r])) continue;
    if (left != r)
      std::copy_n(block.cells.begin() + static_cast<std::ptrdiff_t>(r * stride), stride,
                  block.cells.begin() + static_cast<std::ptrdiff_t>(left * stride));
    block.row_numbers[left] = block.row_numbers[r];
    block.lines[left] = block.lines[r];
    ++left;
  }
  block.cells.resize(left * stride);
  block.row_numbers.resize(left);
  block.lines.resize(left);
  std::erase_if(block.faulty, [&](const FaultyRow& row) { return !chosen(row.row); });
}

void CsvReader::append(Builder& column, std::string_view text, const TokenBlock& block, std::size_t c,
                       std::size_t first_row) {
  const std::size_t rows = block.rows(), stride = columns_.size();
  if (rows == 0) return;
  const Cell* cells = block.cells.data() + c;
  switch (column.kind) {
    case Kind::skipped: return;
    case Kind::number: {
      column.numbers.resize(first_row + rows);
      double* out = column.numbers.data() + first_row;
      const bool ask_first = missing_.any_numeric() || !column.suffix.empty();
      std::size_t absent = 0;
      for (std::size_t r = 0; r < rows; ++r) {
        const Cell& cell = cells[r * stride];
        const char* const begin = text.data() + cell.begin;
        if (!ask_first && parse_number(begin, begin + cell.length, out[r])) continue;
        const std::string_view value = without_suffix(column, cell_text(text, cell));
        out[r] = std::nan("");
        if (missing_.contains(value)) {
          ++absent;
        } else if (!(ask_first && parse_number(value.data(), value.data() + value.size(), out[r]))) {
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
        if (!parse_timestamp(value, out)) {
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
      column.number_like += digit_of(first) <= 9 || first == '-' || first == '+' || first == '.';
      if (!block.plain && !is_clean_text(value)) {
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

void CsvReader::fail_too_many_classes(const Builder& column) const {
  fail(errc::type_mismatch,
       fmt::format("{}: target \"{}\" has more than {} different values, too many for classes; for numbers "
                   "ask for Task::regression",
                   origin_, column.spec.name, max_classes));
}

}  // namespace redoubt::detail
