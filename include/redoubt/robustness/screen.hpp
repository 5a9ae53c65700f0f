#pragma once
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/check.hpp"
#include "redoubt/robustness/poisoning/bursts.hpp"
#include "redoubt/robustness/poisoning/duplicates.hpp"
#include "redoubt/robustness/poisoning/sources.hpp"

namespace redoubt {

struct ScreenOptions {
  int folds = 4;                ///< of the out-of-fold probabilities, in [2, 50]
  int trees = 40;               ///< boosting rounds per fold, in [1, 10000]
  std::size_t text_dims = 256;  ///< hashed columns per text column, a power of two
  double sure = 0.075;  ///< a label is wrong on its own evidence below this out-of-fold probability, in (0, 0.5)
  double false_discovery_rate = 0.02;  ///< over all sources (copies, bursts): share of wrong accusations, in (0, 1)
  DuplicateOptions duplicates;
  BurstOptions bursts;
  std::vector<AnyCheck> checks;  ///< more checks of the pre_train and ingest stages, run beside the built-in ones
  std::uint64_t seed = 0;
  ProgressSink* progress = nullptr;  ///< stage "screen"
  Arena* arena = nullptr;
};

/// What a screen found. Value type.
class ScreenReport {
 public:
  std::size_t rows() const noexcept { return row_ids_.size(); }
  Outcome outcome() const noexcept;  ///< the strictest of the verdicts
  /// Row ids that should not be trained on, in dataset order. `train.without(report.blocked())`.
  const std::vector<RowId>& blocked() const noexcept { return blocked_; }
  /// Sources most of whose rows are suspicious, more than chance explains.
  const std::vector<std::string>& blocked_sources() const noexcept { return blocked_sources_; }
  /// One score per row, in dataset order: the sum of its evidence; blocked from 1.
  std::span<const double> row_scores() const noexcept { return row_scores_; }
  std::span<const RowId> row_ids() const noexcept { return row_ids_; }
  /// Most suspicious first; empty without a source column.
  const std::vector<SourceSuspicion>& sources() const noexcept { return sources_; }
  const std::vector<Verdict>& verdicts() const noexcept { return verdicts_; }
  /// Error(not_found) lists the checks that ran.
  const Verdict& verdict(std::string_view check) const;
  /// Attaches measured detection to a verdict (no effect if there is none of that name); see calibrate.hpp.
  void set_calibration(std::string_view check, std::vector<Calibration> calibration);

  /// {"rows", "blocked", "blocked_sources", "sources", "verdicts"}; with_cost as in Verdict.
  std::string to_json(bool with_cost = true) const;

 private:
  friend ScreenReport screen(const Dataset& data, const ScreenOptions& options);
  std::vector<RowId> row_ids_, blocked_;
  std::vector<double> row_scores_;
  std::vector<std::string> blocked_sources_;
  std::vector<SourceSuspicion> sources_;
  std::vector<Verdict> verdicts_;
};

/// A readable report: what was blocked, the most suspicious sources, one line per check, and what abstained.
std::ostream& operator<<(std::ostream& stream, const ScreenReport& report);

/// Looks for poison in rows that are about to be trained on: wrong labels, bought campaigns, brigades, bad sources.
///
/// Out-of-fold probabilities come from `GradientBoosting`, which with text columns also sees what an out-of-fold
/// `LogisticRegression` on their words says; copies, bursts and the rows of one source share a fold, so that a campaign
/// cannot vouch for itself. Confident learning flags labels; sources, groups of copies and bursts are then tested as
/// wholes (binomial, Benjamini-Hochberg); a guilty one takes its rows along. A source most of whose rows bear one label
/// is tested once more by probabilities that know nothing of copies, bursts and sources: what a campaign's accounts
/// have in common would otherwise speak for them, as they vouch for each other from other folds. A burst that is mostly
/// the work of several sources, each acting three times or more there and hardly anywhere else, is a campaign whatever
/// its labels are. Else copies, bursts and outliers add to a row's score but never block alone. Checks that lack what
/// they need abstain in the report.
///
/// It misses poison that looks like honest rows with honest labels (clean-label, backdoor triggers), and small sources
/// without times whose label is not unlikely by their features (a common class); it blocks some honest rows that are
/// hard to tell: measure both with `calibrate`. Deterministic for equal data and options. Error(refused) for sealed
/// data, Error(invalid_argument) for options out of range. No rows: every check abstains.
ScreenReport screen(const Dataset& data, const ScreenOptions& options = {});

}  // namespace redoubt
