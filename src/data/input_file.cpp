#include "data/input_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {

InputFile::InputFile(const std::string& path) : path_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  if (fd_ < 0) {
    const int reason = errno;
    fail(reason == ENOENT ? errc::not_found : errc::io_error,
         fmt::format("cannot open {}: {}", path, std::strerror(reason)));
  }
  struct ::stat status = {};
  const bool known = ::fstat(fd_, &status) == 0;
  if (known && S_ISDIR(status.st_mode)) {
    ::close(fd_);
    fail(errc::io_error, fmt::format("{} is a directory, not a file", path));
  }
  regular_ = known && S_ISREG(status.st_mode);
  if (regular_) size_ = static_cast<std::size_t>(status.st_size);
#ifdef POSIX_FADV_SEQUENTIAL
  ::posix_fadvise(fd_, 0, 0, POSIX_FADV_SEQUENTIAL);
#endif
}

InputFile::~InputFile() { ::close(fd_); }

std::size_t InputFile::read(std::span<char> buffer) {
  std::size_t filled = 0;
  while (filled < buffer.size()) {
    const ::ssize_t n = ::read(fd_, buffer.data() + filled, buffer.size() - filled);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(errc::io_error, fmt::format("cannot read {}: {}", path_, std::strerror(errno)));
    if (n == 0) break;
    filled += static_cast<std::size_t>(n);
  }
  return filled;
}

void InputFile::rewind() {
  if (::lseek(fd_, 0, SEEK_SET) != 0) {
    fail(errc::io_error, fmt::format("cannot read {} a second time: {}", path_, std::strerror(errno)));
  }
}

namespace {

template <class Container>
Container slurp(const std::string& path, std::size_t limit) {
  InputFile file(path);
  Container content;
  const auto too_large = [&] {
    fail(errc::unsupported, fmt::format("{} holds more than the {} bytes that may be read", path, limit));
  };
  if (file.size() > limit) too_large();
  std::size_t used = 0;
  content.resize(file.regular() ? file.size() + 1 : std::size_t{1} << 16);
  for (;;) {
    const std::size_t n = file.read({reinterpret_cast<char*>(content.data()) + used, content.size() - used});
    used += n;
    if (used > limit) too_large();
    if (used < content.size()) break;
    content.resize(content.size() * 2);
  }
  content.resize(used);
  return content;
}

}  // namespace

std::vector<std::byte> read_whole_file(const std::string& path, std::size_t limit) {
  return slurp<std::vector<std::byte>>(path, limit);
}

std::string read_whole_text(const std::string& path, std::size_t limit) { return slurp<std::string>(path, limit); }

std::size_t element_count(std::span<const std::size_t> shape, std::size_t item, std::size_t size, std::size_t start,
                          std::string_view origin) {
  std::size_t count = 1, bounded = item;
  bool overflow = false;
  for (const std::size_t extent : shape) {
    overflow = overflow || __builtin_mul_overflow(bounded, std::max<std::size_t>(extent, 1), &bounded);
    count *= extent;
  }
  const std::size_t there = size - start;
  if (overflow || count != there / item || there % item != 0) {
    fail(errc::corrupt, fmt::format("{}: byte {}: shape ({}) of {}-byte elements does not fit the {} bytes that follow",
                                    origin, start, fmt::join(shape, ", "), item, there));
  }
  return count;
}

}  // namespace redoubt::detail
