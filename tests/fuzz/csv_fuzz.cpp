// Any bytes are a dataset or Error; a dataset survives writing and reading, cell by cell.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "redoubt/core/error.hpp"
#include "redoubt/data/csv.hpp"

namespace {

void check(std::string_view text, const redoubt::CsvOptions& options) {
  using namespace redoubt;
  try {
    const Dataset data = read_csv_text(text, options);
    CsvOptions same;
    same.delimiter = ',';
    same.header = Header::present;
    same.missing = options.missing;
    for (const ColumnSpec& column : data.schema().columns()) same.types.emplace_back(column.name, column.type);
    const Dataset again = read_csv_text(write_csv_text(data), same);
    if (again.rows() != data.rows() || !again.quarantine().empty() || !(again.schema() == data.schema())) std::abort();
    for (std::size_t c = 0; c < data.cols(); ++c) {
      for (std::size_t row = 0; row < data.rows(); ++row) {
        if (again.column(c).to_text(row) != data.column(c).to_text(row)) std::abort();
      }
    }
  } catch (const Error& error) {
    if (error.code() != errc::parse_error && error.code() != errc::unsupported) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(text, {});
  check(text, {.delimiter = ',', .header = redoubt::Header::absent, .max_categories = 2});
  check(text, {.delimiter = '\t', .quoting = false, .trim = false, .missing = {"", "?"}});
  check(text, {.bad_rows = redoubt::BadRows::error});
  return 0;
}
