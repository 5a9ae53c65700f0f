#pragma once
// Which column says what a row is about.
#include <fmt/format.h>

#include <string>

#include "redoubt/core/error.hpp"
#include "redoubt/data/dataset.hpp"

namespace redoubt::detail {

/// Column `by`, which must be categorical (Error(type_mismatch) names `option`); for an empty name the categorical
/// feature or ignored column with most categories, schema().size() if there is none.
inline std::size_t item_column(const Dataset& data, const std::string& by, const char* option) {
  const Schema& schema = data.schema();
  if (!by.empty()) {
    const std::size_t c = schema.at(by);
    if (schema[c].type != ColumnType::categorical)
      fail(errc::type_mismatch,
           fmt::format("{}: column '{}' is {}, not categorical", option, by, to_string(schema[c].type)));
    return c;
  }
  std::size_t chosen = schema.size();
  for (std::size_t c = 0; c < schema.size(); ++c)
    if (schema[c].type == ColumnType::categorical &&
        (schema[c].role == ColumnRole::feature || schema[c].role == ColumnRole::ignore) &&
        (chosen == schema.size() || schema[c].categories.size() > schema[chosen].categories.size()))
      chosen = c;
  return chosen;
}

}  // namespace redoubt::detail
