#pragma once
#include <cstddef>

#include "redoubt/core/memory.hpp"

namespace redoubt::detail {

/// Memory of the calling thread, kept for its next piece of work of the same User (any type): aligned to 64 bytes,
/// in huge pages if it is large, holding anything. More than `most_kept` bytes are given back at once. A thread that
/// waits inside its work may be given another piece, which then gets memory of its own.
template <class User>
class KeptMemory {
 public:
  KeptMemory(std::size_t bytes, std::size_t most_kept)
      : bytes_(whole_pages(bytes)), kept_(!mine.taken && bytes <= most_kept) {
    if (!kept_ || mine.size < bytes) {
      data_ = static_cast<unsigned char*>(allocate_pages(bytes_));
      if (kept_) {
        mine.release();
        mine.data = data_, mine.size = bytes_;
      }
    } else {
      data_ = mine.data;
    }
    if (kept_) mine.taken = true;
  }
  ~KeptMemory() {
    if (kept_)
      mine.taken = false;
    else
      free_pages(data_, bytes_);
  }
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;
  unsigned char* data() const noexcept { return data_; }

 private:
  struct Kept {
    unsigned char* data = nullptr;
    std::size_t size = 0;
    bool taken = false;
    void release() noexcept {
      if (data) free_pages(data, size);
    }
    ~Kept() { release(); }
  };
  static inline thread_local Kept mine;

  std::size_t bytes_;
  unsigned char* data_;
  bool kept_;
};

}  // namespace redoubt::detail
