#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>
#include <utility>

#include "redoubt/core/error.hpp"
#include "redoubt/data/libsvm.hpp"
#include "redoubt/data/row_stream.hpp"

namespace redoubt {
namespace {

constexpr std::size_t longest_line = std::size_t{16} << 20;

}  // namespace

struct LibsvmRowStream::File {
  std::ifstream stream;
  std::string text, line;
  std::uint64_t lines = 0;  // read so far

  void open(const std::string& path) {
    stream = std::ifstream(path, std::ios::binary);
    lines = 0;
    if (!stream) detail::fail(errc::not_found, fmt::format("{}: cannot be opened", path));
  }
  /// The next line that holds a row, with its end; false at the end of the file.
  bool next(const std::string& path) {
    while (true) {
      line.clear();
      int c = 0;
      std::streambuf& buffer = *stream.rdbuf();
      while ((c = buffer.sbumpc()) != std::char_traits<char>::eof() && c != '\n') {
        if (line.size() == longest_line) {
          detail::fail(errc::parse_error,
                       fmt::format("{}: line {} is longer than {} bytes", path, lines + 1, longest_line));
        }
        line.push_back(static_cast<char>(c));
      }
      if (line.empty() && c == std::char_traits<char>::eof()) return false;
      ++lines;
      const std::size_t first = line.find_first_not_of(" \t\r");
      if (first != std::string::npos && line[first] != '#') return true;
      text.push_back('\n');  // so that errors name the right line
    }
  }
};

LibsvmRowStream::LibsvmRowStream(std::string path, std::size_t inputs, bool from_zero)
    : path_(std::move(path)), inputs_(inputs), from_zero_(from_zero), file_(nullptr) {
  if (inputs < 1 || inputs >= std::numeric_limits<std::uint32_t>::max())
    detail::fail(errc::invalid_argument, fmt::format("{}: {} inputs, must be 1 .. 2^32 - 2", path_, inputs));
  File first;
  first.open(path_);
  file_ = new File(std::move(first));
}

LibsvmRowStream::~LibsvmRowStream() { delete file_; }

void LibsvmRowStream::rewind() { file_->open(path_); }

std::size_t LibsvmRowStream::read(MatrixView<float> rows, MatrixView<float> targets) {
  if (rows.cols() != inputs_ || targets.cols() != 1 || rows.rows() != targets.rows()) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("{}: {} x {} rows and {} x {} targets are wanted; rows have {} values and targets 1",
                             path_, rows.rows(), rows.cols(), targets.rows(), targets.cols(), inputs_));
  }
  file_->text.clear();
  std::size_t count = 0;
  const std::uint64_t before = file_->lines;
  for (; count < rows.rows() && file_->next(path_); ++count) file_->text.append(file_->line).push_back('\n');
  if (count == 0) return 0;
  const std::size_t most = from_zero_ ? inputs_ - 1 : inputs_;
  const SparseDataset found = read_libsvm_sparse_text(
      file_->text, {.task = Task::regression, .features = most, .max_index = most, .bad_rows = BadRows::error},
      fmt::format("{} (from line {})", path_, before + 1));
  for (std::size_t r = 0; r < count; ++r) {
    const auto to = rows.row(r);
    std::fill(to.begin(), to.end(), 0.0f);
    for (auto i = found.row_offsets[r]; i < found.row_offsets[r + 1]; ++i) {
      const std::size_t column = found.columns[i];
      if (!from_zero_ && column == 0) {
        detail::fail(errc::parse_error, fmt::format("{}: an index is 0, but indices were said to count from 1", path_));
      }
      to[from_zero_ ? column : column - 1] = found.values[i];
    }
    targets(r, 0) = static_cast<float>(found.targets[r]);
  }
  return count;
}

}  // namespace redoubt
