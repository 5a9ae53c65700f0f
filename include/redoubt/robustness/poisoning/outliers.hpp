#pragma once
#include <cstdint>
#include <vector>

#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// How unusual a row is; see outlier_scores.hpp for all but the first.
enum class OutlierMethod : std::uint8_t {
  isolation_forest,  ///< Liu, Ting, Zhou 2008
  ecod,
  hbos,
  knn,             ///< 5 neighbours; columns are scaled to deviation 1
  lof,             ///< 20 neighbours; columns are scaled to deviation 1
  robust_distance  ///< FastMCD
};
const char* to_string(OutlierMethod method) noexcept;  ///< "robust_distance"

/// Strong outliers among the encoded features. Unusual is not poisoned: it warns and never blocks by itself.
/// For all methods but the isolation forest NaN and infinite values count as the mean of their column.
struct Outliers {
  static constexpr std::string_view id = "outliers";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::features;

  OutlierMethod method = OutlierMethod::isolation_forest;
  int trees = 100;   ///< of the isolation forest
  double cut = 5.0;  ///< a row is flagged if its score is so many robust standard deviations above the median
  std::uint64_t seed = 0;

  void update(const Batch& batch);
  void merge(const Outliers& other);
  /// Row scores: the method's; the forest's is in (0, 1).
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  std::size_t width_ = 0;
  std::vector<float> features_;
  std::vector<RowId> ids_;
};

}  // namespace redoubt
