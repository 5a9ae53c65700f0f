#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// Rows whose label the trees of a random forest that did not see them deny: Data-OOB (Kwon and Zou, "Data-OOB:
/// Out-of-bag Estimate as a Simple and Efficient Data Value", ICML 2023), which values a row by the share of those
/// trees that give its label. Warns, and names the rows for which another label has more of these trees beyond chance.
/// Needs no scales, and takes missing features as they are; codes of categories are split as numbers. Cost: one forest
/// (`RandomForest`, whose `oob_correct` are the values themselves). Rows that are hard by nature are named, too.
struct DataOob {
  static constexpr std::string_view id = "data_oob";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::labels | Need::features;

  int trees = 200;     ///< at least 10; each leaves out about 37 rows in 100
  int max_depth = 0;   ///< 0: unlimited
  double cut = 1.645;  ///< flagged: so many standard errors more trees for another label (one-sided 5 %); positive
  std::uint64_t seed = 0;

  void update(const Batch& batch);
  void merge(const DataOob& other);
  /// The score of a row is one minus its value, Data-OOB's.
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  std::size_t width_ = 0;
  std::vector<std::string> names_;
  std::vector<float> features_;
  std::vector<std::int32_t> labels_;
  std::vector<RowId> ids_;
};

}  // namespace redoubt
