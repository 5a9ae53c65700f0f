#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// Rows whose label is not the most frequent one among their k nearest other rows (Peri et al., "Deep k-NN Defense
/// against Clean-label Data Poisoning Attacks", ECCV workshops 2020). Meant for features that a network or a forest has
/// learned; plain features serve where near means alike. Warns, and names the rows, which the paper drops. Labels that
/// tie with the most frequent one are not named. Scales and missing values as in `KnnShapley`.
struct DeepKnn {
  static constexpr std::string_view id = "deep_knn";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::labels | Need::features;

  int k = 20;          ///< at least 1; fewer rows than that: all the others
  bool scaled = true;  ///< scale the columns to deviation 1; false keeps the distances of an embedding

  void update(const Batch& batch);
  void merge(const DeepKnn& other);
  /// The score of a row is the share of the most frequent label among its neighbours, minus that of its own.
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  std::size_t width_ = 0;
  std::vector<std::string> names_;
  std::vector<float> features_;
  std::vector<std::int32_t> labels_;
  std::vector<RowId> ids_;
};

}  // namespace redoubt
