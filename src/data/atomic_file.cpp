#include "data/atomic_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <utility>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {
namespace {

/// A temporary file that disappears unless `keep` was called.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& target) : target_(target) {
    static std::atomic<unsigned> serial{0};
    // O_EXCL never follows a link that somebody planted; a name left over by a killed process is skipped.
    for (int attempt = 0; attempt < 100; ++attempt) {
      path_ = fmt::format("{}.tmp.{}.{}", target, ::getpid(), serial.fetch_add(1));
      fd_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (fd_ >= 0 || errno != EEXIST) break;
    }
    if (fd_ < 0) fail_errno("cannot create", path_);
  }
  ~TemporaryFile() {
    if (fd_ >= 0) ::close(fd_);
    if (!kept_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  void write(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
      const ::ssize_t n = ::write(fd_, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) fail_errno("cannot write", path_);
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    }
    if (::fsync(fd_) != 0) fail_errno("cannot flush", path_);
  }

  void rename() {
    if (::close(std::exchange(fd_, -1)) != 0) fail_errno("cannot close", path_);
    if (::rename(path_.c_str(), target_.c_str()) != 0) fail_errno("cannot replace", target_);
    kept_ = true;
  }

 private:
  [[noreturn]] void fail_errno(const char* what, const std::string& path) const {
    const int reason = errno;
    fail(errc::io_error, fmt::format("{} {}: {}; {} was left as it was", what, path, std::strerror(reason), target_));
  }

  std::string target_, path_;
  int fd_ = -1;
  bool kept_ = false;
};

}  // namespace

void write_file_atomically(const std::string& path, std::span<const std::byte> bytes) {
  TemporaryFile file(path);
  file.write(bytes);
  file.rename();
  // The rename itself survives a power cut only once the directory is on disk. A file system that cannot do
  // that says so here; the new file is complete either way.
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC); fd >= 0) {
    ::fsync(fd);
    ::close(fd);
  }
}

}  // namespace redoubt::detail
