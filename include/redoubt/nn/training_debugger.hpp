#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "redoubt/nn/training_callback.hpp"

namespace redoubt {

enum class TrainingProblem : std::uint8_t {
  not_finite,          ///< a gradient is NaN or infinite
  vanishing_gradient,  ///< the first weights hardly get any gradient beside the last
  exploding_gradient,  ///< the gradient is far larger than usual
  dead_units,          ///< many units of a ReLU were zero for every row of an epoch
  over_fitting         ///< the loss of the held-out rows rises while that of the training rows falls
};

/// Never allocates.
const char* to_string(TrainingProblem problem) noexcept;

/// One thing that goes wrong, once per place until it has stopped for an epoch.
struct TrainingFinding {
  TrainingProblem problem;
  int epoch = 0;           ///< from 1
  std::uint64_t step = 0;  ///< from 1; 0 for findings of a whole epoch
  std::string where;       ///< "graph.0.weight", "node 3 (relu)", or "held-out rows"
  double value = 0;        ///< what was measured
  std::string message;     ///< with the measure and what usually helps
};

struct TrainingDebuggerOptions {
  double vanishing = 1e-4;  ///< mean gradient per value of the first weights over that of the last, in an epoch
  double exploding = 50;    ///< gradient norm over its running mean
  double dead = 0.5;        ///< share of the units
  int rising = 3;           ///< epochs above the best loss of the held-out rows
  TrainingCallback* next = nullptr;  ///< gets every step and epoch too
};

/// Watches a training while it runs: pass it as `callback` of the estimator, read `findings()` at any time, also after
/// an exception. Costs one reading of the gradient and of the outputs of ReLUs per step. One training at a time.
class TrainingDebugger final : public TrainingCallback {
 public:
  explicit TrainingDebugger(TrainingDebuggerOptions options = {});
  void after_step(const TrainingStep& step) override;
  bool after_epoch(const TrainingEpoch& epoch) override;
  const std::vector<TrainingFinding>& findings() const noexcept { return findings_; }
  /// One line per finding.
  std::string report() const;

 private:
  struct Units {
    std::uint32_t tensor;
    std::vector<std::uint8_t> alive;  // per unit of the last axis
  };
  void find(TrainingProblem problem, std::uint64_t step, std::string where, double value, std::string message);
  void watch(const Graph& graph);
  void end_epoch();

  TrainingDebuggerOptions options_;
  const Graph* graph_ = nullptr;
  std::vector<TrainingFinding> findings_;
  std::vector<std::string> open_, seen_;  // found before, and again in this epoch
  std::vector<Units> units_;
  std::size_t first_ = 0, last_ = 0;  // weights, in the parameter table
  double first_sum_ = 0, last_sum_ = 0, running_norm_ = 0, best_loss_ = 0, best_training_ = 0;
  std::uint64_t steps_ = 0;
  int epoch_ = 1, above_ = 0;
};

}  // namespace redoubt
