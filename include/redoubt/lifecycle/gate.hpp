#pragma once
#include <iosfwd>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/fwd.hpp"
#include "redoubt/lifecycle/goal.hpp"
#include "redoubt/robustness/check.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {

struct GateOptions {
  std::vector<AnyCheck> checks;  ///< further checks, run by run_gate_checks; see robustness/gate_checks.hpp
  int resamples = 200;           ///< of the bootstrap intervals
  std::uint64_t seed = 0;
  Arena* arena = nullptr;
};

/// What the gate found. It belongs to exactly one model (`candidate`), which `Registry::publish` verifies.
struct GateReport {
  std::string candidate;  ///< Model::hash()
  std::string champion;   ///< Model::hash(), empty if there was none
  std::string holdout;    ///< Dataset::hash()
  std::string goal;       ///< the goal as JSON; empty without one
  std::vector<Verdict> verdicts;

  /// True only if at least one criterion was judged, none blocks and none abstains.
  bool passed() const noexcept;
  std::string to_json() const;  ///< one object; keys sorted
  /// One line per verdict that is not a pass; "" if all pass.
  std::string why_not() const;
};

std::ostream& operator<<(std::ostream& stream, const GateReport& report);

/// Judges a candidate on a holdout. Criteria, each a verdict of stage `gate`:
///  - gate.holdout: has the goal's target, is not what the candidate was trained on; warns if it is not sealed.
///  - gate.metric: passes if the whole bootstrap interval reaches the threshold, blocks if the value itself does not,
///    abstains in between: then the holdout is too small to tell.
///  - gate.champion: blocks if the candidate is worse than the champion by more than `goal.max_regression`, the whole
///    interval of the paired difference agreeing; warns if only the value does. Left out for an empty champion.
///  - gate.canary: share of rows that the champion got right with probability >= 0.9 and the candidate gets wrong.
///  - gate.slices: the metric in every value of every column of `goal.slices`.
///  - gate.latency: 95th percentile of single predictions against the budget, on this machine, one thread.
///  - the checks of `options`; one that throws blocks as "gate.checks".
/// Deterministic but for gate.latency. Throws only for unusable input (an empty candidate, an unknown column);
/// everything that the candidate does wrong is a verdict.
GateReport gate(const Model& candidate, const Model& champion, const Dataset& holdout, const Goal& goal,
                const GateOptions& options = {});
/// Reads the goal from a file. A missing file is a blocking verdict "gate.goal"; a broken one is an Error with its
/// place (see Goal::from_json).
GateReport gate(const Model& candidate, const Model& champion, const Dataset& holdout, const std::string& goal_path,
                const GateOptions& options = {});

}  // namespace redoubt
