#pragma once
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "redoubt/fwd.hpp"
#include "redoubt/robustness/verdict.hpp"

namespace redoubt {

class PartitionEnsemble;

struct MembershipOptions {
  std::size_t max_rows = 0;      ///< a seeded choice of so many labelled rows; 0 = all
  std::size_t max_exposed = 20;  ///< most rows that are listed
  std::uint64_t seed = 0;
  Arena* arena = nullptr;
};

/// A training row that its model gives away.
struct ExposedRow {
  RowId row = no_row;
  double score = 0;  ///< log of the likelihood ratio "was trained on" to "was not"
  bool operator==(const ExposedRow&) const = default;
};

/// How well somebody who sees predictions can tell which rows a model was trained on.
struct MembershipReport {
  std::size_t models = 0;               ///< attacked, each with the others as shadows
  std::size_t members = 0, others = 0;  ///< pairs of row and model: trained on, not trained on
  double auc = 0.5;                     ///< of the score over all pairs; 0.5: it tells nothing
  double tpr_at_01 = 0, tpr_at_1 = 0;   ///< share of the members found at 0.1 % and 1 % false positives
  /// Members and others counted by falling score: (false-positive rate, true-positive rate), at most 200 points.
  std::vector<std::pair<double, double>> curve;
  std::vector<ExposedRow> exposed;  ///< members that score above 99.9 % of the others; highest first

  std::string to_json() const;
  /// Warns if tpr_at_01 is above `max_tpr`, a few times the 0.001 of guessing; score: tpr_at_01. Findings: `exposed`.
  Verdict verdict(double max_tpr = 0.005) const;
  bool operator==(const MembershipReport&) const = default;
};
std::ostream& operator<<(std::ostream& stream, const MembershipReport& report);

/// Membership inference by likelihood ratio (LiRA: Carlini et al., S&P 2022, arXiv:2112.03570) with the shards of a
/// partition ensemble for shadow models: every model has seen the rows of its partition and none of the others.
/// The statistic is the log-odds of the row's label. Each model is attacked in turn: a row's mean and deviation over
/// the models that did not see it say what is usual for the row; how far training on a row lifts it comes from the
/// other models and their own rows, as each row is in one shard only. The score is the Gaussian likelihood ratio.
///
/// `data` are the rows that the ensemble was trained on (by content: partition_of). What it says holds for models
/// trained like the shards; a model on more rows usually gives away less, a smaller shard more. Rows that no model was
/// trained on give an AUC of 0.5. Costs `partitions` predictions a row; parallel over models, equal at any thread
/// count. Error(invalid_argument) for data without labelled rows or fewer than four shards with a model.
MembershipReport membership_inference(const PartitionEnsemble& ensemble, const Dataset& data,
                                      const MembershipOptions& options = {});

}  // namespace redoubt
