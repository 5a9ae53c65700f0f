#pragma once
#include <cstddef>
#include <new>

namespace redoubt::detail {

/// Memory of the calling thread, kept for its next piece of work of the same User (any type): aligned to 64 bytes,
/// holding anything. More than `most_kept` bytes are given back at once. A thread that waits inside its work may be
/// given another piece, which then gets memory of its own.
template <class User>
class KeptMemory {
 public:
  KeptMemory(std::size_t bytes, std::size_t most_kept) : kept_(!mine.taken && bytes <= most_kept) {
    if (!kept_ || mine.size < bytes) {
      data_ = static_cast<unsigned char*>(::operator new(bytes, alignment));
      if (kept_) {
        ::operator delete(mine.data, alignment);
        mine.data = data_, mine.size = bytes;
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
      ::operator delete(data_, alignment);
  }
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;
  unsigned char* data() const noexcept { return data_; }

 private:
  static constexpr std::align_val_t alignment{64};
  struct Kept {
    unsigned char* data = nullptr;
    std::size_t size = 0;
    bool taken = false;
    ~Kept() { ::operator delete(data, alignment); }
  };
  static inline thread_local Kept mine;

  unsigned char* data_;
  bool kept_;
};

}  // namespace redoubt::detail
