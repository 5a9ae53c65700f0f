// Any bytes, JSON or UBJ, are a forest that predicts, or Error.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/interop/xgboost.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/forest.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace redoubt;
  const auto bytes = std::as_bytes(std::span(data, size));
  for (const bool best : {false, true}) {
    try {
      const auto forest = read_xgboost_forest_bytes(bytes, {.best_iteration = best});
      std::vector<float> row(forest->inputs(), 1.0f), out(forest->outputs()), scratch(forest->scratch_size());
      forest->predict(row, out, scratch);
      if (read_xgboost_bytes(bytes, {.best_iteration = best}).inputs() != forest->inputs()) std::abort();
    } catch (const Error& error) {
      if (error.code() != errc::corrupt && error.code() != errc::unsupported) std::abort();
    }
  }
  return 0;
}
