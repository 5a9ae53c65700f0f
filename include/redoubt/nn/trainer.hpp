#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/nn/loss.hpp"
#include "redoubt/nn/optimizer.hpp"
#include "redoubt/nn/precision.hpp"
#include "redoubt/nn/schedule.hpp"

namespace redoubt {

class TrainingCallback;
class TrainingObjective;

struct TrainerOptions {
  std::uint32_t batch = 128;     ///< most rows of one call of `step`
  std::uint32_t accumulate = 1;  ///< calls of `step` per move of the weights: large batches in little memory
  Optimizer optimizer{};
  Schedule schedule{};
  TrainingPrecision precision = TrainingPrecision::automatic;
  std::uint64_t steps = 0;                 ///< moves that are planned, for the schedule; 0: no schedule
  double clip_norm = 0;                    ///< scale gradients down to this l2 norm; 0 = as they are
  std::uint64_t seed = 0;                  ///< dropout
  TrainingCallback* callback = nullptr;    ///< after_step only
  TrainingObjective* objective = nullptr;  ///< null: the mean loss of the rows as they are
  Arena* arena = nullptr;                  ///< null = the default arena
};

/// Trains the parameters of a graph batch by batch; rows come from the caller, so data may be larger than memory.
/// All memory is taken in the constructor: `step` and `loss` allocate nothing. The weights after any sequence of calls
/// are equal bit for bit at any number of threads. Not thread-safe; the graph must outlive it and not be changed
/// meanwhile by others.
class Trainer {
 public:
  /// One head over all scores. Throws Error(invalid_argument) naming the option, or Error(shape_mismatch) if a head
  /// lies outside the scores.
  Trainer(Graph& graph, NetworkLoss loss, const TrainerOptions& options);
  Trainer(Graph& graph, std::vector<LossHead> heads, const TrainerOptions& options);
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  /// Columns of the target matrix: of all heads, in order (see LossHead::targets).
  std::size_t targets() const noexcept;

  /// Forward, backward and, every `accumulate` calls, a move along the gradient of the mean loss over their rows.
  /// `rows`: encoded, rows x inputs. `weights` multiply the loss of each row; empty = all 1. Returns the mean weighted
  /// loss of these rows before the move. Throws Error(shape_mismatch) with the sizes; Error(invalid_argument) naming
  /// the row whose label is not a class or whose value is not finite, or, if the loss is not finite, the step and the
  /// first tensor or parameter that is not finite; the weights then are as they were. Gradients are looked at in the
  /// first and then every 64th move, and with clipping or a callback in all.
  double step(MatrixView<const float> rows, MatrixView<const float> targets, std::span<const float> weights = {});
  /// Moves along what is accumulated, if anything is.
  void flush();
  /// Sum of the weighted losses, as at prediction (no dropout); at most `batch` rows.
  double loss(MatrixView<const float> rows, MatrixView<const float> targets, std::span<const float> weights = {});

  /// Sum of the weighted losses, as at prediction, of at most `batch` rows; its gradient is added to `sum`, one number
  /// per parameter (zero for state). For optimizers that need more rows than one step has. Always in fp32. A loss that
  /// is not finite is returned. Otherwise the errors of `step`, and Error(refused) while gradients are accumulated.
  double gradient(MatrixView<const float> rows, MatrixView<const float> targets, std::span<const float> weights,
                  std::span<double> sum);

  std::size_t batch() const noexcept;            ///< most rows of one call
  std::uint64_t steps() const noexcept;          ///< moves so far
  double rate() const noexcept;                  ///< learning rate of the last move
  TrainingPrecision precision() const noexcept;  ///< what was asked for, or what automatic chose

  /// Parameters, moments, counters and precision: after `load` training goes on bit for bit as after `save`.
  /// Error(refused) while gradients are accumulated; `load` throws Error(corrupt) naming the tensor, or Error(refused)
  /// if the precision is another, and then nothing is changed.
  void save(Archive& archive) const;
  void load(const Archive& archive);

 private:
  struct Impl;
  Impl* impl_;
};

}  // namespace redoubt
