#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/csv_blocks.hpp"
#include "data/csv_column.hpp"
#include "data/csv_tokens.hpp"
#include "redoubt/data/csv.hpp"

namespace redoubt::detail {

/// The longest row, in bytes, where memory must not grow with the file.
inline constexpr std::size_t longest_streamed_row = std::size_t{16} << 20;

/// Consecutive rows of a CSV file.
struct CsvPiece {
  Dataset features;            ///< no rows: the end
  std::vector<float> targets;  ///< one per row: class codes or values
};

/// One CSV file: its form and header, then either the whole, a sample, or piece by piece. `blocks`, `options` and
/// `origin` must outlive it.
class CsvReader {
 public:
  CsvReader(Blocks& blocks, const CsvOptions& options, const std::string& origin)
      : blocks_(blocks), options_(options), origin_(origin), missing_(options.missing) {}

  Dataset read();
  /// As `read_csv_sample`.
  Dataset sample(std::size_t rows, std::uint64_t seed);

  /// Ready for `next`. `schema` has a target; `options` give each of its columns the type and role that it has there.
  /// `features`: the columns that are wanted, all in `schema`. `number_classes`: a target cell that is no number makes
  /// its row bad, as it does where numbers were found to be classes.
  void begin(const Schema& schema, const Schema& features, bool number_classes);
  /// Good rows that `next` does not give.
  void leave_out(std::vector<RowId> rows);
  /// The next rows, `most` at most. Bad ones are left out and counted, or Error(parse_error), as `options` say; more
  /// bad than good ones until the end are Error(parse_error).
  CsvPiece next(std::size_t most);
  /// `next` starts at the first row again.
  void restart();
  std::uint64_t bad_rows() const noexcept { return bad_rows_; }                         ///< that `next` left out
  const std::vector<QuarantinedRow>& first_bad() const noexcept { return first_bad_; }  ///< some of them

 private:
  static constexpr std::size_t max_classes = 65536;

  [[noreturn]] void fail_at(std::uint64_t line, const std::string& what) const;

  // The halves of a whole reading: form, roles and likely types, then rows and their dataset.
  void infer();
  Dataset rest();

  // The form of the file.
  void open();
  void check_encoding();
  char sniff_delimiter() const;
  std::string_view cell_text(std::string_view block, const Cell& cell);
  std::vector<std::string> wanted_columns() const;
  void read_header();
  void enlarge();  // the block, for a row that does not fit

  // Columns.
  Builder& find_column(const std::string& name);
  void set_role(const std::string& name, ColumnRole role);
  void force(Builder& column, ColumnType type, std::size_t max_distinct = static_cast<std::size_t>(-1));
  void assign_roles();
  void infer_kinds();
  Kind infer_kind(const TokenBlock& rows, std::size_t c);

  // Rows.
  void choose_rows(std::size_t rows, std::uint64_t seed);
  void leave_chosen(TokenBlock& block) const;
  void to_body();
  template <class Use>
  void each_block(Use use);
  void read_pass(bool second);
  void add_rows(const TokenBlock& block, std::size_t first_row);
  void append(Builder& column, std::string_view text, const TokenBlock& block, std::size_t c, std::size_t first_row);
  [[noreturn]] void fail_too_many_classes(const Builder& column) const;
  std::uint64_t lines_before_body() const noexcept { return has_header_ ? header_lines_ - 1 : 0; }

  // After the first pass.
  void settle_types();
  bool convert_to_numbers(Builder& column);
  bool convert_to_times(Builder& column);
  template <class Change>
  bool adopt(Builder& column, std::vector<BadCell>& bad, Change change);
  void settle_target(Builder& column, bool maybe_numbers);
  void make_dictionary(Builder& column);

  // Bad rows and the result.
  std::uint64_t line_of(std::size_t row) const;
  std::string describe(const FaultyRow& row) const;
  std::string describe(const Builder& column, CellFault fault) const;
  std::vector<QuarantinedRow> bad_rows_of(std::vector<bool>& dropped, std::size_t& kept);
  Dataset finish();
  CsvPiece piece();
  std::vector<float> target_values(const std::vector<bool>& dropped) const;

  Blocks& blocks_;
  const CsvOptions& options_;
  const std::string& origin_;
  MissingTokens missing_;
  std::unique_ptr<CsvTokenizer> tokenizer_;
  std::vector<Builder> columns_;
  bool has_schema_ = false, has_header_ = false;
  std::size_t body_ = 0;            // bytes before the first data row
  std::uint64_t header_lines_ = 1;  // line after the header
  std::size_t longest_row_ = CsvTokenizer::max_block;
  std::size_t expected_rows_ = 0;
  std::vector<std::uint64_t> chosen_;  // sorted numbers of the data rows that are read; none: all
  std::vector<RowId> row_ids_;
  std::vector<std::pair<std::size_t, std::uint64_t>> line_offsets_;  // from this row on: line - row
  std::vector<FaultyRow> faulty_;
  std::string scratch_;

  // Piece by piece.
  std::vector<std::size_t> wanted_;  // columns
  std::size_t target_ = 0;
  std::unordered_map<std::string, float> classes_;
  bool number_classes_ = false;
  std::vector<RowId> left_out_;  // sorted
  std::size_t at_ = 0;           // where the next row starts in the block
  TokenBlock rows_;
  std::uint64_t good_rows_ = 0, bad_rows_ = 0;
  std::vector<QuarantinedRow> first_bad_;
};

}  // namespace redoubt::detail
