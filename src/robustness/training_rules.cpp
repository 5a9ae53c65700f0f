#include "robustness/training_rules.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt::detail {

void check_rules(const std::vector<FeatureRule>& rules, std::string_view what) {
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const FeatureRule& rule = rules[i];
    if (!(rule.unit > 0) || !std::isfinite(rule.unit) || !(rule.lower <= rule.upper)) {
      fail(errc::invalid_argument,
           fmt::format("{}: rule {} has unit {} and range [{}, {}]; the unit must be finite and positive, the range in "
                       "order",
                       what, i, rule.unit, rule.lower, rule.upper));
    }
  }
}

std::string rules_text(const std::vector<FeatureRule>& rules) {
  if (rules.empty()) return "";
  std::string text;
  for (const FeatureRule& r : rules) text += fmt::format("{} {} {} {} {};", r.fixed, r.whole, r.lower, r.upper, r.unit);
  return " rules=" + sha256_hex(text).substr(0, 16);
}

void check_training(const Graph& graph, std::span<const LossHead> heads, const std::vector<FeatureRule>& rules,
                    std::string_view what) {
  const bool labels = heads.size() == 1 && heads[0].first == 0 && heads[0].size == graph.score_count() &&
                      heads[0].size >= 2 && heads[0].loss.kind <= LossKind::hinge;
  if (!labels) {
    fail(errc::unsupported, fmt::format("{}: needs one head of labels over all {} scores", what, graph.score_count()));
  }
  if (!rules.empty() && rules.size() != graph.inputs()) {
    fail(errc::shape_mismatch, fmt::format("{}: {} rules for {} columns", what, rules.size(), graph.inputs()));
  }
}

void box_around(std::span<const float> row, double radius, const std::vector<FeatureRule>& rules,
                std::span<float> lower, std::span<float> upper) {
  if (rules.empty()) {
    const auto r = static_cast<float>(radius);
    for (std::size_t i = 0; i < row.size(); ++i) lower[i] = row[i] - r, upper[i] = row[i] + r;
    return;
  }
  for (std::size_t i = 0; i < row.size(); ++i) {
    const FeatureRule& rule = rules[i];
    lower[i] = upper[i] = row[i];
    if (rule.fixed) continue;
    double low = std::max<double>(rule.lower, row[i] - radius * rule.unit);
    double high = std::min<double>(rule.upper, row[i] + radius * rule.unit);
    if (rule.whole) low = std::ceil(low), high = std::floor(high);
    lower[i] = std::min(row[i], static_cast<float>(low));
    upper[i] = std::max(row[i], static_cast<float>(high));
  }
}

}  // namespace redoubt::detail
