#pragma once
#include <span>

#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/kernels/lbfgs.hpp"

namespace redoubt {

class Trainer;

struct FullBatchOptions {
  int iterations = 200;     ///< most accepted steps
  int history = 10;         ///< pairs that L-BFGS keeps, each two doubles per parameter
  double tolerance = 1e-5;  ///< stop when no entry of the gradient is larger
  double weight_decay = 0;  ///< w adds weight_decay / 2 |w|^2 to the loss, biases, scales and state do not; >= 0
};

/// Trains with L-BFGS (kernels/lbfgs.hpp) on all rows at once: the mean weighted loss of the rows, in blocks of the
/// trainer's `batch` (triplet loss: within each block) and in double precision beyond a block. Made for small networks
/// and data, where it reaches a minimum in fewer passes than steps of batches. `after`, if given, is asked after every
/// accepted step, when the graph has the weights of it; false ends the training. `graph` is that of the trainer, and
/// ends with the weights of the best point; the same bits at any number of threads. Rows, targets and weights are as
/// for `Trainer::step`, but for their number. Error(unsupported) naming the node if the graph has dropout or learns
/// running statistics: the loss then is no function of the weights alone. Else the errors of `Trainer::step` and
/// `lbfgs_minimise`; the weights then are as they were.
LbfgsResult train_full_batch(Trainer& trainer, Graph& graph, MatrixView<const float> rows,
                             MatrixView<const float> targets, std::span<const float> weights = {},
                             const FullBatchOptions& options = {},
                             const function_ref<bool(const LbfgsResult&)>* after = nullptr);

}  // namespace redoubt
