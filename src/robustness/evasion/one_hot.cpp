#include "robustness/evasion/one_hot.hpp"

#include <algorithm>
#include <map>

namespace redoubt::detail {
namespace {
constexpr std::size_t none = ~std::size_t{0};
}

OneHotGroups::OneHotGroups(const AttackOptions& options) : options_(options) {
  std::map<int, std::vector<std::uint32_t>> found;
  for (std::size_t c = 0; c < options.rules.size(); ++c)
    if (const int group = options.rules[c].group; group > 0) found[group].push_back(static_cast<std::uint32_t>(c));
  for (auto& entry : found) groups_.push_back(std::move(entry.second));
}

/// The column that holds the 1, or none.
std::size_t OneHotGroups::held(const std::vector<std::uint32_t>& group, std::span<const float> origin) const noexcept {
  std::size_t column = none;
  for (const auto c : group) {
    if (origin[c] == 0) continue;
    if (origin[c] != 1 || column != none) return none;
    column = c;
  }
  return column;
}

double OneHotGroups::cost(std::size_t from, std::size_t to) const noexcept {
  return 1 / (unit(from) * unit(from)) + 1 / (unit(to) * unit(to));
}

void OneHotGroups::bound(std::span<const float> origin, std::span<float> lower, std::span<float> upper) const {
  const bool linf = options_.norm == AttackNorm::linf;
  const auto moves = [&](std::size_t c) {
    const FeatureRule& r = options_.rules[c];
    return !r.fixed && r.lower <= 0 && r.upper >= 1 && 1 / r.unit <= options_.radius;
  };
  for (const auto& group : groups_) {
    const std::size_t from = held(group, origin);
    for (const auto c : group) lower[c] = upper[c] = origin[c];
    if (from == none || !moves(from)) continue;
    bool any = false;
    for (const auto c : group)
      if (c != from && moves(c) && (linf || cost(from, c) <= options_.radius * options_.radius))
        lower[c] = 0, upper[c] = 1, any = true;
    if (any) lower[from] = 0, upper[from] = 1;
  }
}

double OneHotGroups::snap(std::span<const float> origin, std::span<const float> lower, std::span<const float> upper,
                          double budget, std::span<float> x) const {
  struct Change {
    std::size_t from, to;
    float by;
  };
  std::vector<Change> changes;
  for (const auto& group : groups_) {
    const std::size_t from = held(group, origin);
    std::size_t best = from;
    if (from != none && lower[from] < upper[from])
      for (const auto c : group)
        if (lower[c] < upper[c] && x[c] > x[best]) best = c;
    if (best != from) changes.push_back({from, best, x[best] - x[from]});
    for (const auto c : group) x[c] = origin[c];
  }
  std::stable_sort(changes.begin(), changes.end(), [](const Change& a, const Change& b) { return a.by > b.by; });
  double spent = 0;
  for (const Change& change : changes) {
    const double by = cost(change.from, change.to);
    if (spent + by > budget) continue;
    spent += by;
    x[change.from] = 0;
    x[change.to] = 1;
  }
  return spent;
}

void OneHotGroups::follow(std::span<const float> origin, std::span<const float> lower, std::span<const float> upper,
                          std::span<const float> gradient, std::span<float> x) const {
  for (const auto& group : groups_) {
    const std::size_t from = held(group, origin);
    if (from == none || !(lower[from] < upper[from])) continue;
    // Seen from the row's own category: from it to c, the loss grows by the difference of the slopes.
    for (const auto c : group) x[c] = gradient[c] - gradient[from];
  }
}

}  // namespace redoubt::detail
