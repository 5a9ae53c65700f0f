#include "redoubt/nn/neural_network.hpp"

#include <fmt/format.h>

#include <array>
#include <functional>

#include "nn/fit_network.hpp"
#include "nn/require.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/parts.hpp"
#include "redoubt/nn/training_objective.hpp"

namespace redoubt {
namespace {

constexpr std::array<std::string_view, 6> optimizer_names{"sgd", "adam", "adamw", "rmsprop", "lion", "lbfgs"};
constexpr std::array<std::string_view, 4> schedule_names{"constant", "step", "cosine", "linear"};
constexpr std::array<std::string_view, 8> loss_names{"cross_entropy", "focal", "hinge",   "binary_cross_entropy",
                                                     "mse",           "huber", "triplet", "automatic"};

template <class Enum, std::size_t n>
std::string_view name_of(const std::array<std::string_view, n>& names, Enum value) {
  const auto at = static_cast<std::size_t>(value);
  return at < n ? names[at] : "?";
}

std::string options_text(const NeuralNetworkOptions& o) {
  const Optimizer& p = o.optimizer;
  const Schedule& s = o.schedule;
  const NetworkLoss& l = o.loss;
  const std::string history = p.kind == OptimizerKind::lbfgs ? fmt::format(" history={}", p.history) : "";
  const std::string objective = o.objective ? fmt::format(" objective={{{}}}", o.objective->name()) : "";
  return fmt::format(
      "optimizer={} learning_rate={} weight_decay={} momentum={} nesterov={} beta1={} beta2={} alpha={} epsilon={} "
      "schedule={} warmup={} final={} every={} factor={} loss={} weight={} smoothing={} gamma={} delta={} "
      "class_weights={} "
      "balanced={} epochs={} batch={} accumulate={} clip_norm={} patience={} validation_fraction={}{}{}",
      name_of(optimizer_names, p.kind), p.learning_rate, p.weight_decay, p.momentum, p.nesterov, p.beta1, p.beta2,
      p.alpha, p.epsilon, name_of(schedule_names, s.kind), s.warmup, s.final, s.every, s.factor,
      name_of(loss_names, l.kind), l.weight, l.smoothing, l.gamma, l.delta, fmt::join(l.class_weights, ","), o.balanced,
      o.epochs, o.batch, o.accumulate, o.clip_norm, o.patience, o.validation_fraction, history, objective);
}

}  // namespace

NeuralNetwork::NeuralNetwork(Sequential layers, NeuralNetworkOptions o)
    : options(std::move(o)), layers_(std::move(layers)) {}

NeuralNetwork::NeuralNetwork(Graph graph, NeuralNetworkOptions o)
    : options(std::move(o)), graph_(Shared<const Graph>::make(std::move(graph))) {}

Graph NeuralNetwork::graph(std::size_t inputs, std::size_t outputs, bool classification) const {
  if (graph_) return *graph_;
  return layers_.graph({static_cast<std::uint32_t>(inputs)}, outputs, classification);
}

Model NeuralNetwork::fit(const Dataset& data) const {
  const auto make = std::bind_front(&NeuralNetwork::graph, this);
  return detail::fit_network(data, options,
                             {.algorithm = "neural_network", .options = options_text(options), .make = make});
}

Model NeuralNetwork::fit_stream(RowStream& rows, const Encoder& encoder, const Dataset& sample,
                                const Dataset& held_out) const {
  detail::require(options.validation_fraction == 0, "neural_network", "validation_fraction",
                  options.validation_fraction, "0 with streamed rows: give the held-out rows themselves");
  detail::require(options.patience == 0 || held_out.rows() > 0, "neural_network", "patience", options.patience,
                  "0 without held-out rows");
  const auto make = std::bind_front(&NeuralNetwork::graph, this);
  return detail::fit_network(
      {.rows = rows, .encoder = encoder, .sample = sample, .held_out = held_out}, options,
      {.algorithm = "neural_network", .options = fmt::format("{} streamed=true", options_text(options)), .make = make});
}

Model network_model(Graph graph, const Dataset& sample, std::string_view algorithm) {
  std::vector<ColumnSpec> features;
  for (const std::size_t i : sample.schema().features()) features.push_back(sample.schema()[i]);
  return network_model(std::move(graph), sample, Encoder::identity(Schema(std::move(features))), algorithm);
}

Model network_model(Graph graph, const Dataset& sample, const Encoder& encoder, std::string_view algorithm) {
  Model::Parts parts;
  parts.info.algorithm = algorithm;
  parts.info.library_version = version();
  parts.info.isa = to_string(active_isa());
  parts.task = sample.task();
  if (sample.task() == Task::classification) parts.classes.assign(sample.classes().begin(), sample.classes().end());
  parts.encoder = Shared<const Encoder>::make(encoder);
  graph.compile();
  parts.predictor = Shared<Graph>::make(std::move(graph));
  return Model(std::move(parts), sample);
}

}  // namespace redoubt
