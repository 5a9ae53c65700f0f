#pragma once
#include <cstddef>
#include <iosfwd>
#include <string>
#include <utility>
#include <vector>

#include "redoubt/robustness/certify/certified_accuracy.hpp"
#include "redoubt/robustness/certify/membership.hpp"
#include "redoubt/robustness/certify/partition_ensemble.hpp"
#include "redoubt/robustness/evasion/sensitivity.hpp"
#include "redoubt/robustness/poisoning/sources.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {

class ScreenReport;

/// Everything that was found out about the robustness of a data set and a model, for somebody who answers for the risk
/// but did not build it. Fill what there is; what is not there is said to be missing, never left out silently.
/// `to_json` and `<<` give it as JSON and text, `HtmlReport::robustness` as a page with pictures. Value type.
struct RobustnessReport {
  std::string subject;                                       ///< "reviews of May, model reviews.redoubt"
  std::vector<std::pair<std::string, std::string>> origins;  ///< name and value: "data hash", "a3f1..."
  std::vector<Verdict> verdicts;                             ///< of the screen, the gate, drift, ...
  std::vector<SourceSuspicion> sources;                      ///< most suspicious first
  std::vector<SensitivityReport> curves;                     ///< one per model
  std::vector<CertifiedAccuracy> certificates;               ///< against changed inputs
  std::vector<PartitionEvaluation> poisoning_certificates;   ///< against changed training rows
  std::vector<MembershipReport> memberships;                 ///< what predictions tell about the training rows
  std::vector<std::string> remarks;                          ///< limits that only the author knows

  /// Verdicts (first in the list) and sources of a screen, and how many rows it saw and blocked.
  RobustnessReport& add(const ScreenReport& screen);

  /// The strictest of the verdicts; abstain without any.
  Outcome outcome() const noexcept { return worst(verdicts); }
  /// Verdicts that say that they could not look.
  std::vector<const Verdict*> abstained() const;
  /// What must not be concluded from this report, one sentence each, derived from what it holds and what it lacks:
  /// checks that abstained or were not calibrated, the weakest measured recall, what searches and certificates leave
  /// open. `remarks` come last. Never empty.
  std::vector<std::string> limits() const;

  /// {"subject", "outcome", "origins", "verdicts", "sources", "curves", "certificates", "poisoning_certificates",
  /// "memberships", "limits"}; with_cost as in Verdict.
  std::string to_json(bool with_cost = true) const;
};

/// One page of text: outcome, checks, measured detection, what abstained and why, sources, certificates, curves,
/// limits. Control characters in names, which come from data, are replaced, so that a terminal cannot be written to by
/// them.
std::ostream& operator<<(std::ostream& stream, const RobustnessReport& report);

}  // namespace redoubt
