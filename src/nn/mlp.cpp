#include "redoubt/nn/mlp.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>

#include "nn/fit_network.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/dataset.hpp"

namespace redoubt {
namespace {

constexpr std::array<std::string_view, 5> activation_names{"relu", "leaky_relu", "gelu", "tanh", "sigmoid"};

void check(const MlpOptions& o) {
  const auto require = [](bool good, std::string_view name, auto value, std::string_view rule) {
    if (!good) detail::fail(errc::invalid_argument, fmt::format("mlp: {} is {}; it must be {}", name, value, rule));
  };
  for (const auto width : o.hidden) require(width >= 1 && width <= 65536, "a hidden width", width, "1 to 65536");
  require(o.hidden.size() <= 64, "the number of hidden layers", o.hidden.size(), "at most 64");
  require(o.activation <= MlpActivation::sigmoid, "activation", static_cast<int>(o.activation),
          "one of the enumerators");
  require(o.epochs >= 1, "epochs", o.epochs, "at least 1");
  require(o.batch >= 1 && o.batch <= (1u << 20), "batch", o.batch, "1 to 2^20");
  require(o.learning_rate > 0 && std::isfinite(o.learning_rate), "learning_rate", o.learning_rate, "positive");
  require(o.l2 >= 0 && std::isfinite(o.l2), "l2", o.l2, "finite and >= 0");
  require(o.dropout >= 0 && o.dropout <= 0.99, "dropout", o.dropout, "in [0, 0.99]");
  require(o.precision <= TrainingPrecision::bf16, "precision", static_cast<int>(o.precision), "one of the enumerators");
  require(o.patience >= 0, "patience", o.patience, ">= 0");
  require(o.validation_fraction >= 0 && o.validation_fraction <= 0.9, "validation_fraction", o.validation_fraction,
          "in [0, 0.9]");
}

Sequential layers(const MlpOptions& options) {
  Sequential list;
  const Layer activation{.kind = std::string(activation_names[static_cast<std::size_t>(options.activation)])};
  for (const auto width : options.hidden) {
    list.layers.push_back(layer::Dense{width});
    if (options.layer_norm) list.layers.push_back(layer::LayerNorm{});
    list.layers.push_back(activation);
    if (options.dropout > 0) list.layers.push_back(layer::Dropout{options.dropout});
  }
  list.layers.push_back(layer::Output{});
  return list;
}

NeuralNetworkOptions training_options(const MlpOptions& options, Task task) {
  NeuralNetworkOptions training{.epochs = options.epochs,
                                .batch = options.batch,
                                .precision = options.precision,
                                .validation_fraction = options.patience > 0 ? options.validation_fraction : 0.0,
                                .seed = options.seed,
                                .encoder = options.encoder,
                                .progress = options.progress,
                                .arena = options.arena};
  training.optimizer = {.learning_rate = options.learning_rate, .weight_decay = options.l2};
  training.patience = training.validation_fraction > 0 ? options.patience : 0;
  if (task != Task::classification) training.loss = {.kind = LossKind::mse, .weight = 0.5};
  return training;
}

std::string options_text(const MlpOptions& options) {
  return fmt::format(
      "hidden={} activation={} epochs={} batch={} learning_rate={} l2={} dropout={} layer_norm={} patience={}",
      fmt::join(options.hidden, ","), activation_names[static_cast<std::size_t>(options.activation)], options.epochs,
      options.batch, options.learning_rate, options.l2, options.dropout, options.layer_norm, options.patience);
}

/// For NetworkTask::make; `options` must outlive it.
auto maker(const MlpOptions& options) {
  return [&options](std::size_t inputs, std::size_t outputs, bool classification) {
    return layers(options).graph({static_cast<std::uint32_t>(inputs)}, outputs, classification);
  };
}

}  // namespace

Model Mlp::fit(const Dataset& data) const {
  data.require_trainable();
  check(options);
  const auto make = maker(options);
  const std::string text = fmt::format("{} validation_fraction={}", options_text(options), options.validation_fraction);
  return detail::fit_network(data, training_options(options, data.task()),
                             {.algorithm = "mlp", .options = text, .make = make});
}

Model Mlp::fit_stream(RowStream& rows, const Encoder& encoder, const Dataset& sample, const Dataset& held_out) const {
  check(options);
  const auto make = maker(options);
  NeuralNetworkOptions training = training_options(options, sample.task());
  training.patience = options.patience;
  training.validation_fraction = 0;  // held_out takes its place
  const std::string text = fmt::format("{} streamed=true", options_text(options));
  return detail::fit_network({.rows = rows, .encoder = encoder, .sample = sample, .held_out = held_out}, training,
                             {.algorithm = "mlp", .options = text, .make = make});
}

}  // namespace redoubt
