#pragma once
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/core/shared.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

struct PartitionOptions {
  std::size_t partitions = 20;  ///< in [1, 100000]; more certify more poison, and each model sees fewer rows
  /// What goes into one partition together: false: equal feature rows, true: all rows of a source (rows without one by
  /// their features).
  bool by_source = false;
  std::uint64_t key = 0;  ///< of the hash; keep it secret to keep attackers from choosing a partition
  Arena* arena = nullptr;
};

enum class PartitionVote : std::uint8_t {
  majority,  ///< the label that most models give
  /// Of the two labels that most models give the one that more models find likelier: run-off election (Rezaei,
  /// Banihashem, Chegini, Feizi, ICML 2023, arXiv:2302.02300). The same with two classes; with more it also uses what
  /// models say of labels that they do not give: often more certified against many changes, for up to a point or two
  /// of accuracy. `evaluate` tells. Goes through the data in blocks whose scores, and whose rows, take 64 MiB.
  run_off
};

/// A vote with its certificate.
struct CertifiedPrediction {
  std::string label;
  std::size_t votes = 0;      ///< models for `label`; in the run-off: that find it likelier
  std::size_t runner_up = 0;  ///< models for the next label; in the run-off: for the other
  /// So many rows may be added to the training data, deleted from it or given another label, in any mixture and by
  /// anybody, and this prediction stays the same (changed features count twice). With `by_source`: so many sources may
  /// do whatever they like with all of their rows.
  std::size_t tolerated = 0;
  bool operator==(const CertifiedPrediction&) const = default;
};

struct PartitionEvaluation {
  std::size_t rows = 0;
  double accuracy = 0;
  std::vector<double> certified;     ///< [r]: share of the rows that are right and stay so with r changes
  std::size_t median_tolerated = 0;  ///< over all rows; wrong ones count as 0
};
std::ostream& operator<<(std::ostream& stream, const PartitionEvaluation& evaluation);

/// Deep partition aggregation (Levine & Feizi, ICLR 2021, arXiv:2006.14768): rows go to partitions by a keyed hash,
/// each partition trains one model, the models vote. A change in the training rows reaches the partition of the row
/// only, so that the margin of a vote is a certificate against poisoning, for any model and any attack. The hash is of
/// the features without the label, so that a changed label is one change (SS-DPA).
///
/// The same partitions make removal cheap (SISA, Bourtoule et al. 2021): `refit` trains only models whose rows changed,
/// and gives what `fit` on the new data gives. Each partition is brought into an order of its own (rows by content,
/// categories and classes by name), so that a model depends on nothing but the rows of its partition. Training costs
/// about as much as one model on all rows; predicting costs `partitions` models.
/// Value type; copies share the models. Const members are thread-safe.
class PartitionEnsemble {
 public:
  /// Trains a model on the rows of one partition; called from several threads at once. Must give the same model for
  /// the same rows, as every estimator of this library does.
  using Fit = function_ref<Model(const Dataset&)>;

  /// Error(invalid_argument) for options out of range, data without class labels, `by_source` without a source column;
  /// or a model of `fit` without classes or of one that its rows do not have; Error(refused) for sealed data; errors of
  /// `fit` pass through.
  static PartitionEnsemble fit(const Dataset& data, Fit fit, const PartitionOptions& options = {});
  template <class Estimator>
    requires requires(const Estimator& e, const Dataset& d) { e.fit(d); }
  static PartitionEnsemble fit(const Dataset& data, const Estimator& estimator, const PartitionOptions& options = {}) {
    return fit(data, Fit([&](const Dataset& rows) { return estimator.fit(rows); }), options);
  }
  /// The ensemble of changed data: rows or sources removed, added, relabelled. `fit` must be what it was before.
  PartitionEnsemble refit(const Dataset& data, Fit fit) const;
  template <class Estimator>
    requires requires(const Estimator& e, const Dataset& d) { e.fit(d); }
  PartitionEnsemble refit(const Dataset& data, const Estimator& estimator) const {
    return refit(data, Fit([&](const Dataset& rows) { return estimator.fit(rows); }));
  }

  std::size_t partitions() const noexcept;
  std::size_t trained() const noexcept;                      ///< models that the last fit or refit had to train
  const std::vector<std::string>& classes() const noexcept;  ///< by name; a tie goes to the first
  /// Which partition a row of any data goes to.
  std::size_t partition_of(const RowView& row) const;
  /// Model of a partition; empty (false) where its rows have fewer than two classes: it votes for that class, or not.
  const Model& model(std::size_t partition) const noexcept;
  /// Hex SHA-256 of the rows of a partition; equal hashes mean equal models.
  const std::string& data_hash(std::size_t partition) const noexcept;

  std::vector<CertifiedPrediction> predict(const Dataset& data, PartitionVote vote = PartitionVote::majority,
                                           Arena* arena = nullptr) const;
  /// Error(invalid_argument) for data without labelled rows.
  PartitionEvaluation evaluate(const Dataset& data, PartitionVote vote = PartitionVote::majority,
                               Arena* arena = nullptr) const;
  /// Data-OOB (Kwon & Zou, ICML 2023) with partitions for bags: per row the share of the models that did not see the
  /// row and agree with its label; near 0 for wrong labels. NaN for unlabelled rows, or if no other model votes.
  std::vector<double> out_of_partition_agreement(const Dataset& data, Arena* arena = nullptr) const;

 private:
  struct State;
  static PartitionEnsemble build(const Dataset& data, Fit fit, const PartitionOptions& options, const State* before);
  Shared<const State> state_;
};

}  // namespace redoubt
