#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "nn/fit_network.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/core/progress.hpp"
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
  std::uint64_t rows() const noexcept { return rows_; }
  std::string hash() { return to_hex(hash_.finish()); }

 private:
  RowStream& from_;
  double mean_, deviation_;
  int passes_ = 0;
  std::uint64_t rows_ = 0;
  Sha256 hash_;
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

/// Returns the number of epochs that were run.
int run_epochs(Trainer& trainer, Graph& graph, Passing& rows, const HeldOut& held_out,
               const NeuralNetworkOptions& options, std::string_view what) {
  std::vector<float> best;
  double best_loss = std::numeric_limits<double>::max();
  const auto progress = [&](int done) {
    if (!options.progress) return;
    options.progress->update("epochs", static_cast<std::size_t>(done), static_cast<std::size_t>(options.epochs));
  };
  int epoch = 0;
  for (int stale = 0; epoch < options.epochs && (options.patience == 0 || stale < options.patience);) {
    ++epoch;
    try {
      train_stream(trainer, rows);
    } catch (const Error& error) {
      if (error.code() != errc::invalid_argument) throw;
      fail(error.code(), fmt::format("{}: in epoch {}: {}", what, epoch, error.what()));
    }
    progress(epoch);
    if (!held_out.any()) continue;
    const double loss = held_out.loss(trainer);
    if (!std::isfinite(loss)) {
      fail(errc::invalid_argument,
           fmt::format("{}: the loss of the held-out rows is {} in epoch {}; training diverged. Lower the learning "
                       "rate ({}) or scale the inputs",
                       what, loss, epoch, options.optimizer.learning_rate));
    }
    ++stale;
    if (loss >= best_loss) continue;
    best_loss = loss;
    best.assign(graph.parameters().begin(), graph.parameters().end());
    stale = 0;
  }
  if (epoch < options.epochs) progress(options.epochs);
  if (!best.empty()) std::copy(best.begin(), best.end(), graph.parameters().begin());
  return epoch;
}

}  // namespace

Model fit_network(const StreamedRows& data, const NeuralNetworkOptions& options, const NetworkTask& task) {
  const std::size_t width = data.encoder.width();
  if (data.rows.inputs() != width) {
    fail(errc::shape_mismatch, fmt::format("{}: the rows of the stream have {} values, those of the encoder {}",
                                           task.algorithm, data.rows.inputs(), width));
  }
  const bool classification = data.sample.task() == Task::classification;
  auto graph = Shared<Graph>::make(
      task.make(width, classification ? data.sample.classes().size() : std::size_t{1}, classification));
  const bool standardise = !classification && graph->nodes().back().op == "dense";
  const auto scale = target_scale(data.sample, standardise);
  graph->initialise(options.seed);
  Trainer trainer(*graph, choose_loss(data.sample, options, task.algorithm),
                  {.batch = options.batch,
                   .optimizer = options.optimizer,
                   .precision = options.precision,
                   .seed = options.seed,
                   .arena = options.arena});
  Passing rows(data.rows, scale.first, scale.second);
  const HeldOut held_out(data, scale, task.algorithm, options.arena);
  const int epochs = run_epochs(trainer, *graph, rows, held_out, options, task.algorithm);
  if (standardise) restore_target_scale(*graph, scale.first, scale.second);
  graph->compile();

  return learned_model(std::move(graph), data.sample, Shared<const Encoder>::make(data.encoder), options, task,
                       {.epochs = epochs, .data_hash = rows.hash(), .rows = rows.rows()});
}

}  // namespace redoubt::detail
