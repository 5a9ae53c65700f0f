#include <span>
#include <string>
#include <string_view>

#include "data/atomic_file.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/csv.hpp"

namespace redoubt {
namespace {

void append_cell(std::string& out, std::string_view cell, char delimiter) {
  // Blanks at the ends need quotes too: a reader may trim unquoted cells.
  bool quotes =
      !cell.empty() && (cell.front() == ' ' || cell.front() == '\t' || cell.back() == ' ' || cell.back() == '\t');
  // So that a name which starts with a byte order mark is not taken for one.
  quotes = quotes || cell.starts_with("\xef\xbb\xbf");
  for (const char c : cell) quotes = quotes || c == delimiter || c == '"' || c == '\n' || c == '\r';
  if (!quotes) {
    out.append(cell);
    return;
  }
  out.push_back('"');
  for (const char c : cell) {
    if (c == '"') out.push_back('"');
    out.push_back(c);
  }
  out.push_back('"');
}

}  // namespace

std::string write_csv_text(const Dataset& data, char delimiter) {
  if (delimiter == '"' || delimiter == '\n' || delimiter == '\r') {
    detail::fail(errc::invalid_argument, "the delimiter may not be a line end or a quote");
  }
  std::string out;
  for (std::size_t c = 0; c < data.cols(); ++c) {
    if (c > 0) out.push_back(delimiter);
    append_cell(out, data.schema()[c].name, delimiter);
  }
  out.push_back('\n');
  for (std::size_t row = 0; row < data.rows(); ++row) {
    const std::size_t start = out.size();
    for (std::size_t c = 0; c < data.cols(); ++c) {
      if (c > 0) out.push_back(delimiter);
      append_cell(out, data.column(c).to_text(row), delimiter);
    }
    if (out.size() == start) out.append("\"\"");  // a blank line would be no row
    out.push_back('\n');
  }
  return out;
}

void write_csv(const Dataset& data, const std::string& path, char delimiter) {
  const std::string text = write_csv_text(data, delimiter);
  detail::write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace redoubt
