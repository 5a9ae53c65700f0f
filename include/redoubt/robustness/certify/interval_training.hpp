#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "redoubt/nn/training_objective.hpp"
#include "redoubt/robustness/evasion/feature_rule.hpp"

namespace redoubt {

struct IntervalTrainingOptions {
  double epsilon = 0.1;              ///< L-infinity radius around each encoded row, times the unit of the column
  std::vector<FeatureRule> rules{};  ///< per encoded column, as for attacks; empty: all free, unit 1
  double clean = 0.5;  ///< weight of the plain loss at the end, [0, 1]; it starts at 1. More: more clean accuracy
  /// CROWN-IBP (Zhang et al., arXiv:1906.06316): share of its tighter margins in the worst scores when the ramp begins,
  /// [0, 1]; it falls with the ramp to 0. Better networks at larger radii, for as many backward passes as classes.
  double crown = 0;
  double warmup = 0.05;  ///< share of all moves with the plain loss alone
  double ramp = 0.5;     ///< share of all moves after that in which radius and weight go, in a line, to their ends
};

/// Trains a classifier so that interval bounds prove it right (interval bound propagation, Gowal et al.,
/// arXiv:1810.12715): minimises clean * loss(rows) + (1 - clean) * loss(worst scores of the box around each row), the
/// last dense layer folded into the margins. Without it `certify` proves next to nothing at radii that attacks break.
/// It costs clean accuracy: measure both.
///
///     IntervalTraining robust({.epsilon = 0.1});
///     Model model = NeuralNetwork{layers, {.epochs = 40, .objective = &robust}}.fit(data);
///
/// For graphs with one head of labels made of weighted affine ops (dense, conv2d, conv_transpose2d) and monotone ones
/// (ReLU, leaky ReLU, sigmoid, tanh, pools, add, moves, dropout, which bounds leave out); Error(unsupported) names any
/// other, such as batch_norm. The radius needs the planned number of steps; without it it is there from the start. A
/// step costs about three plain ones. Memory: six times the tensors of a batch. Equal bits at any thread count.
class IntervalTraining final : public TrainingObjective {
 public:
  /// Error(invalid_argument) naming the option.
  explicit IntervalTraining(IntervalTrainingOptions options);
  ~IntervalTraining() override;
  IntervalTraining(const IntervalTraining&) = delete;
  IntervalTraining& operator=(const IntervalTraining&) = delete;

  std::string name() const override;
  void begin(const Graph& graph, std::span<const LossHead> heads, std::size_t batch) override;
  double step(TrainingPass& pass) override;

  double clean_loss() const noexcept { return clean_loss_; }  ///< mean of the last step: of the rows as they are
  double bound_loss() const noexcept { return bound_loss_; }  ///< of their worst scores; NaN in the warm-up
  double radius() const noexcept { return radius_; }          ///< of the last step

 private:
  struct Impl;
  IntervalTrainingOptions options_;
  Impl* impl_ = nullptr;
  double clean_loss_ = 0, bound_loss_ = 0, radius_ = 0;
};

}  // namespace redoubt
