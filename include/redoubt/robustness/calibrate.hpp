#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/monitor/drift.hpp"
#include "redoubt/robustness/poisoning/provenance.hpp"
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
  double region_rate = 0.05;        ///< share of the rows that lie in the region whose labels change; in [0, 0.5]
  int trials = 10;  ///< for checks that judge a batch, a model or sources as a whole: so many of each; in [1, 1000]
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

/// A copy of data in which every label of one region is wrong.
struct PlantedRegion {
  Dataset data;
  std::vector<RowId> rows;
  std::string where;  ///< "country = fr", "amount at least 120"
};

/// An attack on one kind of case: all rows with one category, or those highest in one numeric column, whichever comes
/// near `region_rate` (half to twice as many), get the label of another class. Deterministic by seed. `rows` is empty
/// without such a column. Errors as plant_flips.
PlantedRegion plant_region(const Dataset& data, const CalibrationOptions& options = {});

/// Plants known label flips in a copy of `data`, and known patterns in another, screens each copy with the options that
/// made `report`, and writes beside every verdict of `report` how many of the planted rows it named (recall), and how
/// many of the other rows (false-positive rate; poison that really is in the data counts as false here, so it is an
/// upper bound). Costs two more screens. A check that looks for copies or bursts rightly shows no recall on flips, and
/// recall on human mistakes is lower than on synthetic flips (about half in Northcutt's CIFAR-10 data).
void calibrate(ScreenReport& report, const Dataset& data, const ScreenOptions& screen_options = {},
               const CalibrationOptions& options = {});

// Checks that judge a whole batch, model or source answer yes or no once, so they are asked again and again: as often
// on honest draws as on each kind of planted poison. `positives` counts planted batches, models or sources, and the
// rates are shares of those. What is in the data already counts as honest: false-positive rates are upper bounds.

/// Drift: batches of `rows` rows (at most half of the reference) are drawn from the reference, the rest of which is
/// what they are compared with. Planted are all kinds of plant_flips, plant_patterns and plant_region, each alone, and
/// one numeric column moved by half a deviation. Found means warned. Costs up to eight comparisons a trial, each with
/// its training. No effect on a verdict that abstained. Error(invalid_argument) for options out of range, fewer than
/// 40 rows of reference or batches of fewer than 20, which are not judged.
void calibrate_drift(Verdict& verdict, const Drift& check, std::size_t rows, const CalibrationOptions& options = {});

/// Gate: champion and candidate are trained on four fifths of `train` each, drawn anew for each trial, the candidate
/// honestly and once with every kind of poison as above. `judge` gives the verdicts on a candidate (first) against a
/// champion: run_gate_checks or the whole `gate`. Found means blocked. Costs up to eight trainings a trial. Writes
/// beside the verdicts of the same names; those that abstained stay as they are, and trials in which a check abstains
/// do not count for it. Errors as plant_flips.
void calibrate_gate(std::span<Verdict> verdicts, const Dataset& train, function_ref<Model(const Dataset&)> fit,
                    function_ref<std::vector<Verdict>(const Model&, const Model&)> judge,
                    const CalibrationOptions& options = {});
/// The same for run_gate_checks on a frozen set.
void calibrate_gate(std::span<Verdict> verdicts, const Dataset& train, const Dataset& frozen,
                    function_ref<Model(const Dataset&)> fit, std::span<const AnyCheck> checks,
                    const CalibrationOptions& options = {});

/// Provenance: in every trial some sources turn bad (all labels changed; `source_rate` of the rows, but at least about
/// one source); recall is the share of them that provenance_harm names, the false-positive rate that of the others that
/// were judged. `provenance` as for provenance_harm. Costs `trials` of its runs. Writes beside `verdict`, see
/// provenance_verdict. Errors as plant_flips and provenance_harm.
void calibrate_provenance(Verdict& verdict, const Dataset& data, const Dataset& trusted,
                          function_ref<Model(const Dataset&)> fit, const ProvenanceOptions& provenance = {},
                          const CalibrationOptions& options = {});

}  // namespace redoubt
