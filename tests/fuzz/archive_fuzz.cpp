// Any bytes either are an archive that survives writing and reading again, or Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "redoubt/core/error.hpp"
#include "redoubt/data/archive.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const auto archive = redoubt::Archive::from_bytes(std::as_bytes(std::span(data, size)));
    const auto again = redoubt::Archive::from_bytes(archive.to_bytes());
    if (again.content_hash() != archive.content_hash()) std::abort();
    for (const auto& [key, value] : archive.strings()) {
      try {
        archive.get_list(key);
      } catch (const redoubt::Error&) {  // most strings are no lists
      }
    }
  } catch (const redoubt::Error& error) {
    if (error.code() != redoubt::errc::corrupt && error.code() != redoubt::errc::unsupported) std::abort();
  }
  return 0;
}
