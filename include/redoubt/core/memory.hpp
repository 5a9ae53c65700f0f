#pragma once
#include <cstddef>
#include <new>
#include <vector>

namespace redoubt {

inline constexpr std::size_t tensor_alignment = 64;  ///< bytes: a cache line, a zmm register, an AMX tile row

namespace detail {

inline constexpr std::size_t huge_page = std::size_t{1} << 21;  ///< bytes

/// `bytes` made up to huge pages if they fill a quarter of one: for memory of which there are only a few pieces.
constexpr std::size_t whole_pages(std::size_t bytes) noexcept {
  return bytes < huge_page / 4 ? bytes : (bytes + huge_page - 1) / huge_page * huge_page;
}

/// Memory aligned to `tensor_alignment`; from half of `huge_page` bytes on aligned to that, with the advice to use huge
/// pages (MADV_HUGEPAGE), for its end only if that fills most of one. Reading what lies in pages of 4 KiB waits for
/// their addresses, too, in virtual machines twice: steps of training took 1.05 to 1.3 times as long there.
/// Throws std::bad_alloc.
void* allocate_pages(std::size_t bytes);
void free_pages(void* pages, std::size_t bytes) noexcept;  ///< `bytes` as they were asked for

/// Of the memory above.
template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) noexcept {}  // NOLINT: implicit as allocators are
  T* allocate(std::size_t n) { return static_cast<T*>(allocate_pages(n * sizeof(T))); }
  void deallocate(T* p, std::size_t n) noexcept { free_pages(p, n * sizeof(T)); }
  bool operator==(const AlignedAllocator&) const = default;
};

/// Values that arise without arguments stay uninitialised.
template <class T>
struct PageAllocator : AlignedAllocator<T> {
  PageAllocator() = default;
  template <class U>
  PageAllocator(const PageAllocator<U>&) noexcept {}  // NOLINT
  template <class U, class... Args>
  void construct(U* p, Args&&... args) {
    if constexpr (sizeof...(Args) == 0)
      ::new (static_cast<void*>(p)) U;
    else
      ::new (static_cast<void*>(p)) U(static_cast<Args&&>(args)...);
  }
};

template <class T>
using AlignedVector = std::vector<T, AlignedAllocator<T>>;
template <class T>
using PageVector = std::vector<T, PageAllocator<T>>;  ///< not cleared

}  // namespace detail
}  // namespace redoubt
