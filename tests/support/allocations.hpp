#pragma once
// What counting_allocator.hpp counts, for the other files of a test program whose one file includes that.
#include <atomic>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define REDOUBT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define REDOUBT_SANITIZED 1
#endif
#endif

namespace redoubt::test {

inline std::atomic<std::size_t> allocations{0};

}  // namespace redoubt::test
