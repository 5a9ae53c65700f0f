#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace redoubt::detail {

/// Where a cell is in its block. 30 bits of length: a block is shorter than 1 GiB.
struct Cell {
  std::uint32_t begin;
  std::uint32_t length : 30;
  std::uint32_t quoted : 1;   ///< it stood in quotes (which are outside of it)
  std::uint32_t doubled : 1;  ///< it contains doubled quotes
};

enum class RowFault : std::uint8_t { wrong_count, text_after_quote, open_quote };

/// A row that is no row of the table.
struct FaultyRow {
  std::uint64_t row;   ///< number of the data row
  std::uint64_t line;  ///< 1-based, where it starts
  std::size_t field;   ///< 1-based
  std::size_t found;   ///< fields seen (wrong_count)
  RowFault fault;
};

/// Cells of the complete rows of one block: row r is cells[r * fields, (r + 1) * fields).
struct TokenBlock {
  std::vector<Cell> cells;
  std::vector<std::uint64_t> row_numbers;  ///< of the data rows, bad ones counted
  std::vector<std::uint64_t> lines;        ///< where each row starts
  std::vector<FaultyRow> faulty;
  bool plain = true;  ///< every byte is ASCII and not NUL
  std::size_t rows() const noexcept { return row_numbers.size(); }
};

/// Cuts delimited text into cells, block by block. Looks at 64 bytes at once for delimiters, line ends and quotes (SSE2
/// where there is, portable words elsewhere), so that plain cell bytes cost next to nothing.
class CsvTokenizer {
 public:
  static constexpr std::size_t max_block = (std::size_t{1} << 30) - 1;

  CsvTokenizer(char delimiter, bool quoting) : delimiter_(delimiter), quoting_(quoting) {}

  /// Replaces `out` by the rows that end inside `block` and returns the bytes they take; the rest must start the next
  /// block. With `last` the end of the block ends the last row. Rows with another number of cells than `fields`
  /// are faulty. `max_rows` rows at most are taken.
  std::size_t scan(std::string_view block, bool last, std::size_t fields, TokenBlock& out,
                   std::size_t max_rows = static_cast<std::size_t>(-1));

  enum class FirstRow : std::uint8_t { found, none, malformed };
  /// The first `limit` cells of the first non-blank row and the bytes up to its end, blank lines before it included.
  /// `none` if no row ends in `block`. Counts lines, not data rows.
  FirstRow scan_first_row(std::string_view block, bool last, std::size_t limit, std::vector<Cell>& cells,
                          std::size_t& bytes);

  void restart() noexcept {
    row_ = 0;
    line_ = 1;
  }
  std::uint64_t line() const noexcept { return line_; }  ///< of the next row

 private:
  char delimiter_;
  bool quoting_;
  std::uint64_t row_ = 0, line_ = 1;
};

/// `""` becomes `"`.
void undouble_quotes(std::string_view cell, std::string& out);

}  // namespace redoubt::detail
