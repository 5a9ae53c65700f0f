#pragma once
// What robust training objectives share: checks, and the box around a row.
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/nn/training_objective.hpp"
#include "redoubt/robustness/evasion/feature_rule.hpp"

namespace redoubt::detail {

/// Error(invalid_argument) for a unit or bounds that make no sense.
void check_rules(const std::vector<FeatureRule>& rules, std::string_view what);
/// For names: a hash of the rules; "" without rules.
std::string rules_text(const std::vector<FeatureRule>& rules);
/// Error(unsupported) unless there is one head of labels over all scores; Error(shape_mismatch) if the number of rules
/// is not that of the inputs.
void check_training(const Graph& graph, std::span<const LossHead> heads, const std::vector<FeatureRule>& rules,
                    std::string_view what);
/// Lowest and highest value of every column within the radius; encloses the row.
void box_around(std::span<const float> row, double radius, const std::vector<FeatureRule>& rules,
                std::span<float> lower, std::span<float> upper);

}  // namespace redoubt::detail
