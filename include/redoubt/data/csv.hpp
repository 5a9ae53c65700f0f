#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "redoubt/data/dataset.hpp"

namespace redoubt {

/// What happens to a row that cannot be read.
enum class BadRows : std::uint8_t {
  quarantine,  ///< left out, and listed with its reason in Dataset::quarantine()
  error        ///< Error(parse_error) naming file, line, field and reason
};

enum class Header : std::uint8_t {
  automatic,  ///< the first row is a header unless one of its cells is a number or a date
  present,
  absent  ///< columns are named c1, c2, ...
};

/// How to read delimited text. All names are matched exactly; an unknown one is Error(not_found) that names the
/// nearest.
///
/// Column types, unless given in `types`: a column is *numeric* if at least 99 % of its non-missing cells are finite
/// decimal numbers, else a *timestamp* if 99 % are ISO 8601 dates or times; the rows of the remaining cells are
/// quarantined. Any other column is *text* if its values are long (more than 64 bytes on average), or longer than 24
/// bytes and mostly different (more than a fifth) in the first 256 KiB of the file, or if it has more than
/// `max_categories` values; else *categorical* with sorted names.
/// The target: at most 20 distinct whole numbers are classes with the names as written; other numbers are regression;
/// strings are classes. The source is always categorical. The time column may also hold numbers since 1970
/// (seconds, milli-, micro- or nanoseconds, told apart by their size).
struct CsvOptions {
  std::string target = {};               ///< column to predict; empty: none
  std::string source = {};               ///< column that says who supplied the row
  std::string time = {};                 ///< column that says when the row arose
  std::string weight = {};               ///< column of sample weights; rows without a finite one >= 0 are bad
  std::vector<std::string> ignore = {};  ///< columns that are carried along but never features
  std::vector<std::pair<std::string, ColumnType>> types = {};  ///< types that are not inferred
  Task task = Task::none;                                      ///< what the target means; none: see above
  char delimiter = 0;                                          ///< 0: the best of , tab ; | on the first rows
  Header header = Header::automatic;
  bool quoting = true;  ///< false: quotes are ordinary characters and fields cannot hold line ends
  bool trim = true;     ///< blanks and tabs around unquoted cells are not part of them
  /// Cells that mean "no value", compared after trimming.
  std::vector<std::string> missing = {"", "NA", "N/A", "NaN", "nan", "null", "NULL", "?"};
  std::size_t max_categories = 256;  ///< feature columns with more distinct values become text
  std::string target_suffix = {};    ///< cut from target cells that end in it: "." for the UCI file adult.test
  BadRows bad_rows = BadRows::quarantine;
};

/// Reads a delimited text file (RFC 4180: quotes, doubled quotes, line ends inside quotes; also CRLF, a byte order
/// mark, no final line end). The first row gives the names; repeated names are Error(parse_error), empty ones become
/// c1, c2, ... by position. Row ids count the data rows of the file from 0, bad ones included; blank lines are not
/// rows.
///
/// Bad rows: another number of fields than the header; text after a closing quote; a quote that never closes (reading
/// resumes on the next line); a cell that is no number or time in such a column; NUL or invalid UTF-8 in a text cell;
/// no usable weight. A quote inside an unquoted cell is an ordinary character. If more than half of the
/// rows are bad, Error(parse_error) with the first reason: most likely an option is wrong.
///
/// Numbers are rounded correctly. One thread; reads in blocks, so memory holds the columns and not the file.
/// Error(io_error / not_found) if the file cannot be read, Error(parse_error) if it has no row.
Dataset read_csv(const std::string& path, const CsvOptions& options = {});

/// The same for text in memory; `origin` stands for the file name in messages.
Dataset read_csv_text(std::string_view text, const CsvOptions& options = {}, const std::string& origin = "text");

/// About `rows` rows of a file that need not fit in memory, in its order, with their row ids; all, as `read_csv`, if
/// there are no more. Every row is equally likely; besides, the first row of each of the first 1000 different target
/// values is there, unless it is bad, so that no class is absent (not of a target that is a quantity). Types and
/// categories are those of the sample alone: give what it may misjudge in `types`. Passes over the file two or three
/// times; memory is that of the sample. A row may have 16 MiB. Throws what `read_csv` does, and Error(unsupported) for
/// pipes, Error (invalid_argument) for 0 rows.
Dataset read_csv_sample(const std::string& path, const CsvOptions& options = {}, std::size_t rows = 100'000,
                        std::uint64_t seed = 0);

/// Writes header and rows in the order of the dataset: quotes where needed, numbers in the shortest form that reads
/// back to the same bits, times as ISO 8601, missing cells empty. Replaces the file atomically. Error(io_error).
void write_csv(const Dataset& data, const std::string& path, char delimiter = ',');

/// The same into a string.
std::string write_csv_text(const Dataset& data, char delimiter = ',');

}  // namespace redoubt
