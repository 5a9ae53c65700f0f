#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "redoubt/data/encoder.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/loss.hpp"
#include "redoubt/nn/optimizer.hpp"
#include "redoubt/nn/precision.hpp"
#include "redoubt/nn/schedule.hpp"
#include "redoubt/nn/sequential.hpp"

namespace redoubt {

class RowStream;
class TrainingCallback;
class TrainingObjective;

struct NeuralNetworkOptions {
  int epochs = 20;               ///< at most; see patience
  std::uint32_t batch = 128;     ///< rows per step
  std::uint32_t accumulate = 1;  ///< batches per move of the weights
  Optimizer optimizer{};
  Schedule schedule{};
  /// What products of training round to; the model says which one it was (ModelInfo::options, TrainingEpoch).
  TrainingPrecision precision = TrainingPrecision::automatic;
  /// Classes: cross_entropy, focal or hinge. Values: mse or huber, on the standardised target if the network ends in a
  /// dense layer (delta then is in standard deviations), else on the target as it is.
  NetworkLoss loss{.kind = LossKind::automatic};
  bool balanced = false;  ///< weigh classes by rows / (classes * rows of the class), on top of loss.class_weights
  double clip_norm = 0;   ///< scale gradients down to this l2 norm; 0 = as they are
  double validation_fraction = 0;  ///< of the rows, chosen by the seed, held out to be measured after every epoch
  /// Stop after this many epochs without a better loss on the held-out rows; 0 = never. With held-out rows the weights
  /// of the best epoch are kept either way.
  int patience = 0;
  /// File that holds the whole state of the training after every `checkpoint_every` epochs, written atomically; "" =
  /// none. If it exists, the fit goes on from it, bit for bit as if it had never stopped.
  std::string checkpoint{};
  int checkpoint_every = 1;
  std::uint64_t seed = 0;  ///< starting weights, order of rows, dropout, held-out rows
  EncoderOptions encoder = EncoderOptions::dense();
  ProgressSink* progress = nullptr;      ///< stage "epochs"
  TrainingCallback* callback = nullptr;  ///< after every step and epoch
  /// What a step minimises instead of `loss` alone, for example robustly; null: `loss`. Held-out rows are measured by
  /// `loss` all the same: with an objective whose demands rise, train all epochs and hold nothing out.
  TrainingObjective* objective = nullptr;
  Arena* arena = nullptr;  ///< null = the default arena
};

/// Any network as an estimator: encodes the columns, trains by minibatches, returns a Model whose learned form is the
/// graph. Row weights multiply the loss (scaled to mean 1). Equal data, options, seed and instruction set give equal
/// bytes at any thread count.
class NeuralNetwork {
 public:
  NeuralNetworkOptions options;

  /// Layers on the encoded columns, as one axis; start with `layer::Reshape` for images and sequences, end with
  /// `layer::Output`. A softmax is added for classes.
  explicit NeuralNetwork(Sequential layers, NeuralNetworkOptions options = {});
  /// A graph of `GraphBuilder`: one value per encoded column in, one score per class (then softmax) or one value out.
  explicit NeuralNetwork(Graph graph, NeuralNetworkOptions options = {});

  /// Throws Error(refused) on sealed data, or for a checkpoint of other options or data; Error(invalid_argument) on bad
  /// options, missing targets or labels, a single class, inputs that stay missing after encoding, or a loss that is not
  /// finite, naming epoch, step and tensor; Error(shape_mismatch) naming layer and shapes if the network does not fit
  /// the data.
  Model fit(const Dataset& data) const;

  /// The same from rows that need not fit in memory: every epoch passes over `rows`, the encoded rows of `encoder` (for
  /// example a `CsvRowStream`), in their order, so shuffle the file. Rows weigh the same, weights of `sample` and
  /// `held_out` are not used. `sample` gives the schema, the classes and how many rows each has (`balanced`; a class
  /// without one counts as 1), mean and deviation of a regression target, and the self-test. `held_out`, which `rows`
  /// should not have, takes the place of `validation_fraction`; without rows, all epochs are run. `encoder` takes the
  /// place of `options.encoder`. A schedule, an objective or a checkpoint costs one more pass, first, to count and hash
  /// the rows. ModelInfo::data_hash is the SHA-256 of the encoded values and targets in order. Throws
  /// what `fit` and `train_stream` do; Error(shape_mismatch) if `rows` are not of the encoder's width;
  /// Error(invalid_argument) for L-BFGS, a validation_fraction, patience without held-out rows, or if `held_out` has
  /// another target than `sample`; Error(refused) for a checkpoint of other options, rows, sample or held-out rows.
  Model fit_stream(RowStream& rows, const Encoder& encoder, const Dataset& sample, const Dataset& held_out) const;

 private:
  Graph graph(std::size_t inputs, std::size_t outputs, bool classification) const;

  Sequential layers_;
  Shared<const Graph> graph_;
};

/// The model of a graph that was trained otherwise, for example by `Trainer` on streamed batches. `sample` gives the
/// schema, the classes and the rows of the self-test; columns reach the graph as they are (Encoder::identity).
Model network_model(Graph graph, const Dataset& sample, std::string_view algorithm = "neural_network");
/// The same for a graph of encoded rows, for example those of a `CsvRowStream`; the columns of `sample` reach it
/// through `encoder`.
Model network_model(Graph graph, const Dataset& sample, const Encoder& encoder,
                    std::string_view algorithm = "neural_network");

}  // namespace redoubt
