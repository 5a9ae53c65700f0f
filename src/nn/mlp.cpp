#include "redoubt/nn/mlp.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <string_view>

#include "nn/adam.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/kernels/activation.hpp"
#include "redoubt/model/parts.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt {
namespace {

constexpr std::array<std::string_view, 5> activation_names{"relu", "leaky_relu", "gelu", "tanh", "sigmoid"};
constexpr std::size_t evaluation_rows = 512;

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
  require(o.patience >= 0, "patience", o.patience, ">= 0");
  require(o.validation_fraction >= 0 && o.validation_fraction <= 0.9, "validation_fraction", o.validation_fraction,
          "in [0, 0.9]");
}

Graph make_graph(const MlpOptions& options, std::size_t inputs, std::size_t outputs, bool softmax) {
  std::vector<GraphNode> nodes;
  std::uint32_t tensor = 0;
  const auto add = [&](std::string_view op, std::vector<double> attributes = {}) {
    nodes.push_back({std::string(op), {tensor}, std::move(attributes)});
    tensor = static_cast<std::uint32_t>(nodes.size());
  };
  for (const auto width : options.hidden) {
    add("dense", {static_cast<double>(width)});
    if (options.layer_norm) add("layer_norm");
    add(activation_names[static_cast<std::size_t>(options.activation)]);
    if (options.dropout > 0) add("dropout", {options.dropout});
  }
  add("dense", {static_cast<double>(outputs)});
  if (softmax) add("softmax");
  return Graph({static_cast<std::uint32_t>(inputs)}, std::move(nodes));
}

/// Rows, targets and weights of a fit, checked.
struct Rows {
  Tensor<float> inputs;
  std::vector<std::int32_t> labels;  // classification
  std::vector<float> targets;        // regression, standardised
  std::vector<float> weights;        // mean 1
  double target_mean = 0, target_deviation = 1;
  bool classification() const { return !labels.empty(); }
};

void read_weights(const Dataset& data, Rows& rows) {
  const auto given = data.weights();
  rows.weights.assign(data.rows(), 1.0f);
  if (given.empty()) return;
  double total = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (!(given[i] >= 0) || !std::isfinite(given[i])) {
      detail::fail(errc::invalid_argument, fmt::format("mlp: row id {} has weight {}; weights must be finite and >= 0",
                                                       data.row_ids()[i], given[i]));
    }
    total += given[i];
  }
  if (!(total > 0)) detail::fail(errc::invalid_argument, "mlp: all row weights are 0");
  const double scale = static_cast<double>(given.size()) / total;
  for (std::size_t i = 0; i < given.size(); ++i) rows.weights[i] = static_cast<float>(given[i] * scale);
}

void read_targets(const Dataset& data, Rows& rows) {
  const auto given = data.targets();
  double total = 0, mean = 0, square = 0;
  for (std::size_t i = 0; i < given.size(); ++i) {
    total += rows.weights[i];
    mean += rows.weights[i] * given[i];
  }
  mean /= total;
  for (std::size_t i = 0; i < given.size(); ++i) square += rows.weights[i] * (given[i] - mean) * (given[i] - mean);
  rows.target_mean = mean;
  if (square > 0) rows.target_deviation = std::sqrt(square / total);
  for (const double y : given) rows.targets.push_back(static_cast<float>((y - mean) / rows.target_deviation));
}

void check_inputs(const Dataset& data, const Encoder& encoder, const Tensor<float>& inputs) {
  const auto values = inputs.flat();
  const auto bad = std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
  if (bad == values.end()) return;
  const auto at = static_cast<std::size_t>(bad - values.begin());
  detail::fail(errc::invalid_argument,
               fmt::format("mlp: row id {} has {} in encoded column \"{}\"; impute missing numbers "
                           "(EncoderOptions::dense()) or remove the row",
                           data.row_ids()[at / encoder.width()], *bad, encoder.names()[at % encoder.width()]));
}

class Trainer {
 public:
  Trainer(const MlpOptions& options, const Rows& rows, Graph& graph)
      : options_(options), rows_(rows), graph_(graph), adam_(graph, options.learning_rate, options.l2) {
    std::vector<std::uint32_t> order(rows.inputs.rows());
    std::iota(order.begin(), order.end(), 0u);
    if (options.patience > 0) {
      Random(options.seed, 1).shuffle(std::span(order));
      const auto held = static_cast<std::size_t>(options.validation_fraction * static_cast<double>(order.size()));
      held_out_.assign(order.end() - static_cast<std::ptrdiff_t>(held), order.end());
      order.resize(order.size() - held);
      std::sort(order.begin(), order.end());
      std::sort(held_out_.begin(), held_out_.end());
    }
    training_ = std::move(order);
  }

  /// Returns the number of epochs that were run.
  int run() {
    const std::size_t batch = std::min<std::size_t>(options_.batch, training_.size());
    GraphWorkspace workspace(graph_, batch);
    Tensor<float> inputs{batch, graph_.inputs()};
    std::vector<float> gradient(graph_.parameters().size());
    std::vector<float> best;
    double best_loss = std::numeric_limits<double>::infinity();
    int epoch = 0, stale = 0;
    OpTraining training{.seed = options_.seed};
    for (epoch = 1; epoch <= options_.epochs; ++epoch) {
      std::vector<std::uint32_t> order = training_;
      Random(options_.seed, 1 + static_cast<std::uint64_t>(epoch)).shuffle(std::span(order));
      double loss = 0;
      for (std::size_t first = 0; first < order.size(); first += batch) {
        const auto picked = std::span(order).subspan(first, std::min(batch, order.size() - first));
        const MatrixView<float> block{inputs.data(), picked.size(), graph_.inputs()};
        gather(picked, block);
        ++training.step;
        graph_.forward(block, workspace, &training, options_.arena);
        loss += seed_gradient(picked, workspace);
        std::fill(gradient.begin(), gradient.end(), 0.0f);
        graph_.backward(block, workspace, gradient, false, &training, options_.arena);
        adam_.step(graph_.parameters(), gradient, options_.arena);
      }
      if (!held_out_.empty()) loss = held_out_loss();
      if (!std::isfinite(loss)) {
        detail::fail(errc::invalid_argument,
                     fmt::format("mlp: the loss is {} in epoch {}; training diverged. Lower the learning rate ({}) or "
                                 "scale the inputs",
                                 loss, epoch, options_.learning_rate));
      }
      if (options_.progress) options_.progress->update("epochs", static_cast<std::size_t>(epoch), total_epochs());
      if (held_out_.empty()) continue;
      if (loss < best_loss) {
        best_loss = loss;
        best.assign(graph_.parameters().begin(), graph_.parameters().end());
        stale = 0;
      } else if (++stale >= options_.patience) {
        break;
      }
    }
    epoch = std::min(epoch, options_.epochs);
    if (options_.progress && epoch < options_.epochs)
      options_.progress->update("epochs", total_epochs(), total_epochs());
    if (!best.empty()) std::copy(best.begin(), best.end(), graph_.parameters().begin());
    return epoch;
  }

 private:
  std::size_t total_epochs() const { return static_cast<std::size_t>(options_.epochs); }

  void gather(std::span<const std::uint32_t> picked, MatrixView<float> block) const {
    for (std::size_t i = 0; i < picked.size(); ++i) {
      const auto row = rows_.inputs.row(picked[i]);
      std::copy(row.begin(), row.end(), block.row(i).begin());
    }
  }

  /// Weighted loss of a row; if `gradient` is not empty it receives weight * dloss/dscores.
  double row_loss(std::uint32_t row, std::span<const float> scores, std::span<float> gradient) const {
    const float weight = rows_.weights[row];
    if (!rows_.classification()) {
      const float residual = scores[0] - rows_.targets[row];
      if (!gradient.empty()) gradient[0] = weight * residual;
      return 0.5 * weight * static_cast<double>(residual) * residual;
    }
    const auto label = static_cast<std::size_t>(rows_.labels[row]);
    const float total = kernels::log_sum_exp(scores);
    if (!gradient.empty()) {
      for (std::size_t k = 0; k < scores.size(); ++k) gradient[k] = weight * std::exp(scores[k] - total);
      gradient[label] -= weight;
    }
    return static_cast<double>(weight) * (static_cast<double>(total) - scores[label]);
  }

  /// Sum of the losses of a batch; the gradient of their mean goes where the backward pass starts.
  double seed_gradient(std::span<const std::uint32_t> picked, GraphWorkspace& workspace) const {
    const auto scores = graph_.value(workspace, graph_.score_tensor(), picked.size());
    const auto seeds = graph_.gradient(workspace, graph_.score_tensor(), picked.size());
    const float share = 1.0f / static_cast<float>(picked.size());
    double loss = 0;
    for (std::size_t i = 0; i < picked.size(); ++i) {
      loss += row_loss(picked[i], scores.row(i), seeds.row(i));
      for (float& g : seeds.row(i)) g *= share;
    }
    return loss;
  }

  double held_out_loss() const {
    GraphWorkspace workspace(graph_, std::min(evaluation_rows, held_out_.size()), false);
    Tensor<float> inputs{workspace.rows(), graph_.inputs()};
    double loss = 0;
    for (std::size_t first = 0; first < held_out_.size(); first += workspace.rows()) {
      const auto picked = std::span(held_out_).subspan(first, std::min(workspace.rows(), held_out_.size() - first));
      const MatrixView<float> block{inputs.data(), picked.size(), graph_.inputs()};
      gather(picked, block);
      graph_.forward(block, workspace, nullptr, options_.arena);
      const auto scores = graph_.value(workspace, graph_.score_tensor(), picked.size());
      for (std::size_t i = 0; i < picked.size(); ++i) loss += row_loss(picked[i], scores.row(i), {});
    }
    return loss / static_cast<double>(held_out_.size());
  }

  const MlpOptions& options_;
  const Rows& rows_;
  Graph& graph_;
  detail::Adam adam_;
  std::vector<std::uint32_t> training_, held_out_;
};

/// The last layer learned (y - mean) / deviation; afterwards it answers y.
void restore_target_scale(Graph& graph, const Rows& rows) {
  const auto parameters = graph.parameters();
  const auto& table = graph.parameter_table();
  const GraphParameter &weight = table[table.size() - 2], &bias = table.back();
  for (float& w : parameters.subspan(weight.offset, weight.size)) w = static_cast<float>(w * rows.target_deviation);
  for (float& b : parameters.subspan(bias.offset, bias.size)) {
    b = static_cast<float>(b * rows.target_deviation + rows.target_mean);
  }
}

}  // namespace

Model Mlp::fit(const Dataset& data) const {
  data.require_trainable();
  check(options);
  Rows rows;
  read_weights(data, rows);
  const bool classification = data.task() == Task::classification;
  if (classification) {
    rows.labels.assign(data.labels().begin(), data.labels().end());
  } else {
    read_targets(data, rows);
  }
  EncoderOptions encoding = options.encoder;
  encoding.seed = options.seed;
  auto encoder = Shared<const Encoder>::make(Encoder::fit_apply(data, encoding, rows.inputs));
  check_inputs(data, *encoder, rows.inputs);

  auto graph = Shared<Graph>::make(
      make_graph(options, encoder->width(), classification ? data.classes().size() : 1, classification));
  graph->initialise(options.seed);
  const int epochs = Trainer(options, rows, *graph).run();
  if (!classification) restore_target_scale(*graph, rows);

  Model::Parts parts;
  parts.info.algorithm = "mlp";
  parts.info.options = fmt::format(
      "hidden={} activation={} epochs={} batch={} learning_rate={} l2={} dropout={} layer_norm={} patience={} "
      "validation_fraction={} epochs_run={}",
      fmt::join(options.hidden, ","), activation_names[static_cast<std::size_t>(options.activation)], options.epochs,
      options.batch, options.learning_rate, options.l2, options.dropout, options.layer_norm, options.patience,
      options.validation_fraction, epochs);
  parts.info.seed = options.seed;
  parts.info.data_hash = data.hash();
  parts.info.train_rows = data.rows();
  parts.info.library_version = version();
  parts.info.isa = to_string(active_isa());
  parts.task = data.task();
  if (classification) parts.classes.assign(data.classes().begin(), data.classes().end());
  parts.encoder = std::move(encoder);
  parts.predictor = graph;
  return Model(std::move(parts), data);
}

}  // namespace redoubt
