#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"

namespace redoubt {

/// Too many rows about one thing in too short a time: for every category of the columns `by` (and, with labels, every
/// label of it) the check scans the rows in time order for runs that a steady (Poisson) rate does not explain,
/// corrected for the number of runs looked at. Honest events make bursts, too (a sale, a fault): it warns, and the
/// rows' other evidence decides.
struct Bursts {
  static constexpr std::string_view id = "bursts";
  static constexpr Stage stage = Stage::pre_train;
  static constexpr Need needs = Need::times;

  std::vector<std::string> by;  ///< categorical columns; empty: every categorical feature that is not nearly unique
  std::size_t min_rows = 8;     ///< shortest run
  double significance = 1e-4;   ///< of a false burst anywhere, after correction; in (0, 1)

  void update(const Batch& batch);
  void merge(const Bursts& other);
  /// Row scores: the share of its run that the steady rate does not explain.
  Verdict finish() const;

 private:
  Dataset data_;
};

}  // namespace redoubt
