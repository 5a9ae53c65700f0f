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

/// Plants known label flips in a copy of `data`, screens the copy with the options that made `report`, and writes
/// beside every verdict of `report` how many of the planted rows it named (recall), and how many of the other rows
/// (false-positive rate; poison that really is in the data counts as false here, so it is an upper bound). Costs one
/// more screen. Flips are one kind of poison: a check that looks for copies or bursts rightly shows no recall here,
/// and recall on human mistakes is lower than on synthetic flips (about half in Northcutt's CIFAR-10 data).
void calibrate(ScreenReport& report, const Dataset& data, const ScreenOptions& screen_options = {},
               const CalibrationOptions& options = {});

}  // namespace redoubt
