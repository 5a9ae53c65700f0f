#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace redoubt::detail {

/// A file open for reading. Errors name the path: not_found, io_error.
class InputFile {
 public:
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  bool regular() const noexcept { return regular_; }
  std::size_t size() const noexcept { return size_; }  ///< of a regular file, when it was opened
  /// Fills as much of `buffer` as the file has left; 0 at its end.
  std::size_t read(std::span<char> buffer);
  void rewind();

 private:
  std::string path_;
  int fd_ = -1;
  bool regular_ = false;
  std::size_t size_ = 0;
};

/// The whole file or pipe; Error(unsupported) beyond `limit` bytes.
std::vector<std::byte> read_whole_file(const std::string& path, std::size_t limit = std::size_t{1} << 36);
std::string read_whole_text(const std::string& path, std::size_t limit = std::size_t{1} << 36);

/// Elements of a dense array whose header has been read: `shape` of `item`-byte elements that must fill the file from
/// byte `start` to its end, `size`, exactly. Error(corrupt) naming `start`; nothing is allocated, no product overflows.
std::size_t element_count(std::span<const std::size_t> shape, std::size_t item, std::size_t size, std::size_t start,
                          std::string_view origin);

}  // namespace redoubt::detail
