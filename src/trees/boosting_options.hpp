#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/trees/gradient_boosting.hpp"

namespace redoubt::detail {

/// Error(invalid_argument) naming the option and its value.
void check_boosting(const GradientBoostingOptions& options);
/// "trees=100 learning_rate=0.1 ...": the main ones, and of the others those that differ from their default.
std::string describe_boosting(const GradientBoostingOptions& options);

/// Rules about columns, by their number in the encoded matrix.
struct ColumnRules {
  std::vector<std::int8_t> monotone;
  std::vector<std::vector<std::uint32_t>> interactions;
};
/// Error(not_found) for a name that does not exist, Error(type_mismatch) for a monotone column that is not numeric.
ColumnRules rules_for(const GradientBoostingOptions& options, const Encoder& encoder);
/// Columns called f0, f1, ...
ColumnRules rules_for(const GradientBoostingOptions& options, std::span<const std::uint32_t> category_counts,
                      std::size_t cols);

}  // namespace redoubt::detail
