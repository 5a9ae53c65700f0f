#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// What each training row is worth to a k-nearest-neighbour classifier: its exact Shapley value, where a set of rows is
/// worth the share of a query's min(k, size) nearest (of k) that have its label, averaged over the queries (Jia et al.,
/// "Efficient Task-Specific Data Valuation for Nearest Neighbor Algorithms", VLDB 2019). Low: mislabelled or harmful.
/// The values sum to the worth of all rows. Distances are Euclidean in fp32, equal ones by lower row: scale the columns
/// first. O(queries * rows * (cols + log rows)); same result at any thread count. Error(shape_mismatch) names both
/// sizes, Error(invalid_argument) k = 0, no queries, or the first NaN or infinite value.
std::vector<double> knn_shapley(MatrixView<const float> x, std::span<const std::int32_t> labels,
                                MatrixView<const float> queries, std::span<const std::int32_t> query_labels,
                                std::size_t k = 10, Arena* arena = nullptr);

/// The same as a check: every row is valued by the others (a choice of them if they are many). Warns, and names the
/// rows whose value is negative beyond chance. Features are scaled to deviation 1; missing ones count as the mean of
/// their column. Give it features in which near means alike: one-hot or learned, not codes of categories.
struct KnnShapley {
  static constexpr std::string_view id = "knn_shapley";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::labels | Need::features;

  int k = 10;                      ///< at least 1
  double cut = 1.645;              ///< flagged: so many standard errors below zero (one-sided 5 %); positive
  std::size_t max_queries = 2000;  ///< rows that value the others, drawn at random; 0: all
  std::uint64_t seed = 0;

  void update(const Batch& batch);
  void merge(const KnnShapley& other);
  /// The score of a row is minus its value, times the number of rows.
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  std::size_t width_ = 0;
  std::vector<std::string> names_;
  std::vector<float> features_;
  std::vector<std::int32_t> labels_;
  std::vector<RowId> ids_;
};

}  // namespace redoubt
