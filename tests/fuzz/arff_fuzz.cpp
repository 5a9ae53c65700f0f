// Any bytes are a dataset or Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "redoubt/core/error.hpp"
#include "redoubt/data/arff.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const bool no_target : {false, true}) {
    try {
      const redoubt::Dataset read = redoubt::read_arff_text(text, {.no_target = no_target});
      if (read.rows() == 0 || read.hash().empty()) std::abort();
    } catch (const redoubt::Error& error) {
      if (error.code() != redoubt::errc::parse_error && error.code() != redoubt::errc::unsupported) std::abort();
    }
  }
  return 0;
}
