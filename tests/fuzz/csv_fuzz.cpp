// Any bytes are a dataset or Error; a dataset survives writing and reading, cell by cell. What a file is as a whole it
// is as a stream.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/data/csv_stream.hpp"

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

/// A file without a folder.
const std::string& file_of(std::string_view text) {
  static const int file = ::memfd_create("csv", MFD_CLOEXEC);
  static const std::string path = "/proc/self/fd/" + std::to_string(file);
  if (::ftruncate(file, 0) != 0 || ::pwrite(file, text.data(), text.size(), 0) < 0) std::abort();
  return path;
}

/// The stream of a file has the rows of `whole`, encoded.
void check_stream(const std::string& path, const redoubt::CsvOptions& options, std::size_t step) {
  using namespace redoubt;
  Dataset whole;
  Encoder encoder;
  EncoderOptions encoding;
  encoding.text_dims = 4;
  try {
    whole = read_csv(path, options);
    encoder = Encoder::fit(whole, encoding);
  } catch (const Error&) {
    return;
  }
  if (whole.task() == Task::none) return;
  const Tensor<float> expected = encoder.apply(whole);
  std::vector<float> targets;
  if (whole.task() == Task::classification) {
    for (const std::int32_t label : whole.labels()) targets.push_back(label < 0 ? NAN : static_cast<float>(label));
  } else {
    for (const double y : whole.targets()) targets.push_back(static_cast<float>(y));
  }
  const bool missing = std::any_of(targets.begin(), targets.end(), [](float y) { return y != y; });
  try {
    CsvRowStream stream(path, whole.schema(), encoder, options);
    Tensor<float> x({step, encoder.width()}), y({step, std::size_t{1}});
    std::size_t at = 0;
    while (const std::size_t got = stream.read(x, y)) {
      if (at + got > targets.size()) std::abort();
      for (std::size_t r = 0; r < got; ++r, ++at) {
        if (y(r, 0) != targets[at]) std::abort();
        if (std::memcmp(x.row(r).data(), expected.row(at).data(), encoder.width() * sizeof(float)) != 0) std::abort();
      }
    }
    if (missing || at != targets.size() || stream.quarantined() != whole.quarantine().size()) std::abort();
  } catch (const Error& error) {
    if (!missing || error.code() != errc::parse_error) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(text, {});
  check(text, {.delimiter = ',', .header = redoubt::Header::absent, .max_categories = 2});
  check(text, {.delimiter = '\t', .quoting = false, .trim = false, .missing = {"", "?"}});
  check(text, {.bad_rows = redoubt::BadRows::error});
  const std::string& path = file_of(text);
  const redoubt::CsvOptions positions{.target = "c1", .header = redoubt::Header::absent, .max_categories = 3};
  check_stream(path, positions, 1);
  // The last column by its name, if that is plain.
  const std::string_view first = text.substr(0, text.find_first_of("\r\n"));
  const std::size_t comma = first.find_last_of(",;\t|");
  check_stream(path, {.target = std::string(first.substr(comma + 1))}, 3);
  return 0;
}
