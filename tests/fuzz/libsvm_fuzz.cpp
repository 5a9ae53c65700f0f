// Any bytes are a dataset or Error, dense and sparse.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "redoubt/core/error.hpp"
#include "redoubt/data/libsvm.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    const redoubt::Dataset read = redoubt::read_libsvm_text(text, {.max_cells = 1 << 16});
    if (read.rows() == 0 || read.hash().empty()) std::abort();
  } catch (const redoubt::Error& error) {
    if (error.code() != redoubt::errc::parse_error && error.code() != redoubt::errc::unsupported) std::abort();
  }
  try {
    const redoubt::SparseDataset read = redoubt::read_libsvm_sparse_text(text, {.weights = true});
    const std::size_t rows = read.rows();
    if (rows == 0 || read.labels.size() + read.targets.size() != rows || read.weights.size() != rows) std::abort();
    if (read.row_offsets.back() != read.values.size() || read.columns.size() != read.values.size()) std::abort();
    for (std::size_t r = 0; r < rows; ++r)
      for (std::uint64_t i = read.row_offsets[r]; i < read.row_offsets[r + 1]; ++i)
        if (read.columns[i] >= read.cols || (i > read.row_offsets[r] && read.columns[i] <= read.columns[i - 1]))
          std::abort();
  } catch (const redoubt::Error& error) {
    if (error.code() != redoubt::errc::parse_error) std::abort();
  }
  return 0;
}
