#include "lifecycle/files.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {
namespace {

struct Descriptor {
  int fd = -1;
  ~Descriptor() {
    if (fd >= 0) ::close(fd);
  }
};

[[noreturn]] void fail_io(const std::string& path, const char* what) {
  const int code = errno;
  fail(code == ENOENT ? errc::not_found : errc::io_error,
       fmt::format("{}: cannot {}: {}", path, what, std::strerror(code)));
}

void sync_directory(const std::string& path) {
  const auto slash = path.rfind('/');
  Descriptor directory{
      ::open(slash == std::string::npos ? "." : path.substr(0, slash).c_str(), O_RDONLY | O_DIRECTORY)};
  if (directory.fd >= 0) ::fsync(directory.fd);
}

}  // namespace

void write_atomically(const std::string& path, std::span<const std::byte> bytes) {
  static std::atomic<unsigned> counter{0};
  const std::string temporary = fmt::format("{}.{}.{}.tmp", path, ::getpid(), counter.fetch_add(1));
  try {
    Descriptor file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)};
    if (file.fd < 0) fail_io(temporary, "create");
    for (std::size_t done = 0; done < bytes.size();) {
      const ssize_t n = ::write(file.fd, bytes.data() + done, bytes.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail_io(temporary, "write");
      done += static_cast<std::size_t>(n);
    }
    if (::fsync(file.fd) != 0) fail_io(temporary, "flush");
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail_io(path, "rename to");
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_directory(path);
}

std::vector<std::byte> read_whole(const std::string& path, std::size_t limit) {
  Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) fail_io(path, "open");
  struct stat info {};
  if (::fstat(file.fd, &info) != 0) fail_io(path, "examine");
  if (!S_ISREG(info.st_mode)) fail(errc::io_error, fmt::format("{}: not a regular file", path));
  if (static_cast<std::uint64_t>(info.st_size) > limit)
    fail(errc::invalid_argument, fmt::format("{}: {} bytes, but at most {} are read", path, info.st_size, limit));
  std::vector<std::byte> bytes(static_cast<std::size_t>(info.st_size));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = ::read(file.fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io(path, "read");
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  bytes.resize(done);
  return bytes;
}

}  // namespace redoubt::detail
