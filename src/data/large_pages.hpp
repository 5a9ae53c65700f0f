#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>

#include "redoubt/core/memory.hpp"

namespace redoubt::detail {

/// Reserves a vector or string and asks for large pages behind it: filling fresh memory in 4 KiB pages costs a third of
/// the time of reading a large file. Only advice; where the system has none of them, nothing changes.
template <class Container>
void reserve_large(Container& container, std::size_t count) {
  container.reserve(count);
#if defined(MADV_HUGEPAGE)
  const auto begin = reinterpret_cast<std::uintptr_t>(container.data());
  const std::uintptr_t end = begin + count * sizeof(typename Container::value_type);
  const std::uintptr_t first = (begin + huge_page - 1) / huge_page * huge_page, last = end / huge_page * huge_page;
  if (first < last) ::madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);
#endif
}

}  // namespace redoubt::detail
