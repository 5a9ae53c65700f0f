#pragma once
#include <cstdint>
#include <vector>

#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// Strong outliers by an isolation forest (Liu, Ting, Zhou 2008) over the encoded features. Unusual is not poisoned:
/// it warns and never blocks by itself.
struct Outliers {
  static constexpr std::string_view id = "outliers";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::features;

  int trees = 100;
  double cut = 5.0;  ///< a row is flagged if its score is so many robust standard deviations above the median
  std::uint64_t seed = 0;

  void update(const Batch& batch);
  void merge(const Outliers& other);
  /// Row scores: the forest's score, in (0, 1).
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  std::size_t width_ = 0;
  std::vector<float> features_;
  std::vector<RowId> ids_;
};

}  // namespace redoubt
