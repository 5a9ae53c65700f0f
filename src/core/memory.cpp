#include "redoubt/core/memory.hpp"

#include <sys/mman.h>

#include <algorithm>

namespace redoubt::detail {
namespace {

/// Rounded: an end that fills less than half of a huge page would be memory that nobody needs. 0: small memory.
std::size_t huge_pages(std::size_t bytes) noexcept { return (bytes + huge_page / 2) / huge_page * huge_page; }

std::align_val_t alignment_of(std::size_t bytes) noexcept {
  return std::align_val_t{huge_pages(bytes) == 0 ? tensor_alignment : huge_page};
}

}  // namespace

void* allocate_pages(std::size_t bytes) {
  const std::size_t huge = huge_pages(bytes);
  void* const pages = ::operator new(std::max(bytes, huge), alignment_of(bytes));
#if defined(MADV_HUGEPAGE)
  if (huge > 0) ::madvise(pages, huge, MADV_HUGEPAGE);
#endif
  return pages;
}

void free_pages(void* pages, std::size_t bytes) noexcept { ::operator delete(pages, alignment_of(bytes)); }

}  // namespace redoubt::detail
