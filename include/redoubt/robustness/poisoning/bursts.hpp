#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

struct BurstOptions {
  /// Categorical columns; empty: every categorical feature or ignored column with four rows per category or more.
  std::vector<std::string> by;
  std::size_t min_rows = 8;    ///< shortest run, at least 3
  bool by_label = true;        ///< look at every label of a category by itself; no effect without labels
  double min_ratio = 4;        ///< a burst has at least so many times the rows that are usual; at least 1
  double significance = 1e-4;  ///< of a false burst anywhere, after correction for the runs looked at; in (0, 1)
};

/// A run of rows about one thing that came too fast.
struct Burst {
  std::size_t column = 0;           ///< index in the schema
  std::int32_t category = 0;        ///< code in that column
  std::int32_t label = -1;          ///< of all its rows; -1 for data without labels
  std::vector<std::uint32_t> rows;  ///< positions, in order of time
  double hours = 0;                 ///< from the first to the last row
  double expected = 0;              ///< rows that its usual share brings in that time
  double score() const noexcept { return 1 - expected / static_cast<double>(rows.size()); }
};

/// Too many rows about one thing in too short a time: for every category (and every label of it) the rows are
/// scanned in time order for runs that a steady share of all rows (Poisson) does not explain; time is measured in rows
/// of the whole data, so that a busy day is no burst of everything. Bursts of one category do not overlap.
/// Error(invalid_argument) data without times.
std::vector<Burst> find_bursts(const Dataset& data, const BurstOptions& options = {});

/// The same as a check. Honest events make bursts, too (a sale, a fault): it warns, and the rows' other evidence
/// decides. A row's score is that of its strongest burst.
struct Bursts {
  static constexpr std::string_view id = "bursts";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::times;

  BurstOptions options;

  void update(const Batch& batch);
  void merge(const Bursts& other);
  Verdict finish() const;

  // What was seen so far; no options. Public so that the check stays an aggregate.
  Dataset data_;
};

}  // namespace redoubt
