#pragma once
// Counts every operator new of the program. Include it in one file of a test program only: it replaces the global
// operators. The sanitizers need their own, so there nothing is counted and REDOUBT_SANITIZED is defined.
#include <cstddef>
#include <cstdlib>
#include <new>

#include "support/allocations.hpp"

namespace redoubt::test {

// Not inlined, or GCC sees malloc freed by delete and warns.
[[gnu::noinline]] inline void* counted(std::size_t size, std::size_t alignment) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  void* result = alignment <= alignof(std::max_align_t)
                     ? std::malloc(size)
                     : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (!result) throw std::bad_alloc();
  return result;
}
[[gnu::noinline]] inline void uncounted(void* p) noexcept { std::free(p); }

}  // namespace redoubt::test

#if !defined(REDOUBT_SANITIZED)
void* operator new(std::size_t size) { return redoubt::test::counted(size, 1); }
void* operator new[](std::size_t size) { return redoubt::test::counted(size, 1); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return redoubt::test::counted(size, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return redoubt::test::counted(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* p) noexcept { redoubt::test::uncounted(p); }
void operator delete[](void* p) noexcept { redoubt::test::uncounted(p); }
void operator delete(void* p, std::size_t) noexcept { redoubt::test::uncounted(p); }
void operator delete[](void* p, std::size_t) noexcept { redoubt::test::uncounted(p); }
void operator delete(void* p, std::align_val_t) noexcept { redoubt::test::uncounted(p); }
void operator delete[](void* p, std::align_val_t) noexcept { redoubt::test::uncounted(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { redoubt::test::uncounted(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { redoubt::test::uncounted(p); }
#endif
