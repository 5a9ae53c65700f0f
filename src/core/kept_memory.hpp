#pragma once
#include <cstddef>

#include "redoubt/core/memory.hpp"

namespace redoubt::detail {

/// Memory of the calling thread, kept for its next piece of work of the same User (any type): aligned to 64 bytes, in
/// huge pages if it is large, holding anything. More than `most_kept` bytes are given back at once. A thread that waits
/// inside its work may be given another piece, which then gets memory of its own.
template <class User>
class KeptMemory {
 public:
  KeptMemory(std::size_t bytes, std::size_t most_kept) {
    Kept& kept = mine;  // looked up once: it costs a call
    if (kept.taken || bytes > most_kept) {
      own_ = whole_pages(bytes);
      data_ = static_cast<unsigned char*>(allocate_pages(own_));
      return;
    }
    if (!kept.data || kept.size < bytes) kept.grow(whole_pages(bytes));
    kept.taken = true;
    kept_ = &kept, data_ = kept.data;
  }
  ~KeptMemory() {
    if (kept_)
      kept_->taken = false;
    else
      free_pages(data_, own_);
  }
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;
  unsigned char* data() const noexcept { return data_; }

 private:
  struct Kept {
    unsigned char* data = nullptr;
    std::size_t size = 0;
    bool taken = false;
    void grow(std::size_t bytes) {
      auto* const larger = static_cast<unsigned char*>(allocate_pages(bytes));
      release();
      data = larger, size = bytes;
    }
    void release() noexcept {
      if (data) free_pages(data, size);
    }
    ~Kept() { release(); }
  };
  static inline thread_local Kept mine;

  Kept* kept_ = nullptr;  // whose memory this is, or null
  std::size_t own_ = 0;
  unsigned char* data_;
};

}  // namespace redoubt::detail
