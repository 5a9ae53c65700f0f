#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

struct RatingShiftOptions {
  std::string by;                      ///< categorical column of the items; empty: the one with most categories
  std::size_t min_rows = 8;            ///< shortest run, at least 3; items with fewer than twice so many are not judged
  double min_shift = 0.3;              ///< the share of the label must have risen so much, in [0, 1]
  double false_discovery_rate = 0.01;  ///< share of wrongly named items (Benjamini-Hochberg), in (0, 1)
};

/// A time in which an item got other labels than before and after.
struct RatingShift {
  std::int32_t item = 0;            ///< code in the column of the items
  std::int32_t label = 0;           ///< that became frequent
  std::vector<std::uint32_t> rows;  ///< positions of the rows with that label in that time, in order of time
  std::size_t run = 0;              ///< rows about the item in that time
  double share = 0;                 ///< of the label in that time
  double usual = 0;                 ///< of the label in the item's other rows
  double hours = 0;                 ///< from the first to the last row
  double q_value = 1;               ///< over all items
};

/// Items whose labels changed for a while: a bought row of five-star reviews, a brigade of one-star ones. For every
/// item the rows are scanned in time order, in runs of growing length, for one in which a label is more frequent than
/// in the rest of the item: an exact test (hypergeometric), corrected for the runs and labels looked at in the item
/// (Bonferroni), then Benjamini-Hochberg over the items. It needs no model of how popular an item is, and an item that
/// always was liked is not named; nor is a campaign that gives an item what it mostly gets anyway. One shift per item,
/// the clearest; most certain first. O(rows log rows) per label. Error(invalid_argument) for options out of range,
/// without a time column, class labels or a categorical column.
std::vector<RatingShift> find_rating_shifts(const Dataset& data, const RatingShiftOptions& options = {});

/// The same as a check. Items do get better and worse: it warns, and the rows' other evidence decides. A row's score is
/// by how much the share rose.
struct RatingShifts {
  static constexpr std::string_view id = "rating_shift";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::labels | Need::times;

  RatingShiftOptions options;

  void update(const Batch& batch);
  void merge(const RatingShifts& other);
  /// Abstains without class labels or a categorical column.
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  Dataset data_;
};

}  // namespace redoubt
