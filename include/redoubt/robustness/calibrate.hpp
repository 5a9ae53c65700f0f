#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/screen.hpp"

namespace redoubt {

struct CalibrationOptions {
  double flip_rate = 0.03;  ///< share of the labelled rows whose label is changed at random, in [0, 0.5]
  double source_rate =
      0.03;  ///< share of the rows that belong to sources turned bad: all their labels change; in [0, 0.5]
  std::size_t min_source_rows = 5;  ///< only sources of at least so many labelled rows are turned bad
  double trigger_rate = 0.01;       ///< share of the rows that get a pattern and the label of one class, in [0, 0.5]
  double clean_label_rate = 0.01;   ///< share that gets another pattern, all of one class, labels kept; in [0, 0.5]
  double campaign_rate = 0.02;      ///< rows that new accounts add, as a share of the rows; in [0, 0.5]
  std::uint64_t seed = 0;
};

/// A copy of data with known wrong labels, and which rows they are.
struct PlantedFlips {
  Dataset data;
  std::vector<RowId> random;         ///< rows flipped at random
  std::vector<RowId> by_source;      ///< rows of the sources turned bad; disjoint from `random`
  std::vector<std::string> sources;  ///< those sources
};

/// Flips labels as `options` say; deterministic by seed. Without a source column, or without sources that are large
/// enough, `by_source` is empty. Error(invalid_argument) for data without class labels, fewer than two classes, or a
/// rate out of range.
PlantedFlips plant_flips(const Dataset& data, const CalibrationOptions& options = {});

/// A copy of data with known poison that is more than wrong labels, and which rows it is.
struct PlantedPatterns {
  Dataset data;
  std::vector<RowId> triggered;    ///< two numeric columns at a high value, label changed to one class: a backdoor
  std::vector<RowId> clean_label;  ///< two others at a high value in rows of one class, labels as they were
  std::vector<RowId> campaign;     ///< rows added by new accounts
  std::size_t accounts = 0;        ///< so many new ones
};

/// Plants what `options` say; deterministic by seed. High values are those of the 99th percentile, so that a row is no
/// outlier in one column. A campaign needs sources: each new account adds four rows with the features of rows of other
/// classes under one label, all about one category of the column with most, and within two days, where the data has
/// such columns. What the data has no columns for is empty. Errors as plant_flips.
PlantedPatterns plant_patterns(const Dataset& data, const CalibrationOptions& options = {});

/// Plants known label flips in a copy of `data`, and known patterns in another, screens each copy with the options that
/// made `report`, and writes beside every verdict of `report` how many of the planted rows it named (recall), and how
/// many of the other rows (false-positive rate; poison that really is in the data counts as false here, so it is an
/// upper bound). Costs two more screens. A check that looks for copies or bursts rightly shows no recall on flips, and
/// recall on human mistakes is lower than on synthetic flips (about half in Northcutt's CIFAR-10 data).
void calibrate(ScreenReport& report, const Dataset& data, const ScreenOptions& screen_options = {},
               const CalibrationOptions& options = {});

}  // namespace redoubt
