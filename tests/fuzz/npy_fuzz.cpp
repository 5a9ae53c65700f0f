// Any bytes are an array (or a zip of arrays) or Error; an array survives writing and reading.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>

#include "redoubt/core/error.hpp"
#include "redoubt/data/npy.hpp"

namespace {

using namespace redoubt;

template <class Body>
void guard(Body body) {
  try {
    body();
  } catch (const Error& error) {
    if (error.code() != errc::corrupt && error.code() != errc::unsupported && error.code() != errc::type_mismatch)
      std::abort();
  }
}

void check(const Tensor<double>& values) {
  const Tensor<double> again = read_npy_bytes<double>(to_npy_bytes<double>(values));
  if (again.size() != values.size() || again.rank() != values.rank()) std::abort();
  if (values.size() > 0 && std::memcmp(again.data(), values.data(), values.size() * sizeof(double)) != 0) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  guard([&] { check(read_npy_bytes<double>(bytes)); });
  guard([&] { (void)read_npy_bytes<std::int32_t>(bytes); });
  guard([&] {
    const Npz archive = Npz::from_bytes({bytes.begin(), bytes.end()});
    for (const std::string& name : archive.names()) guard([&] { check(archive.get<double>(name)); });
  });
  return 0;
}
