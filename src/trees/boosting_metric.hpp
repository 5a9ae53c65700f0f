#pragma once
// What early stopping watches.
#include <memory>
#include <string>
#include <vector>

#include "redoubt/trees/forest.hpp"
#include "trees/boosting_data.hpp"

namespace redoubt::detail {

/// Metrics over fixed rows of one target.
class MetricSet {
 public:
  /// `loss` decides what no names mean. Error(invalid_argument) for a metric that does not fit the target.
  MetricSet(const GradientBoostingOptions& options, const TreeTarget& y, std::vector<std::uint32_t> rows,
            ForestLink link, std::size_t outputs);
  const std::vector<std::string>& names() const noexcept { return names_; }
  bool higher_is_better(std::size_t metric) const;
  /// scores: entry k * stride + row.
  std::vector<double> evaluate(const float* scores, std::size_t stride) const;
  std::span<const std::uint32_t> rows() const noexcept { return rows_; }

 private:
  double weight(std::uint32_t r) const noexcept { return y_.weights.empty() ? 1.0 : y_.weights[r]; }
  template <class F>
  double mean(const F& loss_of_row) const;
  double one(const std::string& name, const float* scores, std::size_t stride) const;
  double of_numbers(std::string_view name, const float* scores) const;
  double of_classes(std::string_view name, const float* scores, std::size_t stride) const;
  double of_queries(std::string_view name, std::size_t depth, const float* scores) const;

  const GradientBoostingOptions& options_;
  const TreeTarget& y_;
  std::vector<std::uint32_t> rows_;
  ForestLink link_;
  std::size_t outputs_;
  std::vector<std::string> names_;
  QueryGroups groups_;
};

}  // namespace redoubt::detail
