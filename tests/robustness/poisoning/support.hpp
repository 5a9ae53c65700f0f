#pragma once
// Small datasets for the tests of the poisoning checks.
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"

namespace redoubt::test {

inline Column numeric(const std::string& name, std::vector<double> values, ColumnRole role = ColumnRole::feature) {
  return {{name, ColumnType::numeric, role, {}}, std::move(values), {}, {}, {}};
}
inline Column categorical(const std::string& name, std::vector<std::string> categories, std::vector<std::int32_t> codes,
                          ColumnRole role = ColumnRole::feature) {
  return {{name, ColumnType::categorical, role, std::move(categories)}, {}, std::move(codes), {}, {}};
}
inline Column text(const std::string& name, const std::vector<std::string>& values) {
  Column column{{name, ColumnType::text, ColumnRole::feature, {}}, {}, {}, {}, {}};
  for (const auto& v : values) column.texts.push_back(v);
  return column;
}
inline Column timestamps(std::vector<std::int64_t> times) {
  return {{"when", ColumnType::timestamp, ColumnRole::time, {}}, {}, {}, {}, std::move(times)};
}

}  // namespace redoubt::test
