#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/nn/precision.hpp"

namespace redoubt {

class GraphWorkspace;

/// What a callback sees after a step, before the weights move. Views, valid during the call.
struct TrainingStep {
  const Graph* graph = nullptr;
  GraphWorkspace* workspace = nullptr;  ///< tensors of the last rows: graph->value(*workspace, t, rows.rows())
  MatrixView<const float> rows;
  std::uint64_t step = 0;             ///< of the weights, from 1
  double loss = 0;                    ///< mean of the last rows
  double rate = 0;                    ///< learning rate
  double gradient_norm = 0;           ///< before clipping
  std::span<const float> gradient{};  ///< of all parameters
};

/// What a callback sees after an epoch.
struct TrainingEpoch {
  int epoch = 0;                                                 ///< from 1
  int epochs = 0;                                                ///< as asked for
  double loss = 0;                                               ///< mean over the epoch's training rows, while it ran
  double validation_loss = 0;                                    ///< of the held-out rows; NaN without such rows
  double rate = 0;                                               ///< learning rate of the last step
  TrainingPrecision precision = TrainingPrecision::strict_fp32;  ///< of products; never automatic
};

/// Called on the thread that trains. An exception ends the training and is passed on; nothing is left half-made.
class TrainingCallback {
 public:
  virtual ~TrainingCallback() = default;
  virtual void after_step(const TrainingStep&) {}
  /// False: this was the last epoch.
  virtual bool after_epoch(const TrainingEpoch& epoch) = 0;
};

/// Keeps all epochs.
struct TrainingHistory : TrainingCallback {
  std::vector<TrainingEpoch> epochs;

  bool after_epoch(const TrainingEpoch& epoch) override {
    epochs.push_back(epoch);
    return true;
  }
};

}  // namespace redoubt
