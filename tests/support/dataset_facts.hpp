#pragma once
// What tests of readers compare with the documented facts of a data set.
#include <cstdint>
#include <map>
#include <string>

#include "redoubt/data/dataset.hpp"

namespace redoubt::test {

/// Rows per class name; "missing" for rows without a label.
inline std::map<std::string, int> class_counts(const Dataset& data) {
  std::map<std::string, int> counts;
  for (const std::int32_t label : data.labels()) ++counts[label < 0 ? "missing" : data.classes()[label]];
  return counts;
}

/// Over all columns.
inline std::size_t missing_cells(const Dataset& data) {
  std::size_t missing = 0;
  for (std::size_t c = 0; c < data.cols(); ++c) {
    for (std::size_t row = 0; row < data.rows(); ++row) missing += data.column(c).missing(row);
  }
  return missing;
}

}  // namespace redoubt::test
