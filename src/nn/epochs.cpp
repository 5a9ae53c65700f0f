#include "nn/epochs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "nn/require.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/nn/training_callback.hpp"

namespace redoubt::detail {

void check_options(const NeuralNetworkOptions& o, std::string_view what) {
  require(o.epochs >= 1, what, "epochs", o.epochs, "at least 1");
  require(o.batch >= 1 && o.batch <= (1u << 20), what, "batch", o.batch, "1 to 2^20");
  require(o.accumulate >= 1, what, "accumulate", o.accumulate, "at least 1");
  require(o.precision <= TrainingPrecision::bf16, what, "precision", static_cast<double>(o.precision), "an enumerator");
  require(o.patience >= 0, what, "patience", o.patience, ">= 0");
  require(o.validation_fraction >= 0 && o.validation_fraction <= 0.9, what, "validation_fraction",
          o.validation_fraction, "in [0, 0.9]");
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

TrainingPrecision precision_of(const NeuralNetworkOptions& o) {
  return o.optimizer.kind == OptimizerKind::lbfgs ? TrainingPrecision::strict_fp32 : chosen_precision(o.precision);
}

std::string fingerprint(std::string_view data_hash, const NeuralNetworkOptions& o, std::string_view algorithm,
                        std::string_view options_text, const Graph& graph) {
  std::string text = fmt::format("{} {} {} {} {} {} {}", algorithm, options_text, data_hash, o.seed, o.epochs,
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

Epochs::Epochs(const NeuralNetworkOptions& options, std::string_view algorithm, Trainer& trainer, Graph& graph,
               Work work, std::string fingerprint)
    : options_(options),
      algorithm_(algorithm),
      trainer_(trainer),
      graph_(graph),
      work_(work),
      fingerprint_(std::move(fingerprint)) {}

int Epochs::run() {
  if (!options_.checkpoint.empty() && std::filesystem::exists(options_.checkpoint)) resume();
  while (epoch_ < options_.epochs && !stopped_) {
    double loss = 0;
    try {
      loss = work_.pass(epoch_ + 1);
    } catch (const Error& error) {
      if (error.code() != errc::invalid_argument) throw;
      fail(error.code(), fmt::format("{}: in epoch {}: {}", algorithm_, epoch_ + 1, error.what()));
    }
    count(loss);
    if (!options_.checkpoint.empty() &&
        (epoch_ % options_.checkpoint_every == 0 || epoch_ == options_.epochs || stopped_)) {
      save();
    }
  }
  return finish();
}

bool Epochs::count(double loss) {
  ++epoch_;
  double held_out = std::numeric_limits<double>::quiet_NaN();
  if (work_.held_out_loss) {
    held_out = (*work_.held_out_loss)();
    if (!std::isfinite(held_out)) {
      fail(errc::invalid_argument,
           fmt::format("{}: the loss of the held-out rows is {} in epoch {}; training diverged. Lower the learning "
                       "rate ({}) or scale the inputs",
                       algorithm_, held_out, epoch_, options_.optimizer.learning_rate));
    }
    if (held_out < best_loss_) {
      best_loss_ = held_out;
      best_.assign(graph_.parameters().begin(), graph_.parameters().end());
      stale_ = 0;
    } else if (++stale_ >= options_.patience && options_.patience > 0) {
      stopped_ = true;
    }
  }
  progress(epoch_);
  const TrainingEpoch report{.epoch = epoch_,
                             .epochs = options_.epochs,
                             .loss = loss,
                             .validation_loss = held_out,
                             .rate = trainer_.rate(),
                             .precision = trainer_.precision()};
  if (options_.callback && !options_.callback->after_epoch(report)) stopped_ = true;
  return !stopped_;
}

int Epochs::finish() {
  if (epoch_ < options_.epochs) progress(options_.epochs);
  if (!best_.empty()) std::copy(best_.begin(), best_.end(), graph_.parameters().begin());
  return epoch_;
}

void Epochs::progress(int done) const {
  if (!options_.progress) return;
  options_.progress->update("epochs", static_cast<std::size_t>(done), static_cast<std::size_t>(options_.epochs));
}

void Epochs::save() const {
  Archive archive;
  archive.set("checkpoint.fingerprint", fingerprint_);
  archive.set_int("checkpoint.epoch", epoch_);
  archive.set_int("checkpoint.stale", stale_);
  archive.set_int("checkpoint.stopped", stopped_);
  archive.set_number("checkpoint.best_loss", best_loss_);
  archive.put<float>("checkpoint.best", best_);
  trainer_.save(archive);
  archive.write(options_.checkpoint);
}

void Epochs::resume() {
  const Archive archive = Archive::read(options_.checkpoint);
  if (archive.get("checkpoint.fingerprint") != fingerprint_) {
    fail(errc::refused, fmt::format("{}: the checkpoint {} belongs to other options, another network or other data; "
                                    "name another file or remove it",
                                    algorithm_, options_.checkpoint));
  }
  const auto best = archive.get_vector<float>("checkpoint.best");
  const std::int64_t epoch = archive.get_int("checkpoint.epoch"), stale = archive.get_int("checkpoint.stale");
  if ((!best.empty() && best.size() != graph_.parameters().size()) || epoch < 1 || epoch > options_.epochs ||
      stale < 0 || stale > epoch) {
    fail(errc::corrupt, fmt::format("{}: checkpoint {}: epoch {}, {} stale epochs and {} weights do not fit",
                                    algorithm_, options_.checkpoint, epoch, stale, best.size()));
  }
  const double best_loss = archive.get_number("checkpoint.best_loss");
  const bool stopped = archive.get_int("checkpoint.stopped") != 0;
  trainer_.load(archive);
  best_ = best;
  best_loss_ = best_loss;
  epoch_ = static_cast<int>(epoch);
  stale_ = static_cast<int>(stale);
  stopped_ = stopped;
}

}  // namespace redoubt::detail
