#include "redoubt/nn/trainer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "nn/graph_internal.hpp"
#include "nn/optimizer_state.hpp"
#include "nn/require.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/kernels/vector.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/training_callback.hpp"
#include "redoubt/nn/training_objective.hpp"

namespace redoubt {
namespace {

constexpr std::size_t norm_block = 16384;
constexpr std::size_t parallel_values = 65536;  // read; below, waking a thread costs more than it brings
constexpr std::uint64_t inspected = 64;  // moves from one look at all gradients to the next, which costs a reading

/// A table of which a step uses some rows.
struct SparseTable {
  std::size_t node = 0, offset = 0, width = 0;
  std::vector<std::uint8_t> stamp;  // per row: listed in `used`
  std::vector<std::uint32_t> used;  // rows of this move, each once
};

/// In double precision floats cannot add up to infinity, so the sum is finite if all are.
bool finite(std::span<const float> values) { return std::isfinite(kernels::sum(values)); }

bool finite(MatrixView<const float> values) {
  for (std::size_t r = 0; r < values.rows(); ++r) {
    if (!finite(values.row(r))) return false;
  }
  return true;
}

double sum_of_squares(const float* values, std::size_t count) {
  double sum = 0;
  for (std::size_t i = 0; i < count; ++i) sum += static_cast<double>(values[i]) * values[i];
  return sum;
}

void check_heads(const std::vector<LossHead>& heads, std::size_t scores) {
  if (heads.empty()) detail::fail(errc::invalid_argument, "trainer: there is no head");
  for (const LossHead& head : heads) {
    const NetworkLoss& loss = head.loss;
    if (head.size == 0 || head.first + head.size > scores) {
      detail::fail(errc::shape_mismatch, fmt::format("trainer: head \"{}\" is scores {} to {}; the graph has {}",
                                                     head.name, head.first, head.first + head.size, scores));
    }
    const auto require = [](bool good, std::string_view option, double value, std::string_view rule) {
      detail::require(good, "loss", option, value, rule);
    };
    require(loss.kind < LossKind::automatic, "kind", static_cast<double>(loss.kind), "one that says what to minimise");
    require(loss.smoothing >= 0 && loss.smoothing < 1, "smoothing", loss.smoothing, "in [0, 1)");
    require(loss.gamma >= 0 && std::isfinite(loss.gamma), "gamma", loss.gamma, "finite and >= 0");
    require(loss.delta > 0 && std::isfinite(loss.delta), "delta", loss.delta, "finite and positive");
    require(loss.margin > 0 && std::isfinite(loss.margin), "margin", loss.margin, "finite and positive");
    require(loss.weight > 0 && std::isfinite(loss.weight), "weight", loss.weight, "finite and positive");
    if (loss.class_weights.empty()) continue;
    require(loss.kind <= LossKind::hinge, "class_weights", static_cast<double>(loss.class_weights.size()),
            "empty for a loss without labels");
    require(loss.class_weights.size() == head.size, "the number of class weights",
            static_cast<double>(loss.class_weights.size()), fmt::format("{}, one per score", head.size));
    for (const double w : loss.class_weights) require(w >= 0 && std::isfinite(w), "a class weight", w, "finite, >= 0");
  }
}

}  // namespace

struct Trainer::Impl {
  Graph& graph;
  std::vector<LossHead> heads;
  TrainerOptions options;
  GraphWorkspace workspace;
  detail::OptimizerState optimizer;
  detail::AlignedVector<float> gradient;
  std::vector<detail::Range> ranges;  // what always moves
  std::vector<detail::Range> late;    // of it what `handed` does not
  std::vector<SparseTable> tables;
  std::vector<std::uint32_t> ids;  // scratch: rows used by one row
  std::vector<double> partial_norms;
  std::size_t target_columns = 0;
  std::uint64_t calls = 0, moves = 0;
  std::uint32_t pending = 0;  // calls since the last move
  std::size_t pending_rows = 0;
  double last_rate = 0;

  Impl(Graph& g, std::vector<LossHead> h, const TrainerOptions& o)
      : graph(g), heads(std::move(h)), options(checked(o)), workspace(g, o.batch), optimizer(g, o.optimizer) {
    check_heads(heads, g.score_count());
    options.precision = chosen_precision(o.precision);
    for (const LossHead& head : heads) target_columns += head.targets();
    gradient.resize(g.parameters().size());
    std::size_t most_ids = 0, blocks = 0;
    for (const GraphParameter& entry : g.parameter_table()) {
      if (entry.state) continue;
      if (entry.sparse) {
        SparseTable table{.node = entry.node, .offset = entry.offset, .width = entry.shape.back()};
        table.stamp.assign(entry.size / table.width, 0);
        table.used.reserve(table.stamp.size());
        most_ids = std::max(most_ids, op_size(g.shapes()[g.nodes()[entry.node].inputs[0]]));
        tables.push_back(std::move(table));
      } else {
        append(ranges, entry);
        const auto index = static_cast<std::size_t>(&entry - g.parameter_table().data());
        if (!g.hands_out_gradient(index)) append(late, entry);
      }
    }
    ids.resize(most_ids);
    for (const auto& range : ranges) blocks += (range.size + norm_block - 1) / norm_block;
    partial_norms.resize(blocks);
    if (o.objective) o.objective->begin(g, heads, o.batch);
    last_rate = o.optimizer.learning_rate;
  }

  static void append(std::vector<detail::Range>& to, const GraphParameter& entry) {
    // What lies between is padding, and state only between parameters of one op, which come first.
    if (!to.empty() && to.back().decay == entry.decay && to.back().offset + to.back().size + 16 > entry.offset)
      to.back().size = entry.offset + entry.size - to.back().offset;
    else
      to.push_back({entry.offset, entry.size, entry.decay});
  }

  kernels::ProductPrecision products() const {
    return options.precision == TrainingPrecision::bf16     ? kernels::ProductPrecision::bf16
           : options.precision == TrainingPrecision::fp32x3 ? kernels::ProductPrecision::fp32x3
                                                            : kernels::ProductPrecision::fp32;
  }

  static const TrainerOptions& checked(const TrainerOptions& o) {
    check(o.optimizer);
    check(o.schedule);
    const auto require = [](bool good, std::string_view option, double value, std::string_view rule) {
      detail::require(good, "trainer", option, value, rule);
    };
    require(o.batch >= 1 && o.batch <= (1u << 20), "batch", o.batch, "1 to 2^20");
    require(o.accumulate >= 1 && o.accumulate <= (1u << 20), "accumulate", o.accumulate, "1 to 2^20");
    require(o.precision <= TrainingPrecision::bf16, "precision", static_cast<double>(o.precision), "an enumerator");
    require(o.clip_norm >= 0 && std::isfinite(o.clip_norm), "clip_norm", o.clip_norm, "finite and >= 0");
    return o;
  }

  void check_finite(MatrixView<const float> rows) const {
    std::atomic<bool> good = true;
    const auto look = [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r)
        if (!finite(rows.row(r))) good.store(false, std::memory_order_relaxed);
    };
    if (rows.rows() * rows.cols() < parallel_values)
      look(0, rows.rows());
    else
      parallel_for(rows.rows(), std::max<std::size_t>(1, norm_block / rows.cols()), look, options.arena);
    if (good) return;
    for (std::size_t r = 0; r < rows.rows(); ++r) {
      const auto row = rows.row(r);
      const auto bad = std::find_if_not(row.begin(), row.end(), [](float v) { return std::isfinite(v); });
      if (bad == row.end()) continue;
      detail::fail(errc::invalid_argument,
                   fmt::format("trainer: row {}, value {} is {}; rows must be finite", r, bad - row.begin(), *bad));
    }
  }

  void check_call(MatrixView<const float> rows, MatrixView<const float> targets, std::span<const float> weights) const {
    if (rows.rows() == 0 || rows.rows() > options.batch || rows.cols() != graph.inputs() ||
        targets.rows() != rows.rows() || targets.cols() != target_columns ||
        (!weights.empty() && weights.size() != rows.rows())) {
      detail::fail(
          errc::shape_mismatch,
          fmt::format("trainer: {} x {} rows, {} x {} targets and {} weights; needed are 1 to {} rows of {}, as "
                      "many targets of {}, and as many weights or none",
                      rows.rows(), rows.cols(), targets.rows(), targets.cols(), weights.size(), options.batch,
                      graph.inputs(), target_columns));
    }
    check_finite(rows);
    std::size_t column = 0;
    for (const LossHead& head : heads) {
      if (has_labels(head.loss.kind)) {
        const bool classes = head.loss.kind != LossKind::triplet;  // else any whole number
        for (std::size_t r = 0; r < targets.rows(); ++r) {
          const float label = targets(r, column);
          if (label >= 0 && (classes ? label < static_cast<float>(head.size) : std::isfinite(label)) &&
              label == std::floor(label)) {
            continue;
          }
          detail::fail(errc::invalid_argument, fmt::format("trainer: row {} has label {} for head \"{}\" of {} classes",
                                                           r, label, head.name, head.size));
        }
      }
      column += head.targets();
    }
  }

  /// Sum of the losses; with `seed` their gradients times `share` go where the backward pass starts.
  double losses(std::size_t rows, MatrixView<const float> targets, std::span<const float> weights, bool seed,
                double share) {
    const auto scores = graph.value(workspace, graph.score_tensor(), rows);
    MatrixView<float> seeds;
    if (seed) {
      seeds = graph.gradient(workspace, graph.score_tensor(), rows);
      for (std::size_t r = 0; r < rows; ++r) std::fill(seeds.row(r).begin(), seeds.row(r).end(), 0.0f);
    }
    double sum = 0;
    for (std::size_t r = 0; r < rows; ++r) {
      const float weight = weights.empty() ? 1.0f : weights[r];
      std::size_t column = 0;
      for (const LossHead& head : heads) {
        if (head.loss.kind == LossKind::triplet) {
          column += 1;
          continue;
        }
        const auto to = seed ? seeds.row(r).subspan(head.first, head.size) : std::span<float>();
        sum += weight * loss_of_row(head.loss, scores.row(r).subspan(head.first, head.size),
                                    targets.row(r).subspan(column, head.targets()), to);
        column += head.targets();
      }
      if (seed) {
        const auto factor = static_cast<float>(weight * share);
        for (float& g : seeds.row(r)) g *= factor;
      }
    }
    std::size_t column = 0;
    for (const LossHead& head : heads) {
      if (head.loss.kind == LossKind::triplet) {
        const MatrixView<const float> labels(targets.data() + column, rows, 1, targets.stride());
        const MatrixView<float> to(seeds.data() + (seed ? head.first : 0), rows, head.size, seeds.stride());
        sum += triplet_loss(head.loss, {scores.data() + head.first, rows, head.size, scores.stride()}, labels, weights,
                            share, seed ? to : MatrixView<float>());
      }
      column += head.targets();
    }
    return sum;
  }

  [[noreturn]] void fail_diverged(double mean, MatrixView<const float> rows) {
    detail::fail(errc::invalid_argument,
                 fmt::format("trainer: the loss is {} in step {}; training diverged: {}. Lower the learning rate ({}), "
                             "clip gradients or scale the inputs",
                             mean, moves + 1, culprit(rows), last_rate));
  }

  class Pass;

  void mark_used(MatrixView<const float> rows) {
    for (SparseTable& table : tables) {
      const GraphNode& node = graph.nodes()[table.node];
      const std::uint32_t source = node.inputs[0];
      const Op& op = find_op(node.op);
      const MatrixView<const float> input = source == 0 ? rows : graph.value(workspace, source, rows.rows());
      for (std::size_t r = 0; r < input.rows(); ++r) {
        const std::size_t count = op.used_rows(input.row(r), node.attributes, ids);
        for (std::size_t i = 0; i < count; ++i) {
          if (table.stamp[ids[i]]) continue;
          table.stamp[ids[i]] = 1;
          table.used.push_back(ids[i]);
        }
      }
    }
  }

  double gradient_norm() {
    std::size_t block = 0;
    for (const auto& range : ranges) {
      const std::size_t first = block;
      parallel_for(
          range.size, norm_block,
          [&](std::size_t begin, std::size_t end) {
            partial_norms[first + begin / norm_block] =
                sum_of_squares(gradient.data() + range.offset + begin, end - begin);
          },
          options.arena);
      block += (range.size + norm_block - 1) / norm_block;
    }
    double sum = 0;
    for (const double part : partial_norms) sum += part;
    for (const SparseTable& table : tables) {
      for (const auto row : table.used)
        sum += sum_of_squares(gradient.data() + table.offset + row * table.width, table.width);
    }
    return std::sqrt(sum);
  }

  /// Names what is not finite first, in the order of computation.
  std::string culprit(MatrixView<const float> rows) {
    for (const GraphParameter& entry : graph.parameter_table()) {
      const auto values = std::as_const(graph).parameters().subspan(entry.offset, entry.size);
      if (!finite(values)) {
        return fmt::format("parameter {} holds values that are not finite", entry.name);
      }
    }
    for (std::uint32_t t = 1; t <= graph.score_tensor(); ++t) {
      if (!finite(graph.value(workspace, t, rows.rows()))) {
        return fmt::format("the output of node {} ({}) is the first that is not finite", t - 1,
                           graph.nodes()[t - 1].op);
      }
    }
    return "all tensors are finite; the targets or weights are not, or the loss is too large";
  }

  void clear_gradient() {
    std::fill(gradient.begin(), gradient.end(), 0.0f);
    start_over();
  }

  /// Of a gradient that is zero: no calls are in it.
  void start_over() {
    for (SparseTable& table : tables) {
      for (const auto row : table.used) table.stamp[row] = 0;
      table.used.clear();
    }
    pending = 0;
    pending_rows = 0;
  }

  double next_rate() const {
    const double scale = options.steps == 0 ? 1 : options.schedule.at(moves, options.steps);
    return options.optimizer.learning_rate * scale;
  }

  /// Some activations turn NaN into zero, so the loss alone does not tell.
  void check_gradient() {
    for (const GraphParameter& entry : graph.parameter_table()) {
      const bool good = finite(std::as_const(graph).parameters().subspan(entry.offset, entry.size));
      if (good && (entry.state || finite(std::span(gradient).subspan(entry.offset, entry.size)))) continue;
      const std::string& op = graph.nodes()[entry.node].op;
      const std::uint64_t at = moves + 1;
      clear_gradient();
      detail::fail(
          errc::invalid_argument,
          fmt::format("trainer: the gradient of {} ({}) is not finite in step {}; training diverged. Lower the "
                      "learning rate ({}), clip gradients or scale the inputs",
                      entry.name, op, at, last_rate));
    }
  }

  /// Of the gradient of `rows` rows: their shares assumed full batches.
  float factor_of(std::size_t rows) const {
    return static_cast<float>(static_cast<double>(options.batch) * options.accumulate / static_cast<double>(rows));
  }

  /// Nobody looks at the whole gradient before the weights move: blocks of it may move them as they come.
  bool moves_in_backward() const {
    return options.accumulate == 1 && options.clip_norm == 0 && !options.callback && !options.objective &&
           moves % inspected != 0;
  }

  void backward_and_move(MatrixView<const float> inputs, const OpTraining& training, Arena* arena) {
    last_rate = next_rate();
    optimizer.begin(++moves, last_rate);
    const float factor = factor_of(inputs.rows());
    const std::span<float> parameters = graph.parameters();
    const auto take = [&](std::size_t parameter, std::size_t row, std::size_t col, MatrixView<float> block) {
      const GraphParameter& entry = graph.parameter_table()[parameter];
      const std::size_t width = entry.shape.back(), at = entry.offset + row * width + col;
      const bool whole_rows = block.cols() == width && block.stride() == width;
      const std::size_t parts = whole_rows ? 1 : block.rows(), size = block.rows() * block.cols() / parts;
      for (std::size_t i = 0; i < parts; ++i)
        optimizer.move({at + i * width, size, entry.decay}, parameters, {block.row(i).data(), size}, factor,
                       &detail::serial_arena());
    };
    const GradientSink sink(take);
    graph.backward(inputs, workspace, gradient, false, &training, arena, &sink);
    move_ranges(late, factor);
    start_over();
  }

  void move(MatrixView<const float> rows, double loss) {
    float factor = factor_of(pending_rows);
    last_rate = next_rate();
    if (options.clip_norm > 0 || options.callback) {
      const double norm = factor * gradient_norm();
      if (options.callback) {
        options.callback->after_step({.graph = &graph,
                                      .workspace = &workspace,
                                      .rows = rows,
                                      .step = moves + 1,
                                      .loss = loss,
                                      .rate = last_rate,
                                      .gradient_norm = norm,
                                      .gradient = gradient});
      }
      if (!std::isfinite(norm)) check_gradient();
      if (options.clip_norm > 0 && norm > options.clip_norm) factor *= static_cast<float>(options.clip_norm / norm);
    }
    if (moves % inspected == 0) check_gradient();
    optimizer.begin(++moves, last_rate);
    move_ranges(ranges, factor);
    start_over();
  }

  void move_ranges(const std::vector<detail::Range>& list, float factor) {
    const std::span<float> parameters = graph.parameters(), slopes = gradient;
    for (const auto& range : list)
      optimizer.move(range, parameters, slopes.subspan(range.offset, range.size), factor, options.arena);
    for (const SparseTable& table : tables) {
      parallel_for(
          table.used.size(), std::max<std::size_t>(1, norm_block / table.width),
          [&](std::size_t begin, std::size_t end) {
            for (std::size_t i = begin; i < end; ++i) {
              const std::size_t at = table.offset + table.used[i] * table.width;
              optimizer.move({at, table.width, false}, parameters, slopes.subspan(at, table.width), factor,
                             options.arena);
            }
          },
          options.arena);
    }
  }
};

class Trainer::Impl::Pass final : public TrainingPass {
 public:
  Pass(Impl& impl, MatrixView<const float> r, MatrixView<const float> t, std::span<const float> w) : my(impl) {
    graph = &my.graph;
    workspace = &my.workspace;
    rows = r;
    targets = t;
    weights = w;
    heads = my.heads;
    training = {.seed = my.options.seed, .step = my.calls + 1, .products = my.products()};
    moves = my.moves;
    steps = my.options.steps;
    share = 1.0f / (static_cast<float>(my.options.batch) * static_cast<float>(my.options.accumulate));
    gradient = my.gradient;
    arena = my.options.arena ? my.options.arena : &Arena::default_arena();
  }
  MatrixView<float> forward(MatrixView<const float> inputs) override {
    my.graph.forward(inputs, my.workspace, &training, arena);
    last = inputs;
    return my.graph.value(my.workspace, my.graph.score_tensor(), rows.rows());
  }
  double loss(double factor) override {
    const double mean =
        my.losses(rows.rows(), targets, weights, true, factor * share) / static_cast<double>(rows.rows());
    if (!std::isfinite(mean)) my.fail_diverged(mean, last);
    return mean;
  }
  bool moved = false;  // backward() has moved the weights, too
  MatrixView<float> seeds() override { return my.graph.gradient(my.workspace, my.graph.score_tensor(), rows.rows()); }
  void backward(MatrixView<const float> inputs) override {
    my.mark_used(inputs);
    moved = my.moves_in_backward();
    if (moved)
      my.backward_and_move(inputs, training, arena);
    else
      my.graph.backward(inputs, my.workspace, my.gradient, false, &training, arena);
    my.graph.update_state(inputs, my.workspace, training);
  }

 private:
  Impl& my;
  MatrixView<const float> last;
};

Trainer::Trainer(Graph& graph, NetworkLoss loss, const TrainerOptions& options)
    : Trainer(graph, std::vector<LossHead>{{.name = "output", .size = graph.score_count(), .loss = std::move(loss)}},
              options) {}

Trainer::Trainer(Graph& graph, std::vector<LossHead> heads, const TrainerOptions& options)
    : impl_(new Impl(graph, std::move(heads), options)) {}

Trainer::~Trainer() { delete impl_; }

std::size_t Trainer::targets() const noexcept { return impl_->target_columns; }

double Trainer::step(MatrixView<const float> rows, MatrixView<const float> targets, std::span<const float> weights) {
  Impl& my = *impl_;
  if (my.options.optimizer.kind == OptimizerKind::lbfgs) {
    detail::fail(errc::invalid_argument, "trainer: lbfgs takes no steps of batches; see train_full_batch");
  }
  my.check_call(rows, targets, weights);
  Impl::Pass pass(my, rows, targets, weights);
  double mean = 0;
  try {
    mean = my.options.objective ? my.options.objective->step(pass) : pass.learn(rows);
    if (!std::isfinite(mean)) my.fail_diverged(mean, rows);
  } catch (...) {
    my.clear_gradient();
    throw;
  }
  ++my.calls;
  if (pass.moved) return mean;
  my.pending_rows += rows.rows();
  if (++my.pending == my.options.accumulate) my.move(rows, mean);
  return mean;
}

void Trainer::flush() {
  if (impl_->pending > 0) impl_->move({}, std::nan(""));
}

double Trainer::loss(MatrixView<const float> rows, MatrixView<const float> targets, std::span<const float> weights) {
  impl_->check_call(rows, targets, weights);
  impl_->graph.forward(rows, impl_->workspace, nullptr,
                       impl_->options.arena ? impl_->options.arena : &Arena::default_arena());
  return impl_->losses(rows.rows(), targets, weights, false, 1.0f);
}

double Trainer::gradient(MatrixView<const float> rows, MatrixView<const float> targets, std::span<const float> weights,
                         std::span<double> sum) {
  Impl& my = *impl_;
  my.check_call(rows, targets, weights);
  if (my.pending > 0) detail::fail(errc::refused, "trainer: gradients are accumulated; call flush() first");
  if (sum.size() != my.gradient.size()) {
    detail::fail(errc::shape_mismatch,
                 fmt::format("trainer: {} sums for {} parameters", sum.size(), my.gradient.size()));
  }
  Arena* const arena = my.options.arena ? my.options.arena : &Arena::default_arena();
  my.graph.forward(rows, my.workspace, nullptr, arena);
  const double value = my.losses(rows.rows(), targets, weights, true, 1.0);
  try {
    my.graph.backward(rows, my.workspace, my.gradient, false, nullptr, arena);
  } catch (...) {
    std::fill(my.gradient.begin(), my.gradient.end(), 0.0f);
    throw;
  }
  for (std::size_t i = 0; i < sum.size(); ++i) {
    sum[i] += my.gradient[i];
    my.gradient[i] = 0;
  }
  return value;
}

std::size_t Trainer::batch() const noexcept { return impl_->options.batch; }
std::uint64_t Trainer::steps() const noexcept { return impl_->moves; }
TrainingPrecision Trainer::precision() const noexcept { return impl_->options.precision; }
double Trainer::rate() const noexcept { return impl_->last_rate; }

void Trainer::save(Archive& archive) const {
  if (impl_->pending > 0) {
    detail::fail(errc::refused, "trainer: gradients are accumulated; call flush() before save");
  }
  const auto put = [&](std::string_view name, std::span<const float> values) {
    const std::size_t count = values.size();
    archive.put<float>(name, values, std::span<const std::size_t>(&count, 1));
  };
  put("trainer.parameters", std::as_const(impl_->graph).parameters());
  put("trainer.first", impl_->optimizer.first);
  put("trainer.second", impl_->optimizer.second);
  archive.set("trainer.precision", to_string(impl_->options.precision));
  archive.set_int("trainer.calls", static_cast<std::int64_t>(impl_->calls));
  archive.set_int("trainer.moves", static_cast<std::int64_t>(impl_->moves));
}

void Trainer::load(const Archive& archive) {
  Impl& my = *impl_;
  const std::string precision = archive.has("trainer.precision") ? archive.get("trainer.precision") : "strict_fp32";
  if (precision != to_string(my.options.precision)) {
    detail::fail(errc::refused, fmt::format("trainer: what was saved was trained in {}, this trainer works in {}",
                                            precision, to_string(my.options.precision)));
  }
  const auto get = [&](const char* name, std::size_t size) {
    const auto values = archive.tensor<float>(name).flat();
    if (values.size() != size) {
      detail::fail(errc::corrupt, fmt::format("trainer: tensor \"{}\" has {} values; this graph and optimizer need {}",
                                              name, values.size(), size));
    }
    return values;
  };
  const auto parameters = get("trainer.parameters", my.graph.parameters().size());
  const auto first = get("trainer.first", my.optimizer.first.size());
  const auto second = get("trainer.second", my.optimizer.second.size());
  const std::int64_t calls = archive.get_int("trainer.calls"), moves = archive.get_int("trainer.moves");
  if (calls < 0 || moves < 0 || moves > calls) {
    detail::fail(errc::corrupt, fmt::format("trainer: {} moves in {} calls", moves, calls));
  }
  std::copy(parameters.begin(), parameters.end(), my.graph.parameters().begin());
  std::copy(first.begin(), first.end(), my.optimizer.first.begin());
  std::copy(second.begin(), second.end(), my.optimizer.second.begin());
  my.calls = static_cast<std::uint64_t>(calls);
  my.moves = static_cast<std::uint64_t>(moves);
  my.clear_gradient();
  my.last_rate = my.next_rate();
}

}  // namespace redoubt
