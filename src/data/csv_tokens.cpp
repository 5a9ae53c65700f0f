#include "data/csv_tokens.hpp"

#include <bit>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace redoubt::detail {
namespace {

constexpr char quote = '"';

// The positions, in order, where something may happen.
class Marks {
 public:
  Marks(std::string_view text, char delimiter, bool quoting) : text_(text), delimiter_(delimiter), quoting_(quoting) {
    load();
  }

  /// Position of the next mark; the size of the text when there is none.
  [[gnu::always_inline]] std::size_t next() noexcept {
    while (mask_ == 0) {
      if (text_.size() - base_ <= 64) return text_.size();
      base_ += 64;
      load();
    }
    const auto bit = static_cast<std::size_t>(std::countr_zero(mask_));
    mask_ &= mask_ - 1;
    return base_ + bit;
  }

  /// The next call of next() gives a mark at `position` or later. Back only within the text.
  void seek(std::size_t position) noexcept {
    base_ = position - position % 64;
    if (base_ >= text_.size()) {
      mask_ = 0;
      return;
    }
    load();
    mask_ &= ~std::uint64_t{0} << position % 64;
  }

  bool plain() const noexcept { return !strange_; }

 private:
  void load() noexcept {
    if (text_.size() - base_ >= 64) {
      mask_ = find(text_.data() + base_);
    } else {
      alignas(16) char tail[64];
      std::memset(tail, ' ', sizeof tail);
      std::memcpy(tail, text_.data() + base_, text_.size() - base_);
      mask_ = find(tail);
      if (const auto left = text_.size() - base_; left < 64) mask_ &= (std::uint64_t{1} << left) - 1;
    }
  }

#if defined(__SSE2__)
  std::uint64_t find(const char* p) noexcept {
    const __m128i delimiter = _mm_set1_epi8(delimiter_), newline = _mm_set1_epi8('\n');
    const __m128i quotes = _mm_set1_epi8(quoting_ ? quote : '\n'), zero = _mm_setzero_si128();
    std::uint64_t mask = 0;
    __m128i strange = zero;
    for (int part = 0; part < 4; ++part) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16 * part));
      const __m128i hits = _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(bytes, delimiter), _mm_cmpeq_epi8(bytes, newline)),
                                        _mm_cmpeq_epi8(bytes, quotes));
      mask |= std::uint64_t{static_cast<std::uint16_t>(_mm_movemask_epi8(hits))} << (16 * part);
      strange = _mm_or_si128(strange, _mm_or_si128(bytes, _mm_cmpeq_epi8(bytes, zero)));
    }
    strange_ |= _mm_movemask_epi8(strange) != 0;  // the top bit is set by non-ASCII bytes and, above, by NUL
    return mask;
  }
#else
  std::uint64_t find(const char* p) noexcept {
    std::uint64_t mask = 0;
    for (int i = 0; i < 64; ++i) {
      const char c = p[i];
      const bool hit = c == delimiter_ || c == '\n' || (quoting_ && c == quote);
      mask |= std::uint64_t{hit} << i;
      strange_ |= c == 0 || (static_cast<unsigned char>(c) & 0x80) != 0;
    }
    return mask;
  }
#endif

  std::string_view text_;
  char delimiter_;
  bool quoting_, strange_ = false;
  std::size_t base_ = 0;
  std::uint64_t mask_ = 0;
};

struct RowEnd {
  enum Kind : std::uint8_t { complete, incomplete, faulty } kind;
  std::size_t next = 0;   // where the next row starts (complete, faulty)
  std::size_t lines = 1;  // line ends passed
  RowFault fault = RowFault::wrong_count;
  std::size_t field = 0;  // 1-based (faulty)
};

Cell make_cell(std::size_t begin, std::size_t end, bool quoted, bool doubled) {
  return {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(end - begin), quoted, doubled};
}

// Appends the cells of the row that starts at `begin`, `limit` at most; `marks` stands there. `count` is how many there
// are: a hostile row of delimiters must not cost eight times its size.
RowEnd scan_row(std::string_view text, bool last, char delimiter, Marks& marks, std::size_t begin, std::size_t limit,
                std::vector<Cell>& cells, std::size_t& count) {
  count = 0;
  const auto push = [&](std::size_t from, std::size_t to, bool quoted, bool doubled) __attribute__((always_inline)) {
    if (count++ < limit) cells.push_back(make_cell(from, to, quoted, doubled));
  };
  const char* const data = text.data();
  const std::size_t size = text.size();
  std::size_t start = begin, lines = 1;
  for (;;) {
    const std::size_t i = marks.next();
    if (i >= size) {
      if (!last) return {RowEnd::incomplete};
      push(start, size > start && data[size - 1] == '\r' ? size - 1 : size, false, false);
      return {RowEnd::complete, size, lines};
    }
    const char c = data[i];
    if (c == delimiter) {
      push(start, i, false, false);
      start = i + 1;
      continue;
    }
    if (c == '\n') {
      push(start, i > start && data[i - 1] == '\r' ? i - 1 : i, false, false);
      return {RowEnd::complete, i + 1, lines};
    }
    if (i != start) continue;  // a quote inside an unquoted cell
    bool doubled = false;
    std::size_t close = 0;
    for (;;) {
      close = marks.next();
      if (close >= size) {
        if (!last) return {RowEnd::incomplete};
        // Nothing after `begin` closes it: give up this line only.
        const void* end = std::memchr(data + begin, '\n', size - begin);
        const std::size_t next = end ? static_cast<std::size_t>(static_cast<const char*>(end) - data) + 1 : size;
        return {RowEnd::faulty, next, 1, RowFault::open_quote, count + 1};
      }
      if (data[close] == '\n') ++lines;
      if (data[close] != quote) continue;
      if (close + 1 == size && !last) return {RowEnd::incomplete};
      if (close + 1 == size || data[close + 1] != quote) break;
      marks.next();
      doubled = true;
    }
    push(start + 1, close, true, doubled);
    std::size_t after = close + 1;
    if (after < size && data[after] == '\r') {
      if (after + 1 == size && !last) return {RowEnd::incomplete};
      if (after + 1 == size || data[after + 1] == '\n') ++after;
    }
    if (after == size) return last ? RowEnd{RowEnd::complete, size, lines} : RowEnd{RowEnd::incomplete};
    if (data[after] == '\n') {
      marks.next();
      return {RowEnd::complete, after + 1, lines};
    }
    if (data[after] == delimiter) {
      marks.next();
      start = after + 1;
      continue;
    }
    std::size_t end = marks.next();
    while (end < size && data[end] != '\n') end = marks.next();
    if (end >= size && !last) return {RowEnd::incomplete};
    return {RowEnd::faulty, end < size ? end + 1 : size, lines, RowFault::text_after_quote, count};
  }
}

}  // namespace

std::size_t CsvTokenizer::scan(std::string_view block, bool last, std::size_t fields, TokenBlock& out,
                               std::size_t max_rows) {
  out.cells.clear();
  out.row_numbers.clear();
  out.lines.clear();
  out.faulty.clear();
  out.plain = true;
  if (block.empty()) return 0;
  Marks marks(block, delimiter_, quoting_);
  std::size_t begin = 0;
  while (begin < block.size() && out.rows() < max_rows) {
    const std::size_t first = out.cells.size();
    std::size_t found = 0;
    const RowEnd row = scan_row(block, last, delimiter_, marks, begin, fields + 1, out.cells, found);
    if (row.kind == RowEnd::incomplete) {
      out.cells.resize(first);
      break;
    }
    if (row.kind == RowEnd::faulty) {
      out.cells.resize(first);
      out.faulty.push_back({row_++, line_, row.field, found, row.fault});
      if (row.fault == RowFault::open_quote) marks.seek(row.next);
    } else if (found == 1 && out.cells[first].length == 0 && !out.cells[first].quoted) {
      out.cells.resize(first);  // a blank line
    } else if (found != fields) {
      out.cells.resize(first);
      out.faulty.push_back({row_++, line_, (found < fields ? found : fields) + 1, found, RowFault::wrong_count});
    } else {
      out.row_numbers.push_back(row_++);
      out.lines.push_back(line_);
    }
    line_ += row.lines;
    begin = row.next;
  }
  out.plain = marks.plain();
  return begin;
}

CsvTokenizer::FirstRow CsvTokenizer::scan_first_row(std::string_view block, bool last, std::size_t limit,
                                                    std::vector<Cell>& cells, std::size_t& bytes) {
  bytes = 0;
  if (block.empty()) return FirstRow::none;
  Marks marks(block, delimiter_, quoting_);
  while (bytes < block.size()) {
    cells.clear();
    std::size_t count = 0;
    const RowEnd row = scan_row(block, last, delimiter_, marks, bytes, limit, cells, count);
    if (row.kind == RowEnd::incomplete) return FirstRow::none;
    if (row.kind == RowEnd::faulty) return FirstRow::malformed;
    bytes = row.next;
    line_ += row.lines;
    if (count > 1 || cells[0].length > 0 || cells[0].quoted) return FirstRow::found;
  }
  return FirstRow::none;
}

void undouble_quotes(std::string_view cell, std::string& out) {
  out.clear();
  for (std::size_t i = 0; i < cell.size(); ++i) {
    out.push_back(cell[i]);
    if (cell[i] == quote && i + 1 < cell.size() && cell[i + 1] == quote) ++i;
  }
}

}  // namespace redoubt::detail
