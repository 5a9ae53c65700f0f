#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/nn/loss.hpp"
#include "redoubt/nn/op.hpp"

namespace redoubt {

class GraphWorkspace;

/// One call of `Trainer::step`, for a TrainingObjective; valid during the call. Gradients are those of the mean loss:
/// each row counts `share` times its weight.
class TrainingPass {
 public:
  const Graph* graph = nullptr;
  GraphWorkspace* workspace = nullptr;  ///< of `forward` and `backward`; also free for passes of the objective's own
  MatrixView<const float> rows, targets;
  std::span<const float> weights{};  ///< of the rows; empty: all 1
  std::span<const LossHead> heads{};
  OpTraining training{};
  std::uint64_t moves = 0, steps = 0;  ///< moves of the weights so far, and planned (0: not known)
  float share = 1;
  std::span<float> gradient{};  ///< of all parameters, added to
  Arena* arena = nullptr;

  /// Forward pass of as many rows, as in training (dropout, moments of the batch). Returns the scores.
  virtual MatrixView<float> forward(MatrixView<const float> inputs) = 0;
  /// Mean weighted loss of the scores of the last `forward` against the targets; `factor` times its gradient goes to
  /// the returned view of `seeds`, whatever was there. Error(invalid_argument) naming the tensor if it is not finite.
  virtual double loss(double factor) = 0;
  virtual MatrixView<float> seeds() = 0;
  /// Takes `seeds` back and adds to `gradient`; moves running statistics. `inputs` are those of the last `forward`.
  virtual void backward(MatrixView<const float> inputs) = 0;

  /// All three; returns the mean loss.
  double learn(MatrixView<const float> inputs, double factor = 1) {
    forward(inputs);
    const double mean = loss(factor);
    backward(inputs);
    return mean;
  }

 protected:
  ~TrainingPass() = default;
};

/// What training minimises, in place of the plain loss of the rows it is given: other rows, more terms. One object per
/// training: it may keep buffers. An exception ends the step and leaves the weights as they were.
class TrainingObjective {
 public:
  virtual ~TrainingObjective() = default;
  /// Kind and options, as models and checkpoints record them: "trades epsilon=0.1".
  virtual std::string name() const = 0;
  /// Before the first step, with the most rows of a step: refuses what it cannot train, takes its memory.
  virtual void begin(const Graph& graph, std::span<const LossHead> heads, std::size_t batch) {
    static_cast<void>(graph), static_cast<void>(heads), static_cast<void>(batch);
  }
  /// Adds the gradient of the objective of this batch; returns the objective, which must be finite.
  virtual double step(TrainingPass& pass) = 0;
};

}  // namespace redoubt
