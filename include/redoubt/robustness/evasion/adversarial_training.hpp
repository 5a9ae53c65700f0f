#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "redoubt/nn/training_objective.hpp"
#include "redoubt/robustness/evasion/feature_rule.hpp"

namespace redoubt {

enum class AdversarialMethod : std::uint8_t {
  pgd,    ///< the loss of attacked rows in place of the rows (Madry et al., ICLR 2018)
  trades  ///< the loss of the rows, plus beta * KL(scores of the row || scores of the attacked row), where the attack
          ///< raises that divergence (Zhang et al., arXiv:1901.08573)
};

struct AdversarialTrainingOptions {
  AdversarialMethod method = AdversarialMethod::pgd;
  double epsilon = 0.1;              ///< L-infinity radius around each encoded row, times the unit of the column
  std::vector<FeatureRule> rules{};  ///< per encoded column, as for attacks; empty: all free, unit 1
  int steps = 7;                     ///< gradients of each attack, from a random start
  double step = 0;                   ///< 0: 2.5 * epsilon / steps
  double clean = 0;                  ///< pgd: weight of the plain loss, [0, 1)
  double beta = 6;                   ///< trades; more: more robust, less clean accuracy
  double warmup = 0;                 ///< share of all moves in which the radius rises, in a line, from 0
};

/// Trains a classifier on rows that an attack has moved against it. Robust accuracy after it is what attacks find, not
/// a proof (see IntervalTraining), and it costs clean accuracy: measure both.
///
///     AdversarialTraining robust({.method = AdversarialMethod::trades, .epsilon = 0.1});
///     Model model = NeuralNetwork{layers, {.objective = &robust}}.fit(data);
///
/// For any graph with one head of labels. Each step costs `steps` + 1 (trades: + 3) plain ones. Attacks see the network
/// as at prediction (no dropout, running moments); whole columns are rounded towards the row. Equal bits at any thread
/// count. Memory: five times the rows of a batch.
class AdversarialTraining final : public TrainingObjective {
 public:
  /// Error(invalid_argument) naming the option.
  explicit AdversarialTraining(AdversarialTrainingOptions options);

  std::string name() const override;
  void begin(const Graph& graph, std::span<const LossHead> heads, std::size_t batch) override;
  double step(TrainingPass& pass) override;

  double clean_loss() const noexcept {
    return clean_loss_;
  }                                                             ///< mean of the last step: of the rows as they are;
                                                                ///< pgd without `clean`: NaN
  double robust_loss() const noexcept { return robust_loss_; }  ///< of attacked rows; trades: the divergence

 private:
  void attack(TrainingPass& pass, double radius);
  double divergence(TrainingPass& pass, MatrixView<const float> clean, MatrixView<float> attacked, double factor,
                    MatrixView<float> clean_gradient) const;

  AdversarialTrainingOptions options_;
  std::vector<float> lower_, upper_, moved_, scores_, clean_gradient_;
  double clean_loss_ = 0, robust_loss_ = 0;
};

}  // namespace redoubt
