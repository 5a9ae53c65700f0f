#include "redoubt/nn/training_debugger.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "redoubt/nn/graph.hpp"

namespace redoubt {
namespace {

constexpr std::uint64_t settled = 20;  // steps before the gradient has a usual size
constexpr double memory = 0.95;        // of the running mean

double norm(std::span<const float> values) {
  double sum = 0;
  for (const float v : values) sum += static_cast<double>(v) * v;
  return std::sqrt(sum);
}

}  // namespace

const char* to_string(TrainingProblem problem) noexcept {
  switch (problem) {
    case TrainingProblem::not_finite: return "not_finite";
    case TrainingProblem::vanishing_gradient: return "vanishing_gradient";
    case TrainingProblem::exploding_gradient: return "exploding_gradient";
    case TrainingProblem::dead_units: return "dead_units";
    case TrainingProblem::over_fitting: return "over_fitting";
  }
  return "?";
}

TrainingDebugger::TrainingDebugger(TrainingDebuggerOptions options) : options_(options) {}

void TrainingDebugger::find(TrainingProblem problem, std::uint64_t step, std::string where, double value,
                            std::string message) {
  const std::string key = fmt::format("{} {}", to_string(problem), where);
  const auto in = [&](const std::vector<std::string>& list) {
    return std::find(list.begin(), list.end(), key) != list.end();
  };
  const bool known = in(open_) || in(seen_);
  if (!in(seen_)) seen_.push_back(key);
  if (known) return;
  findings_.push_back({.problem = problem,
                       .epoch = epoch_,
                       .step = step,
                       .where = std::move(where),
                       .value = value,
                       .message = std::move(message)});
}

void TrainingDebugger::watch(const Graph& graph) {
  graph_ = &graph;
  units_.clear();
  const auto& table = graph.parameter_table();
  first_ = last_ = table.size();
  for (std::size_t p = 0; p < table.size(); ++p) {
    if (!table[p].decay) continue;
    if (first_ == table.size()) first_ = p;
    last_ = p;
  }
  for (std::uint32_t i = 0; i < graph.nodes().size(); ++i) {
    if (graph.nodes()[i].op == "relu") {
      units_.push_back({.tensor = i + 1, .alive = std::vector<std::uint8_t>(graph.shapes()[i + 1].back(), 0)});
    }
  }
}

void TrainingDebugger::after_step(const TrainingStep& step) {
  if (step.graph != graph_) watch(*step.graph);
  const auto& table = graph_->parameter_table();
  const auto part = [&](std::size_t p) { return step.gradient.subspan(table[p].offset, table[p].size); };
  if (!std::isfinite(step.gradient_norm)) {
    for (std::size_t p = table.size(); p-- > 0;) {  // backwards, as gradients flow
      if (std::isfinite(norm(part(p)))) continue;
      find(TrainingProblem::not_finite, step.step, table[p].name, step.gradient_norm,
           fmt::format("the gradient of {} ({}) is not finite in step {}; clip gradients or lower the learning rate",
                       table[p].name, graph_->nodes()[table[p].node].op, step.step));
      break;
    }
  } else {
    if (steps_ >= settled && step.gradient_norm > options_.exploding * running_norm_) {
      std::size_t largest = 0;
      for (std::size_t p = 0; p < table.size(); ++p) {
        if (norm(part(p)) > norm(part(largest))) largest = p;
      }
      find(TrainingProblem::exploding_gradient, step.step, table[largest].name, step.gradient_norm / running_norm_,
           fmt::format("the gradient norm {:.3g} in step {} is {:.3g} times its usual size, most of it in {}; set "
                       "clip_norm or lower the learning rate",
                       step.gradient_norm, step.step, step.gradient_norm / running_norm_, table[largest].name));
    }
    running_norm_ = steps_ == 0 ? step.gradient_norm : memory * running_norm_ + (1 - memory) * step.gradient_norm;
    ++steps_;
    if (first_ != last_) {
      first_sum_ += norm(part(first_)) / std::sqrt(static_cast<double>(table[first_].size));
      last_sum_ += norm(part(last_)) / std::sqrt(static_cast<double>(table[last_].size));
    }
  }
  for (Units& units : units_) {
    const std::size_t width = units.alive.size();
    const auto values = graph_->value(*step.workspace, units.tensor, step.rows.rows());
    for (std::size_t r = 0; r < values.rows(); ++r) {
      const auto row = values.row(r);
      for (std::size_t first = 0; first < row.size(); first += width) {
        for (std::size_t i = 0; i < width; ++i) units.alive[i] |= static_cast<std::uint8_t>(row[first + i] > 0);
      }
    }
  }
  if (options_.next) options_.next->after_step(step);
}

void TrainingDebugger::end_epoch() {
  if (first_ != last_ && last_sum_ > 0 && first_sum_ < options_.vanishing * last_sum_) {
    const std::string& name = graph_->parameter_table()[first_].name;
    find(TrainingProblem::vanishing_gradient, 0, name, first_sum_ / last_sum_,
         fmt::format(
             "the gradient per value of {} is {:.3g} times that of {}; use ReLU or GELU, normalisation, residual "
             "connections or He's starting values",
             name, first_sum_ / last_sum_, graph_->parameter_table()[last_].name));
  }
  for (Units& units : units_) {
    const auto dead = std::count(units.alive.begin(), units.alive.end(), 0);
    const double share = static_cast<double>(dead) / static_cast<double>(units.alive.size());
    if (share > options_.dead) {
      const std::string where = fmt::format("node {} (relu)", units.tensor - 1);
      find(TrainingProblem::dead_units, 0, where, share,
           fmt::format("{} of {} units of {} were zero for every row of epoch {}; lower the learning rate or use "
                       "LeakyReLU or GELU",
                       dead, units.alive.size(), where, epoch_));
    }
    std::fill(units.alive.begin(), units.alive.end(), std::uint8_t{0});
  }
  first_sum_ = last_sum_ = 0;
}

bool TrainingDebugger::after_epoch(const TrainingEpoch& epoch) {
  epoch_ = epoch.epoch;
  if (graph_) end_epoch();
  if (!std::isnan(epoch.validation_loss)) {
    if (epoch.epoch == 1 || epoch.validation_loss < best_loss_) {
      best_loss_ = epoch.validation_loss;
      best_training_ = epoch.loss;
      above_ = 0;
    } else if (epoch.loss < best_training_ && ++above_ >= options_.rising) {
      find(TrainingProblem::over_fitting, 0, "held-out rows", epoch.validation_loss / best_loss_,
           fmt::format("the loss of the held-out rows has been above its best {:.4g} for {} epochs (now {:.4g}) while "
                       "that of the training rows fell to {:.4g}; stop early (patience), add dropout, weight decay or "
                       "data",
                       best_loss_, above_, epoch.validation_loss, epoch.loss));
    }
  }
  open_ = std::move(seen_);
  seen_.clear();
  epoch_ = epoch.epoch + 1;
  return options_.next ? options_.next->after_epoch(epoch) : true;
}

std::string TrainingDebugger::report() const {
  std::string text;
  for (const TrainingFinding& f : findings_) {
    text += fmt::format("epoch {}: {}: {}\n", f.epoch, to_string(f.problem), f.message);
  }
  return text;
}

}  // namespace redoubt
