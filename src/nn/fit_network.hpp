#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/row_stream.hpp"
#include "redoubt/nn/neural_network.hpp"
#include "redoubt/nn/trainer.hpp"

namespace redoubt::detail {

/// What estimators of networks differ in.
struct NetworkTask {
  std::string_view algorithm;  ///< as in ModelInfo, and for messages
  std::string options;         ///< as in ModelInfo; "epochs_run" is added
  /// Graph for `inputs` encoded columns and `outputs` classes or values.
  function_ref<Graph(std::size_t inputs, std::size_t outputs, bool classification)> make;
};

/// What a fit on rows that pass is given.
struct StreamedRows {
  RowStream& rows;
  const Encoder& encoder;
  const Dataset& sample;
  const Dataset& held_out;
};

/// The fit of every network on rows that pass, epochs times, in their order; of `options` all but validation_fraction
/// and encoder, and no L-BFGS. Checks them except those of the task.
Model fit_network(const StreamedRows& data, const NeuralNetworkOptions& options, const NetworkTask& task);

/// The loss for the target of `data`, whose classes are counted if they are to be balanced. Error(invalid_argument) if
/// they do not fit.
NetworkLoss choose_loss(const Dataset& data, const NeuralNetworkOptions& options, std::string_view what);

/// Of batches of `batch` rows, `rows` in an epoch, with which the schedule reckons; 0 rows: no schedule.
TrainerOptions trainer_options(const NeuralNetworkOptions& options, std::size_t batch, std::uint64_t rows);

/// The task's graph, which Error(shape_mismatch) says if it does not fit so many encoded columns and the target.
Shared<Graph> network_graph(const Dataset& data, std::size_t inputs, const NetworkTask& task);

/// What a fit did.
struct Learned {
  int epochs = 0;
  std::string data_hash;
  std::uint64_t rows = 0;
};

/// The model of a graph that has been learned and compiled; `sample` gives schema, classes and self-test.
Model learned_model(Shared<Graph> graph, const Dataset& sample, Shared<const Encoder> encoder,
                    const NeuralNetworkOptions& options, const NetworkTask& task, const Learned& learned);

/// Error(invalid_argument) naming row id and column where an encoded input is NaN or infinite.
void check_inputs(const Dataset& data, std::string_view what, const Encoder& encoder, const Tensor<float>& inputs);

/// The last layer learned (y - mean) / deviation; afterwards it answers y.
void restore_target_scale(Graph& graph, double mean, double deviation);

/// The same on rows in memory.
Model fit_network(const Dataset& data, const NeuralNetworkOptions& options, const NetworkTask& task);

}  // namespace redoubt::detail
