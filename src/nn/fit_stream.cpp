#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>

#include "nn/epochs.hpp"
#include "nn/fit_network.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/row_stream.hpp"
#include "redoubt/nn/streaming.hpp"
#include "redoubt/nn/trainer.hpp"

namespace redoubt::detail {
namespace {

/// Rows on their way to the trainer: targets on the scale that is learned; the first pass counts and hashes.
class Passing final : public RowStream {
 public:
  Passing(RowStream& from, double mean, double deviation) : from_(from), mean_(mean), deviation_(deviation) {}
  std::size_t inputs() const noexcept override { return from_.inputs(); }
  std::size_t targets() const noexcept override { return from_.targets(); }
  void rewind() override {
    from_.rewind();
    ++passes_;
  }
  std::size_t read(MatrixView<float> rows, MatrixView<float> targets) override {
    const std::size_t count = from_.read(rows, targets);
    for (std::size_t r = 0; r < count; ++r) {
      if (passes_ == 1) {
        hash_.update(std::as_bytes(std::span<const float>(rows.row(r))));
        hash_.update(std::as_bytes(std::span<const float>(targets.row(r))));
      }
      for (float& y : targets.row(r)) y = static_cast<float>((y - mean_) / deviation_);
    }
    if (passes_ == 1) rows_ += count;
    return count;
  }
  /// The first pass, for nothing but to count and hash.
  void look_through() {
    constexpr std::size_t block = 1024;
    Tensor<float> rows({block, inputs()}), targets({block, this->targets()});
    rewind();
    while (read(rows, targets) > 0) continue;
  }
  /// Of the first pass, after it.
  std::uint64_t rows() const noexcept { return rows_; }
  const std::string& hash() {
    if (hash_text_.empty()) hash_text_ = to_hex(hash_.finish());
    return hash_text_;
  }

 private:
  RowStream& from_;
  double mean_, deviation_;
  int passes_ = 0;
  std::uint64_t rows_ = 0;
  Sha256 hash_;
  std::string hash_text_;
};

/// Mean and deviation of the targets; 0 and 1 if they are learned as they are.
std::pair<double, double> target_scale(const Dataset& sample, bool standardise) {
  if (!standardise) return {0, 1};
  const auto targets = sample.targets();
  const auto count = static_cast<double>(targets.size());
  double mean = 0, square = 0;
  for (const double y : targets) mean += y;
  mean /= count;
  for (const double y : targets) square += (y - mean) * (y - mean);
  return {mean, square > 0 ? std::sqrt(square / count) : 1};
}

/// Rows that stopping looks at, encoded.
class HeldOut {
 public:
  HeldOut(const StreamedRows& data, std::pair<double, double> scale, std::string_view what, Arena* arena) {
    const Dataset& rows = data.held_out;
    if (rows.rows() == 0) return;
    rows.require_trainable(/*needs_target=*/false);  // one class will do
    const bool classification = data.sample.task() == Task::classification;
    if (rows.task() != data.sample.task() ||
        (classification && !std::equal(rows.classes().begin(), rows.classes().end(), data.sample.classes().begin(),
                                       data.sample.classes().end()))) {
      fail(errc::invalid_argument, fmt::format("{}: the held-out rows have another target than the sample", what));
    }
    inputs_ = data.encoder.apply(rows, arena);
    check_inputs(rows, what, data.encoder, inputs_);
    for (std::size_t r = 0; r < rows.rows(); ++r) {
      if (classification ? rows.labels()[r] >= 0 : std::isfinite(rows.targets()[r])) continue;
      fail(errc::invalid_argument, fmt::format("{}: the held-out row id {} has no target", what, rows.row_ids()[r]));
    }
    if (classification) {
      targets_.assign(rows.labels().begin(), rows.labels().end());
      return;
    }
    for (const double y : rows.targets()) targets_.push_back(static_cast<float>((y - scale.first) / scale.second));
  }
  bool any() const noexcept { return !targets_.empty(); }
  double loss(Trainer& trainer) const {
    double loss = 0;
    for (std::size_t first = 0; first < targets_.size(); first += trainer.batch()) {
      const std::size_t last = std::min(targets_.size(), first + trainer.batch());
      loss += trainer.loss(MatrixView<const float>(inputs_).slice(first, last),
                           MatrixView<const float>(targets_.data() + first, last - first, 1));
    }
    return loss / static_cast<double>(targets_.size());
  }

 private:
  Tensor<float> inputs_;
  std::vector<float> targets_;
};

}  // namespace

Model fit_network(const StreamedRows& data, const NeuralNetworkOptions& options, const NetworkTask& task) {
  data.sample.require_trainable();
  check_options(options, task.algorithm);
  if (options.optimizer.kind == OptimizerKind::lbfgs)
    fail(errc::invalid_argument,
         fmt::format("{}: lbfgs needs all rows at once; they cannot be streamed", task.algorithm));
  const std::size_t width = data.encoder.width();
  if (data.rows.inputs() != width) {
    fail(errc::shape_mismatch, fmt::format("{}: the rows of the stream have {} values, those of the encoder {}",
                                           task.algorithm, data.rows.inputs(), width));
  }
  if (data.rows.targets() != 1) {
    fail(errc::shape_mismatch,
         fmt::format("{}: targets of the stream have {} values, not 1", task.algorithm, data.rows.targets()));
  }
  auto graph = network_graph(data.sample, width, task);
  const bool standardise = data.sample.task() != Task::classification && graph->nodes().back().op == "dense";
  const auto scale = target_scale(data.sample, standardise);
  graph->initialise(options.seed);
  // What can be said before the rows are read is said now.
  NetworkLoss loss = choose_loss(data.sample, options, task.algorithm);
  check(options.optimizer);
  check(options.schedule);
  const HeldOut held_out(data, scale, task.algorithm, options.arena);
  Passing rows(data.rows, scale.first, scale.second);
  // Schedules, and objectives whose demands rise, go by the number of steps; a checkpoint by the rows themselves.
  const bool scheduled = options.schedule.kind != ScheduleKind::constant || options.schedule.warmup > 0;
  if (scheduled || options.objective || !options.checkpoint.empty()) rows.look_through();
  Trainer trainer(*graph, std::move(loss), trainer_options(options, options.batch, rows.rows()));
  const auto pass = [&](int) { return train_stream(trainer, rows); };
  const auto loss_held_out = [&] { return held_out.loss(trainer); };
  const function_ref<double()> held_out_loss(loss_held_out);
  Epochs epochs(options, task.algorithm, trainer, *graph,
                {.pass = pass, .held_out_loss = held_out.any() ? &held_out_loss : nullptr},
                options.checkpoint.empty()
                    ? ""
                    : fingerprint(fmt::format("{} {} {}", rows.hash(), data.sample.hash(), data.held_out.hash()),
                                  options, task.algorithm, task.options, *graph));
  const int run = epochs.run();
  if (standardise) restore_target_scale(*graph, scale.first, scale.second);
  graph->compile();

  return learned_model(std::move(graph), data.sample, Shared<const Encoder>::make(data.encoder), options, task,
                       {.epochs = run, .data_hash = rows.hash(), .rows = rows.rows()});
}

}  // namespace redoubt::detail
