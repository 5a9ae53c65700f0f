#include "redoubt/core/memory.hpp"

#include <catch2/catch.hpp>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

using namespace redoubt;
using detail::huge_page;

namespace {

bool aligned(const void* p, std::size_t alignment) { return reinterpret_cast<std::uintptr_t>(p) % alignment == 0; }

/// What the kernel was told about the mapping of `p`: the VmFlags of smaps.
std::string flags_of(const void* p) {
  const auto address = reinterpret_cast<std::uintptr_t>(p);
  std::ifstream smaps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(smaps, line);) {
    std::uintptr_t first = 0, last = 0;
    char dash = 0;
    std::istringstream range(line);
    if (range >> std::hex >> first >> dash >> last && dash == '-') inside = first <= address && address < last;
    if (inside && line.starts_with("VmFlags:")) return line + ' ';
  }
  return {};
}

}  // namespace

TEST_CASE("memory of which there are few pieces is made up to huge pages", "[memory]") {
  STATIC_REQUIRE(detail::whole_pages(0) == 0);
  STATIC_REQUIRE(detail::whole_pages(huge_page / 4 - 1) == huge_page / 4 - 1);
  STATIC_REQUIRE(detail::whole_pages(huge_page / 4) == huge_page);
  STATIC_REQUIRE(detail::whole_pages(huge_page) == huge_page);
  STATIC_REQUIRE(detail::whole_pages(huge_page + 1) == 2 * huge_page);
}

TEST_CASE("memory is aligned to cache lines, large memory to huge pages", "[memory]") {
  for (const std::size_t bytes : {std::size_t{1}, std::size_t{4096}, huge_page / 2 - 1, huge_page / 2, huge_page - 1,
                                  huge_page, huge_page + 1, 3 * huge_page / 2, 5 * huge_page + 12345}) {
    INFO(bytes << " bytes");
    void* const p = detail::allocate_pages(bytes);
    CHECK(aligned(p, bytes < huge_page / 2 ? tensor_alignment : huge_page));
    std::memset(p, 1, bytes);
    detail::free_pages(p, bytes);
  }
}

TEST_CASE("the system is asked for huge pages", "[memory]") {
  if (!std::filesystem::exists("/sys/kernel/mm/transparent_hugepage/enabled")) {
    WARN("this kernel has no transparent huge pages");
    return;
  }
  void* const p = detail::allocate_pages(3 * huge_page);
  const std::string flags = flags_of(static_cast<char*>(p) + 2 * huge_page);
  detail::free_pages(p, 3 * huge_page);
  CAPTURE(flags);
  CHECK(flags.find(" hg ") != std::string::npos);
}

TEST_CASE("vectors of either allocator hold their values through growth", "[memory]") {
  const auto grows = [](auto values) {
    for (unsigned i = 0; i < 1'000'000; ++i) values.push_back(i);  // past a huge page
    bool kept = true;
    for (unsigned i = 0; i < values.size(); ++i) kept = kept && values[i] == i;
    CHECK(kept);
    CHECK(aligned(values.data(), huge_page));
    const auto copy = values;
    CHECK(copy == values);
  };
  grows(detail::AlignedVector<unsigned>());
  grows(detail::PageVector<unsigned>());
  CHECK(detail::AlignedVector<float>(100) == detail::AlignedVector<float>(100, 0.0f));  // cleared
  CHECK(detail::PageVector<int>(3, 7) == detail::PageVector<int>{7, 7, 7});
}
