// Any bytes are a forest or Error; a forest survives being written as LightGBM text, and predicts.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/interop/lightgbm.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/forest.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace redoubt;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto expected = [](const Error& error) {
    return error.code() == errc::parse_error || error.code() == errc::unsupported;
  };
  try {
    const auto forest = read_lightgbm_forest_text(text);
    std::vector<float> row(forest->inputs(), 1.0f), out(forest->outputs()), scratch(forest->scratch_size());
    forest->predict(row, out, scratch);
    const auto again = read_lightgbm_forest_text(write_lightgbm_text(*forest));
    if (again->inputs() != forest->inputs() || again->outputs() != forest->outputs()) std::abort();
  } catch (const Error& error) {
    if (!expected(error)) std::abort();
  }
  try {
    if (read_lightgbm_text(text).inputs() == 0) std::abort();
  } catch (const Error& error) {
    if (!expected(error)) std::abort();
  }
  return 0;
}
