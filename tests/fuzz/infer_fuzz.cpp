// The parser of infer requests must answer any bytes with a request or an Error, within its limits.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "redoubt/core/error.hpp"
#include "serve/infer.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace redoubt;
  static const Schema schema({{"stars"},
                              {"country", ColumnType::categorical, ColumnRole::feature, {"de", "fr"}},
                              {"review", ColumnType::text},
                              {"when", ColumnType::timestamp}});
  static const Schema numbers({{"a"}, {"b"}});
  constexpr std::size_t max_rows = 1000;
  const std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const auto* columns : {&schema, &numbers}) try {
      const auto request = detail::parse_infer(body, *columns, max_rows);
      if (request.count() == 0 || request.count() > max_rows) std::abort();
      if (!request.raw && request.columns.cols() != columns->size()) std::abort();
    } catch (const Error&) {
    }
  return 0;
}
