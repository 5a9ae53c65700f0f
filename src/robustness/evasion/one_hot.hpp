#pragma once
// Groups of columns that hold exactly one 1.
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/robustness/evasion/attack.hpp"

namespace redoubt::detail {

/// Bounds of a row tell what may happen to its groups: columns that may hold the 1 have [0, 1], the others what they
/// hold. A group of a row that does not hold one 1 and zeros (an unknown category) stays as it is.
class OneHotGroups {
 public:
  explicit OneHotGroups(const AttackOptions& options);
  bool empty() const noexcept { return groups_.empty(); }
  /// Sets the bounds of the columns of groups: a change of category moves two columns by 1.
  void bound(std::span<const float> origin, std::span<float> lower, std::span<float> upper) const;
  /// The 1 goes to the largest value among the columns that may hold it, of equal ones to where it was in `origin`.
  /// Changes whose squares, in units, exceed `budget` are taken back, those by little first. Returns their sum.
  double snap(std::span<const float> origin, std::span<const float> lower, std::span<const float> upper, double budget,
              std::span<float> x) const;
  /// Sets x so that `snap` takes the category to which the gradient points, the clearest first.
  void follow(std::span<const float> origin, std::span<const float> lower, std::span<const float> upper,
              std::span<const float> gradient, std::span<float> x) const;

 private:
  std::size_t held(const std::vector<std::uint32_t>& group, std::span<const float> origin) const noexcept;
  double unit(std::size_t column) const noexcept { return options_.rules[column].unit; }
  double cost(std::size_t from, std::size_t to) const noexcept;

  const AttackOptions& options_;
  std::vector<std::vector<std::uint32_t>> groups_;
};

}  // namespace redoubt::detail
