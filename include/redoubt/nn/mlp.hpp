#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "redoubt/data/encoder.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/nn/precision.hpp"

namespace redoubt {

class RowStream;

enum class MlpActivation : std::uint8_t { relu, leaky_relu, gelu, tanh, sigmoid };

struct MlpOptions {
  std::vector<std::uint32_t> hidden = {64, 64};  ///< widths of the hidden layers; empty = a linear model
  MlpActivation activation = MlpActivation::relu;
  int epochs = 50;              ///< at most; see patience
  std::uint32_t batch = 128;    ///< rows per step
  double learning_rate = 1e-3;  ///< of Adam, with beta 0.9 and 0.999
  double l2 = 1e-5;             ///< adds l2/2 |W|^2 to the mean loss; biases are free
  double dropout = 0;           ///< share of hidden values dropped in training, [0, 0.99]
  bool layer_norm = false;      ///< normalise every hidden layer before its activation
  /// Stop after this many epochs without a better loss on the held-out rows, and keep the best epoch's weights.
  /// 0 = train all epochs on all rows.
  int patience = 10;
  double validation_fraction = 0.1;  ///< of the rows, chosen by the seed; used only for stopping
  /// What products of training round to; the model says which one it was (ModelInfo::options).
  TrainingPrecision precision = TrainingPrecision::automatic;
  std::uint64_t seed = 0;  ///< starting weights, order of rows, dropout, held-out rows
  EncoderOptions encoder = EncoderOptions::dense();
  ProgressSink* progress = nullptr;  ///< stage "epochs"
  Arena* arena = nullptr;            ///< null = the default arena
};

/// Multi-layer perceptron: dense layers with one activation, trained by Adam (Kingma & Ba,
/// arXiv:1412.6980) from Glorot's starting values. Classification: softmax and cross-entropy. Regression: squared error
/// on the standardised target, whose scale is folded back into the last layer, so that the model answers in its own
/// unit. Row weights multiply the loss (scaled to mean 1). The learned form is a `Graph`. Equal data, options, seed and
/// instruction set give equal bytes at any thread count. The defaults suit tables of 10^3 to 10^6 rows; small data
/// wants a smaller batch and more patience.
struct Mlp {
  MlpOptions options;

  /// Throws Error(refused) on sealed data; Error(invalid_argument) on bad options, missing targets or labels, a single
  /// class, inputs that stay missing after encoding, or a loss that is not finite (naming the epoch).
  Model fit(const Dataset& data) const;

  /// The same from rows that need not fit in memory: every epoch passes over `rows`, the encoded rows of `encoder` (for
  /// example a `CsvRowStream`), in their order, so shuffle the file. Rows weigh the same. `sample` gives the schema,
  /// the classes, mean and deviation of a regression target, and the self-test. `held_out`, which `rows` should not
  /// have, takes the place of `validation_fraction` for stopping; without rows, all epochs are run. With them the
  /// weights of the best epoch are taken, also where `patience` is 0 and all epochs are run. `encoder` takes the place
  /// of `options.encoder`; weights of `sample` and `held_out` are not used. ModelInfo::data_hash is the SHA-256 of the
  /// encoded values and targets in order. Throws what `fit` and `train_stream` do; Error(shape_mismatch) if `rows` are
  /// not of the encoder's width; Error(invalid_argument) if `held_out` has another target than `sample`.
  Model fit_stream(RowStream& rows, const Encoder& encoder, const Dataset& sample, const Dataset& held_out) const;
};

}  // namespace redoubt
