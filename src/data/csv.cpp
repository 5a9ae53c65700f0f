#include "redoubt/data/csv.hpp"

#include <fmt/format.h>

#include "data/csv_blocks.hpp"
#include "data/csv_reader.hpp"
#include "data/input_file.hpp"
#include "redoubt/core/error.hpp"

namespace redoubt {

Dataset read_csv(const std::string& path, const CsvOptions& options) {
  detail::InputFile file(path);
  if (!file.regular()) return read_csv_text(detail::read_whole_text(path), options, path);
  detail::Blocks blocks(file);
  return detail::CsvReader(blocks, options, path).read();
}

Dataset read_csv_text(std::string_view text, const CsvOptions& options, const std::string& origin) {
  detail::Blocks blocks(text);
  return detail::CsvReader(blocks, options, origin).read();
}

Dataset read_csv_sample(const std::string& path, const CsvOptions& options, std::size_t rows, std::uint64_t seed) {
  if (rows < 1) detail::fail(errc::invalid_argument, fmt::format("{}: a sample of 0 rows", path));
  detail::InputFile file(path);
  if (!file.regular()) {
    detail::fail(errc::unsupported, fmt::format("{} is no regular file; a sample is read in several passes", path));
  }
  detail::Blocks blocks(file);
  return detail::CsvReader(blocks, options, path).sample(rows, seed);
}

}  // namespace redoubt
