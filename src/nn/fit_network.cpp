#include "nn/fit_network.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <numeric>
#include <optional>

#include "nn/require.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/parts.hpp"
#include "redoubt/nn/full_batch.hpp"
#include "redoubt/nn/trainer.hpp"
#include "redoubt/nn/training_callback.hpp"

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

/// L-BFGS takes its gradients in fp32.
TrainingPrecision precision_of(const NeuralNetworkOptions& o) {
  return o.optimizer.kind == OptimizerKind::lbfgs ? TrainingPrecision::strict_fp32 : chosen_precision(o.precision);
}

/// The epochs of a fit.
class Epochs {
 public:
  Epochs(const NeuralNetworkOptions& options, const NetworkTask& task, const Rows& rows, Graph& graph, NetworkLoss loss,
         std::string fingerprint)
      : options_(options), task_(task), rows_(rows), graph_(graph), fingerprint_(std::move(fingerprint)) {
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
    const std::size_t calls = (training_.size() + batch_ - 1) / batch_;
    const std::size_t moves = (calls + options.accumulate - 1) / options.accumulate;
    inputs_ = Tensor<float>{batch_, graph.inputs()};
    targets_.resize(batch_);
    weights_.resize(batch_);
    trainer_.emplace(graph, std::move(loss),
                     TrainerOptions{.batch = static_cast<std::uint32_t>(batch_),
                                    .accumulate = options.accumulate,
                                    .optimizer = options.optimizer,
                                    .schedule = options.schedule,
                                    .precision = precision_of(options),
                                    .steps = moves * static_cast<std::uint64_t>(options.epochs),
                                    .clip_norm = options.clip_norm,
                                    .seed = options.seed,
                                    .callback = options.callback,
                                    .objective = options.objective,
                                    .arena = options.arena});
  }

  /// Returns the number of epochs that were run.
  int run() {
    if (!options_.checkpoint.empty() && std::filesystem::exists(options_.checkpoint)) resume();
    if (options_.optimizer.kind == OptimizerKind::lbfgs) run_full_batch();
    while (epoch_ < options_.epochs && !stopped_) {
      ++epoch_;
      run_epoch();
      if (!options_.checkpoint.empty() &&
          (epoch_ % options_.checkpoint_every == 0 || epoch_ == options_.epochs || stopped_)) {
        save();
      }
    }
    if (options_.progress && epoch_ < options_.epochs) progress(options_.epochs);
    if (!best_.empty()) std::copy(best_.begin(), best_.end(), graph_.parameters().begin());
    return epoch_;
  }

 private:
  void progress(int done) const {
    options_.progress->update("epochs", static_cast<std::size_t>(done), static_cast<std::size_t>(options_.epochs));
  }

  /// Every accepted step is an epoch.
  void run_full_batch() {
    const std::size_t count = training_.size();
    Tensor<float> inputs({count, graph_.inputs()});
    std::vector<float> targets, weights;
    for (const std::uint32_t row : training_) {
      const auto from = rows_.inputs.row(row);
      std::copy(from.begin(), from.end(), inputs.row(targets.size()).begin());
      targets.push_back(rows_.targets[row]);
      weights.push_back(rows_.weights[row]);
    }
    const auto after = [&](const LbfgsResult& result) {
      ++epoch_;
      after_epoch(result.value);
      return !stopped_;
    };
    const function_ref<bool(const LbfgsResult&)> asked(after);
    train_full_batch(*trainer_, graph_, inputs, MatrixView<const float>(targets.data(), count, 1), weights,
                     {.iterations = options_.epochs,
                      .history = options_.optimizer.history,
                      .weight_decay = options_.optimizer.weight_decay},
                     &asked);
    stopped_ = true;
  }

  void run_epoch() {
    std::vector<std::uint32_t> order = training_;
    Random(options_.seed, 1 + static_cast<std::uint64_t>(epoch_)).shuffle(std::span(order));
    double loss = 0;
    try {
      for (std::size_t first = 0; first < order.size(); first += batch_) {
        const std::size_t count = gather(std::span(order).subspan(first, std::min(batch_, order.size() - first)));
        loss +=
            trainer_->step(rows(count), targets(count), std::span(weights_).first(count)) * static_cast<double>(count);
      }
      trainer_->flush();
    } catch (const Error& error) {
      if (error.code() != errc::invalid_argument) throw;
      fail(error.code(), fmt::format("{}: in epoch {}: {}", task_.algorithm, epoch_, error.what()));
    }
    after_epoch(loss / static_cast<double>(order.size()));
  }

  void after_epoch(double loss) {
    double held_out = std::numeric_limits<double>::quiet_NaN();
    if (!held_out_.empty()) held_out = held_out_loss();
    if (!held_out_.empty() && !std::isfinite(held_out)) {
      fail(
          errc::invalid_argument,
          fmt::format("{}: the loss of the held-out rows is {} in epoch {}; training diverged. Lower the learning rate "
                      "({}) or scale the inputs",
                      task_.algorithm, held_out, epoch_, options_.optimizer.learning_rate));
    }
    if (options_.progress) progress(epoch_);
    if (!held_out_.empty()) {
      if (held_out < best_loss_) {
        best_loss_ = held_out;
        best_.assign(graph_.parameters().begin(), graph_.parameters().end());
        stale_ = 0;
      } else if (++stale_ >= options_.patience && options_.patience > 0) {
        stopped_ = true;
      }
    }
    const TrainingEpoch report{.epoch = epoch_,
                               .epochs = options_.epochs,
                               .loss = loss,
                               .validation_loss = held_out,
                               .rate = trainer_->rate(),
                               .precision = trainer_->precision()};
    if (options_.callback && !options_.callback->after_epoch(report)) stopped_ = true;
  }

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

  double held_out_loss() {
    double loss = 0;
    for (std::size_t first = 0; first < held_out_.size(); first += batch_) {
      const std::size_t count = gather(std::span(held_out_).subspan(first, std::min(batch_, held_out_.size() - first)));
      loss += trainer_->loss(rows(count), targets(count), std::span(weights_).first(count));
    }
    return loss / static_cast<double>(held_out_.size());
  }

  void save() const {
    Archive archive;
    archive.set("checkpoint.fingerprint", fingerprint_);
    archive.set_int("checkpoint.epoch", epoch_);
    archive.set_int("checkpoint.stale", stale_);
    archive.set_int("checkpoint.stopped", stopped_);
    archive.set_number("checkpoint.best_loss", best_loss_);
    archive.put<float>("checkpoint.best", best_);
    trainer_->save(archive);
    archive.write(options_.checkpoint);
  }

  void resume() {
    const Archive archive = Archive::read(options_.checkpoint);
    if (archive.get("checkpoint.fingerprint") != fingerprint_) {
      fail(errc::refused, fmt::format("{}: the checkpoint {} belongs to other options, another network or other data; "
                                      "name another file or remove it",
                                      task_.algorithm, options_.checkpoint));
    }
    const auto best = archive.get_vector<float>("checkpoint.best");
    const std::int64_t epoch = archive.get_int("checkpoint.epoch"), stale = archive.get_int("checkpoint.stale");
    if ((!best.empty() && best.size() != graph_.parameters().size()) || epoch < 1 || epoch > options_.epochs ||
        stale < 0 || stale > epoch) {
      fail(errc::corrupt, fmt::format("{}: checkpoint {}: epoch {}, {} stale epochs and {} weights do not fit",
                                      task_.algorithm, options_.checkpoint, epoch, stale, best.size()));
    }
    const double best_loss = archive.get_number("checkpoint.best_loss");
    const bool stopped = archive.get_int("checkpoint.stopped") != 0;
    trainer_->load(archive);
    best_ = best;
    best_loss_ = best_loss;
    epoch_ = static_cast<int>(epoch);
    stale_ = static_cast<int>(stale);
    stopped_ = stopped;
  }

  const NeuralNetworkOptions& options_;
  const NetworkTask& task_;
  const Rows& rows_;
  Graph& graph_;
  std::string fingerprint_;
  std::optional<Trainer> trainer_;
  std::vector<std::uint32_t> training_, held_out_;
  std::size_t batch_ = 1;
  Tensor<float> inputs_;
  std::vector<float> targets_, weights_;
  std::vector<float> best_;
  double best_loss_ = std::numeric_limits<double>::max();
  int epoch_ = 0, stale_ = 0;
  bool stopped_ = false;
};

/// Of everything that the weights depend on.
std::string fingerprint(const Dataset& data, const NeuralNetworkOptions& o, const NetworkTask& task,
                        const Graph& graph) {
  std::string text = fmt::format("{} {} {} {} {} {} {}", task.algorithm, task.options, data.hash(), o.seed, o.epochs,
                                 to_string(active_isa()), to_string(precision_of(o)));
  for (const GraphNode& node : graph.nodes()) {
    text += fmt::format(" {}({};{};{})", node.op, fmt::join(node.inputs, ","), fmt::join(node.attributes, ","),
                        static_cast<int>(node.initialiser));
  }
  const EncoderOptions& e = o.encoder;
  text += fmt::format(" {} {} {} {} {} {}", static_cast<int>(e.numeric), e.impute, static_cast<int>(e.categorical),
                      e.target_smoothing, e.text_dims, e.text_ngrams);
  return sha256_hex(text);
}

void check(const NeuralNetworkOptions& o, std::string_view what) {
  require(o.epochs >= 1, what, "epochs", o.epochs, "at least 1");
  require(o.batch >= 1 && o.batch <= (1u << 20), what, "batch", o.batch, "1 to 2^20");
  require(o.precision <= TrainingPrecision::bf16, what, "precision", static_cast<double>(o.precision), "an enumerator");
  require(o.patience >= 0, what, "patience", o.patience, ">= 0");
  require(o.validation_fraction >= 0 && o.validation_fraction <= 0.9, what, "validation_fraction",
          o.validation_fraction, "in [0, 0.9]");
  require(o.patience == 0 || o.validation_fraction > 0, what, "validation_fraction", o.validation_fraction,
          "positive with patience");
  require(o.checkpoint_every >= 1, what, "checkpoint_every", o.checkpoint_every, "at least 1");
  if (o.optimizer.kind != OptimizerKind::lbfgs) return;
  require(o.accumulate == 1, what, "accumulate", o.accumulate, "1 with lbfgs");
  require(o.precision <= TrainingPrecision::strict_fp32, what, "precision", static_cast<double>(o.precision),
          "automatic or strict_fp32 with lbfgs");
  require(o.clip_norm == 0, what, "clip_norm", o.clip_norm, "0 with lbfgs");
  if (!o.checkpoint.empty() || o.objective) {
    fail(errc::invalid_argument, fmt::format("{}: lbfgs takes neither a checkpoint nor an objective", what));
  }
}

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
  for (std::size_t k = 0; k < counts.size(); ++k) {
    if (counts[k] > 0) loss.class_weights[k] *= even / counts[k];
  }
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
  check(options, task.algorithm);
  Rows rows;
  read_weights(data, task.algorithm, rows);
  const bool classification = data.task() == Task::classification;
  EncoderOptions encoding = options.encoder;
  encoding.seed = options.seed;
  auto encoder = Shared<const Encoder>::make(Encoder::fit_apply(data, encoding, rows.inputs));
  check_inputs(data, task.algorithm, *encoder, rows.inputs);

  const std::size_t outputs = classification ? data.classes().size() : 1;
  auto graph = Shared<Graph>::make(task.make(encoder->width(), outputs, classification));
  if (graph->inputs() != encoder->width() || graph->outputs() != outputs) {
    fail(errc::shape_mismatch,
         fmt::format("{}: the network maps [{}] to {} values; the encoded columns are {} and the target needs {}",
                     task.algorithm, fmt::join(graph->input_shape(), ", "), graph->outputs(), encoder->width(),
                     outputs));
  }
  const bool standardise = !classification && graph->nodes().back().op == "dense";
  if (classification) {
    rows.targets.assign(data.labels().begin(), data.labels().end());
  } else {
    read_targets(data, standardise, rows);
  }
  graph->initialise(options.seed);
  const int epochs = Epochs(options, task, rows, *graph, choose_loss(data, options, task.algorithm),
                            options.checkpoint.empty() ? "" : fingerprint(data, options, task, *graph))
                         .run();
  if (standardise) restore_target_scale(*graph, rows.target_mean, rows.target_deviation);
  graph->compile();

  return learned_model(std::move(graph), data, std::move(encoder), options, task,
                       {.epochs = epochs, .data_hash = data.hash(), .rows = data.rows()});
}

}  // namespace redoubt::detail
