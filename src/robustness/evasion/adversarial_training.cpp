#include "redoubt/robustness/evasion/adversarial_training.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/kernels/activation.hpp"
#include "redoubt/nn/graph.hpp"
#include "robustness/training_rules.hpp"

namespace redoubt {
namespace {

constexpr std::uint64_t attack_stream = 0xadull << 56;  // apart from those of ops and estimators

}  // namespace

AdversarialTraining::AdversarialTraining(AdversarialTrainingOptions options) : options_(std::move(options)) {
  const auto require = [](bool good, const char* what, double value, const char* rule) {
    if (!good) {
      detail::fail(errc::invalid_argument,
                   fmt::format("adversarial training: {} is {}; it must be {}", what, value, rule));
    }
  };
  const auto& o = options_;
  require(o.method <= AdversarialMethod::trades, "method", static_cast<double>(o.method), "one of the enumerators");
  require(o.epsilon > 0 && std::isfinite(o.epsilon), "epsilon", o.epsilon, "finite and positive");
  require(o.steps >= 1, "steps", o.steps, "at least 1");
  require(o.step >= 0 && std::isfinite(o.step), "step", o.step, "finite and >= 0");
  require(o.clean >= 0 && o.clean < 1, "clean", o.clean, "in [0, 1)");
  require(o.beta > 0 && std::isfinite(o.beta), "beta", o.beta, "finite and positive");
  require(o.warmup >= 0 && o.warmup <= 1, "warmup", o.warmup, "in [0, 1]");
  detail::check_rules(o.rules, "adversarial training");
}

std::string AdversarialTraining::name() const {
  const auto& o = options_;
  const bool pgd = o.method == AdversarialMethod::pgd;
  return fmt::format("{} epsilon={} steps={} step={} {}={} warmup={}{}", pgd ? "pgd" : "trades", o.epsilon, o.steps,
                     o.step, pgd ? "clean" : "beta", pgd ? o.clean : o.beta, o.warmup, detail::rules_text(o.rules));
}

void AdversarialTraining::begin(const Graph& graph, std::span<const LossHead> heads, std::size_t batch) {
  detail::check_training(graph, heads, options_.rules, "adversarial training");
  for (auto* values : {&lower_, &upper_, &moved_}) values->resize(batch * graph.inputs());
  for (auto* values : {&scores_, &clean_gradient_}) values->resize(batch * graph.score_count());
}

/// KL(p || q) of the softmax of both, weighted mean. `attacked` becomes factor * share times its gradient by itself,
/// and clean_gradient (unless empty) that by the clean scores.
double AdversarialTraining::divergence(TrainingPass& pass, MatrixView<const float> clean, MatrixView<float> attacked,
                                       double factor, MatrixView<float> clean_gradient) const {
  double sum = 0;
  for (std::size_t r = 0; r < clean.rows(); ++r) {
    const double weight = pass.weights.empty() ? 1.0 : pass.weights[r];
    const double scale = factor * weight * pass.share;
    const auto a = clean.row(r);
    const auto b = attacked.row(r);
    const double total_a = kernels::log_sum_exp(a), total_b = kernels::log_sum_exp(b);
    double kl = 0;
    for (std::size_t k = 0; k < a.size(); ++k) {
      const double log_p = a[k] - total_a, log_q = b[k] - total_b;
      kl += std::exp(log_p) * (log_p - log_q);
    }
    for (std::size_t k = 0; k < a.size(); ++k) {
      const double log_p = a[k] - total_a, log_q = b[k] - total_b, p = std::exp(log_p);
      if (clean_gradient.data()) clean_gradient(r, k) = static_cast<float>(scale * p * (log_p - log_q - kl));
      b[k] = static_cast<float>(scale * (std::exp(log_q) - p));
    }
    sum += weight * kl;
  }
  return sum / static_cast<double>(clean.rows());
}

/// Projected steps along the sign of the gradient, all rows at once; leaves the rows in moved_.
void AdversarialTraining::attack(TrainingPass& pass, double radius) {
  const Graph& graph = *pass.graph;
  const std::size_t rows = pass.rows.rows(), columns = pass.rows.cols(), scores = graph.score_count();
  const double length =
      (options_.step > 0 ? options_.step : 2.5 * options_.epsilon / options_.steps) * (radius / options_.epsilon);
  const bool trades = options_.method == AdversarialMethod::trades;
  const MatrixView<float> moved{moved_.data(), rows, columns}, clean{scores_.data(), rows, scores};
  if (trades) {  // scores of the rows as at prediction
    graph.forward(pass.rows, *pass.workspace, nullptr, pass.arena);
    const auto found = graph.value(*pass.workspace, graph.score_tensor(), rows);
    std::copy_n(found.data(), rows * scores, clean.data());
  }
  const auto clamp = [&](std::size_t r, std::size_t i, double value) {
    const float low = lower_[r * columns + i], high = upper_[r * columns + i], x = pass.rows(r, i);
    if (!options_.rules.empty() && options_.rules[i].whole) value = value > x ? std::floor(value) : std::ceil(value);
    return std::clamp(static_cast<float>(value), low, high);
  };
  const std::uint64_t stream = attack_stream + pass.training.step * (std::uint64_t{1} << 20);
  parallel_for(
      rows, 8,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
          const auto low = std::span(lower_).subspan(r * columns, columns);
          const auto high = std::span(upper_).subspan(r * columns, columns);
          detail::box_around(pass.rows.row(r), radius, options_.rules, low, high);
          Random random(pass.training.seed, stream + r);
          for (std::size_t i = 0; i < columns; ++i)
            moved(r, i) = clamp(r, i, low[i] + random.uniform() * (static_cast<double>(high[i]) - low[i]));
        }
      },
      pass.arena);
  for (int step = 0; step < options_.steps; ++step) {
    graph.forward(moved, *pass.workspace, nullptr, pass.arena);
    const auto found = graph.value(*pass.workspace, graph.score_tensor(), rows);
    const auto seeds = graph.gradient(*pass.workspace, graph.score_tensor(), rows);
    if (trades) {
      std::copy_n(found.data(), rows * scores, seeds.data());
      divergence(pass, clean, seeds, 1, {});
    } else {
      for (std::size_t r = 0; r < rows; ++r)
        loss_of_row(pass.heads[0].loss, found.row(r), pass.targets.row(r), seeds.row(r));
    }
    graph.backward(moved, *pass.workspace, {}, true, nullptr, pass.arena);
    const auto slope = graph.gradient(*pass.workspace, 0, rows);
    parallel_for(
        rows, 8,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t r = begin; r < end; ++r) {
            for (std::size_t i = 0; i < columns; ++i) {
              const float g = slope(r, i);
              const double unit = options_.rules.empty() ? 1.0 : options_.rules[i].unit;
              if (g != 0) moved(r, i) = clamp(r, i, moved(r, i) + (g > 0 ? unit : -unit) * length);
            }
          }
        },
        pass.arena);
  }
}

double AdversarialTraining::step(TrainingPass& pass) {
  const double done = pass.steps == 0 ? 1 : static_cast<double>(pass.moves) / static_cast<double>(pass.steps);
  const double radius = options_.epsilon * (options_.warmup == 0 ? 1 : std::min(1.0, done / options_.warmup));
  const std::size_t rows = pass.rows.rows();
  const MatrixView<const float> moved{moved_.data(), rows, pass.rows.cols()};
  attack(pass, radius);
  if (options_.method == AdversarialMethod::pgd) {
    clean_loss_ = std::numeric_limits<double>::quiet_NaN();
    if (options_.clean > 0) clean_loss_ = pass.learn(pass.rows, options_.clean);
    robust_loss_ = pass.learn(moved, 1 - options_.clean);
    return options_.clean > 0 ? options_.clean * clean_loss_ + (1 - options_.clean) * robust_loss_ : robust_loss_;
  }
  const std::size_t scores = pass.graph->score_count();
  const MatrixView<float> clean{scores_.data(), rows, scores}, clean_gradient{clean_gradient_.data(), rows, scores};
  const auto first = pass.forward(pass.rows);
  std::copy_n(first.data(), rows * scores, clean.data());
  const auto attacked = pass.forward(moved);
  std::copy_n(attacked.data(), rows * scores, pass.seeds().data());
  robust_loss_ = divergence(pass, clean, pass.seeds(), options_.beta, clean_gradient);
  if (!std::isfinite(robust_loss_)) return robust_loss_;
  pass.backward(moved);
  pass.forward(pass.rows);
  clean_loss_ = pass.loss(1);
  const auto seeds = pass.seeds();
  for (std::size_t i = 0; i < rows * scores; ++i) seeds.data()[i] += clean_gradient.data()[i];
  pass.backward(pass.rows);
  return clean_loss_ + options_.beta * robust_loss_;
}

}  // namespace redoubt
