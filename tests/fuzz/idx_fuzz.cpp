// Any bytes are an array or Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>

#include "redoubt/core/error.hpp"
#include "redoubt/data/idx.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  try {
    const redoubt::Tensor<double> values = redoubt::read_idx_bytes(std::as_bytes(std::span(data, size)));
    if (values.rank() == 0) std::abort();
  } catch (const redoubt::Error& error) {
    if (error.code() != redoubt::errc::corrupt && error.code() != redoubt::errc::unsupported) std::abort();
  }
  return 0;
}
