#include "nn/fit_network.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "nn/epochs.hpp"
#include "nn/require.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/parts.hpp"
#include "redoubt/nn/full_batch.hpp"
#include "redoubt/nn/trainer.hpp"

namespace redoubt::detail {
namespace {

/// Rows, targets and weights of a fit, checked.
struct Rows {
  Tensor<float> inputs;
  std::vector<float> targets;  // class codes, or values
  std::vector<float> weights;  // mean 1
  double target_mean = 0, target_deviation = 1;
};

void read_weights(const Dataset& data, std::string_view what, Rows& rows) {
  const auto given = data.weights();
  rows.weights.assign(data.rows(), 1.0f);
  if (given.empty()) return;
  double total = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (!(given[i] >= 0) || !std::isfinite(given[i])) {
      fail(errc::invalid_argument, fmt::format("{}: row id {} has weight {}; weights must be finite and >= 0", what,
                                               data.row_ids()[i], given[i]));
    }
    total += given[i];
  }
  if (!(total > 0)) fail(errc::invalid_argument, fmt::format("{}: all row weights are 0", what));
  const double scale = static_cast<double>(given.size()) / total;
  for (std::size_t i = 0; i < given.size(); ++i) rows.weights[i] = static_cast<float>(given[i] * scale);
}

void read_targets(const Dataset& data, bool standardise, Rows& rows) {
  const auto given = data.targets();
  double total = 0, mean = 0, square = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    total += rows.weights[i];
    mean += rows.weights[i] * given[i];
  }
  mean /= total;
  for (std::size_t i = 0; i < given.size(); ++i) square += rows.weights[i] * (given[i] - mean) * (given[i] - mean);
  if (standardise) {
    rows.target_mean = mean;
    if (square > 0) rows.target_deviation = std::sqrt(square / total);
  }
  for (const double y : given) {
    rows.targets.push_back(static_cast<float>((y - rows.target_mean) / rows.target_deviation));
  }
}

/// The steps of a fit on rows in memory, in an order of every epoch's own, and the rows held out.
class Steps {
 public:
  Steps(const NeuralNetworkOptions& options, const Rows& rows, Graph& graph, NetworkLoss loss)
      : options_(options), rows_(rows), graph_(graph) {
    std::vector<std::uint32_t> order(rows.inputs.rows());
    std::iota(order.begin(), order.end(), 0u);
    if (options.validation_fraction > 0) {
      Random(options.seed, 1).shuffle(std::span(order));
      const auto held = static_cast<std::size_t>(options.validation_fraction * static_cast<double>(order.size()));
      held_out_.assign(order.end() - static_cast<std::ptrdiff_t>(held), order.end());
      order.resize(order.size() - held);
      std::sort(order.begin(), order.end());
      std::sort(held_out_.begin(), held_out_.end());
    }
    training_ = std::move(order);
    batch_ = std::min<std::size_t>(options.batch, training_.size());
    inputs_ = Tensor<float>{batch_, graph.inputs()};
    targets_.resize(batch_);
    weights_.resize(batch_);
    trainer_.emplace(graph, std::move(loss), trainer_options(options, batch_, training_.size()));
  }

  Trainer& trainer() noexcept { return *trainer_; }
  bool any_held_out() const noexcept { return !held_out_.empty(); }

  /// Mean loss of the rows.
  double pass(int epoch) {
    std::vector<std::uint32_t> order = training_;
    Random(options_.seed, 1 + static_cast<std::uint64_t>(epoch)).shuffle(std::span(order));
    double loss = 0;
    for (std::size_t first = 0; first < order.size(); first += batch_) {
      const std::size_t count = gather(std::span(order).subspan(first, std::min(batch_, order.size() - first)));
      loss +=
          trainer_->step(rows(count), targets(count), std::span(weights_).first(count)) * static_cast<double>(count);
    }
    trainer_->flush();
    return loss / static_cast<double>(order.size());
  }

  /// Every accepted step of L-BFGS is an epoch.
  void run_full_batch(Epochs& epochs) {
    const std::size_t count = training_.size();
    Tensor<float> inputs({count, graph_.inputs()});
    std::vector<float> targets, weights;
    for (const std::uint32_t row : training_) {
      const auto from = rows_.inputs.row(row);
      std::copy(from.begin(), from.end(), inputs.row(targets.size()).begin());
      targets.push_back(rows_.targets[row]);
      weights.push_back(rows_.weights[row]);
    }
    const auto after = [&](const LbfgsResult& result) { return epochs.count(result.value); };
    const function_ref<bool(const LbfgsResult&)> asked(after);
    train_full_batch(*trainer_, graph_, inputs, MatrixView<const float>(targets.data(), count, 1), weights,
                     {.iterations = options_.epochs,
                      .history = options_.optimizer.history,
                      .weight_decay = options_.optimizer.weight_decay},
                     &asked);
  }

  double held_out_loss() {
    double loss = 0;
    for (std::size_t first = 0; first < held_out_.size(); first += batch_) {
      const std::size_t count = gather(std::span(held_out_).subspan(first, std::min(batch_, held_out_.size() - first)));
      loss += trainer_->loss(rows(count), targets(count), std::span(weights_).first(count));
    }
    return loss / static_cast<double>(held_out_.size());
  }

 private:
  MatrixView<const float> rows(std::size_t count) const { return {inputs_.data(), count, graph_.inputs()}; }
  MatrixView<const float> targets(std::size_t count) const { return {targets_.data(), count, 1}; }

  std::size_t gather(std::span<const std::uint32_t> picked) {
    for (std::size_t i = 0; i < picked.size(); ++i) {
      const auto row = rows_.inputs.row(picked[i]);
      std::copy(row.begin(), row.end(), inputs_.row(i).begin());
      targets_[i] = rows_.targets[picked[i]];
      weights_[i] = rows_.weights[picked[i]];
    }
    return picked.size();
  }

  const NeuralNetworkOptions& options_;
  const Rows& rows_;
  Graph& graph_;
  std::optional<Trainer> trainer_;
  std::vector<std::uint32_t> training_, held_out_;
  std::size_t batch_ = 1;
  Tensor<float> inputs_;
  std::vector<float> targets_, weights_;
};

}  // namespace

void check_inputs(const Dataset& data, std::string_view what, const Encoder& encoder, const Tensor<float>& inputs) {
  const auto values = inputs.flat();
  const auto bad = std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
  if (bad == values.end()) return;
  const auto at = static_cast<std::size_t>(bad - values.begin());
  fail(errc::invalid_argument,
       fmt::format("{}: row id {} has {} in encoded column \"{}\"; impute missing numbers (EncoderOptions::dense()) or "
                   "remove the row",
                   what, data.row_ids()[at / encoder.width()], *bad, encoder.names()[at % encoder.width()]));
}

TrainerOptions trainer_options(const NeuralNetworkOptions& o, std::size_t batch, std::uint64_t rows) {
  const std::uint64_t calls = (rows + batch - 1) / batch, moves = (calls + o.accumulate - 1) / o.accumulate;
  return {.batch = static_cast<std::uint32_t>(batch),
          .accumulate = o.accumulate,
          .optimizer = o.optimizer,
          .schedule = o.schedule,
          .precision = precision_of(o),
          .steps = moves * static_cast<std::uint64_t>(o.epochs),
          .clip_norm = o.clip_norm,
          .seed = o.seed,
          .callback = o.callback,
          .objective = o.objective,
          .arena = o.arena};
}

Shared<Graph> network_graph(const Dataset& data, std::size_t inputs, const NetworkTask& task) {
  const bool classification = data.task() == Task::classification;
  const std::size_t outputs = classification ? data.classes().size() : 1;
  auto graph = Shared<Graph>::make(task.make(inputs, outputs, classification));
  if (graph->inputs() != inputs || graph->outputs() != outputs) {
    fail(errc::shape_mismatch,
         fmt::format("{}: the network maps [{}] to {} values; the encoded columns are {} and the target needs {}",
                     task.algorithm, fmt::join(graph->input_shape(), ", "), graph->outputs(), inputs, outputs));
  }
  return graph;
}

void restore_target_scale(Graph& graph, double mean, double deviation) {
  const auto parameters = graph.parameters();
  const auto& table = graph.parameter_table();
  const GraphParameter &weight = table[table.size() - 2], &bias = table.back();
  for (float& w : parameters.subspan(weight.offset, weight.size)) w = static_cast<float>(w * deviation);
  for (float& b : parameters.subspan(bias.offset, bias.size)) b = static_cast<float>(b * deviation + mean);
}

NetworkLoss choose_loss(const Dataset& data, const NeuralNetworkOptions& options, std::string_view what) {
  const bool classification = data.task() == Task::classification;
  NetworkLoss loss = options.loss;
  if (loss.kind == LossKind::automatic) loss.kind = classification ? LossKind::cross_entropy : LossKind::mse;
  const bool labels = loss.kind <= LossKind::hinge;
  const bool values = loss.kind == LossKind::mse || loss.kind == LossKind::huber;
  if (classification ? !labels : !values) {
    fail(errc::invalid_argument,
         fmt::format("{}: the loss is not one for {}", what, classification ? "classes" : "values"));
  }
  if (!options.balanced) return loss;
  if (!classification) fail(errc::invalid_argument, fmt::format("{}: only classes can be balanced", what));
  std::vector<double> counts(data.classes().size(), 0.0);
  for (const auto label : data.labels()) ++counts[static_cast<std::size_t>(label)];
  loss.class_weights.resize(counts.size(), 1.0);
  const double even = static_cast<double>(data.rows()) / static_cast<double>(counts.size());
  // A class without rows, as a sample may have one, is taken to be as rare as can be.
  for (std::size_t k = 0; k < counts.size(); ++k) loss.class_weights[k] *= even / std::max(counts[k], 1.0);
  return loss;
}

Model learned_model(Shared<Graph> graph, const Dataset& sample, Shared<const Encoder> encoder,
                    const NeuralNetworkOptions& options, const NetworkTask& task, const Learned& learned) {
  Model::Parts parts;
  parts.info.algorithm = task.algorithm;
  parts.info.options =
      fmt::format("{} precision={} epochs_run={}", task.options, to_string(precision_of(options)), learned.epochs);
  parts.info.seed = options.seed;
  parts.info.data_hash = learned.data_hash;
  parts.info.train_rows = learned.rows;
  parts.info.library_version = version();
  parts.info.isa = to_string(active_isa());
  parts.task = sample.task();
  if (parts.task == Task::classification) parts.classes.assign(sample.classes().begin(), sample.classes().end());
  parts.encoder = std::move(encoder);
  parts.predictor = std::move(graph);
  return Model(std::move(parts), sample);
}

Model fit_network(const Dataset& data, const NeuralNetworkOptions& options, const NetworkTask& task) {
  data.require_trainable();
  check_options(options, task.algorithm);
  require(options.patience == 0 || options.validation_fraction > 0, task.algorithm, "validation_fraction",
          options.validation_fraction, "positive with patience");
  Rows rows;
  read_weights(data, task.algorithm, rows);
  EncoderOptions encoding = options.encoder;
  encoding.seed = options.seed;
  auto encoder = Shared<const Encoder>::make(Encoder::fit_apply(data, encoding, rows.inputs));
  check_inputs(data, task.algorithm, *encoder, rows.inputs);

  auto graph = network_graph(data, encoder->width(), task);
  const bool classification = data.task() == Task::classification;
  const bool standardise = !classification && graph->nodes().back().op == "dense";
  if (classification) {
    rows.targets.assign(data.labels().begin(), data.labels().end());
  } else {
    read_targets(data, standardise, rows);
  }
  graph->initialise(options.seed);
  Steps steps(options, rows, *graph, choose_loss(data, options, task.algorithm));
  const auto pass = [&](int epoch) { return steps.pass(epoch); };
  const auto held_out = [&] { return steps.held_out_loss(); };
  const function_ref<double()> held_out_loss(held_out);
  Epochs epochs(
      options, task.algorithm, steps.trainer(), *graph,
      {.pass = pass, .held_out_loss = steps.any_held_out() ? &held_out_loss : nullptr},
      options.checkpoint.empty() ? "" : fingerprint(data.hash(), options, task.algorithm, task.options, *graph));
  const bool full_batch = options.optimizer.kind == OptimizerKind::lbfgs;
  if (full_batch) steps.run_full_batch(epochs);
  const int run = full_batch ? epochs.finish() : epochs.run();
  if (standardise) restore_target_scale(*graph, rows.target_mean, rows.target_deviation);
  graph->compile();

  return learned_model(std::move(graph), data, std::move(encoder), options, task,
                       {.epochs = run, .data_hash = data.hash(), .rows = data.rows()});
}

}  // namespace redoubt::detail
