#include "redoubt/robustness/certify/interval_training.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "redoubt/core/error.hpp"
#include "redoubt/core/tensor.hpp"
#include "robustness/certify/crown_pass.hpp"
#include "robustness/certify/interval_pass.hpp"
#include "robustness/training_rules.hpp"

namespace redoubt {

struct IntervalTraining::Impl {
  detail::IntervalPass pass;
  LossHead head;
  std::vector<float> lower, upper;
  std::vector<std::size_t> labels;
  std::unique_ptr<detail::CrownPass> crown;
  Tensor<float> worst, seeds;  // mixed
};

IntervalTraining::IntervalTraining(IntervalTrainingOptions options) : options_(std::move(options)) {
  const auto require = [](bool good, const char* what, double value, const char* rule) {
    if (!good) {
      detail::fail(errc::invalid_argument,
                   fmt::format("interval training: {} is {}; it must be {}", what, value, rule));
    }
  };
  const auto& o = options_;
  require(o.epsilon > 0 && std::isfinite(o.epsilon), "epsilon", o.epsilon, "finite and positive");
  require(o.clean >= 0 && o.clean <= 1, "clean", o.clean, "in [0, 1]");
  require(o.crown >= 0 && o.crown <= 1, "crown", o.crown, "in [0, 1]");
  require(o.warmup >= 0 && o.warmup <= 1, "warmup", o.warmup, "in [0, 1]");
  require(o.ramp >= 0 && o.warmup + o.ramp <= 1, "ramp", o.ramp, "at least 0, and with warmup at most 1");
  detail::check_rules(o.rules, "interval training");
}

IntervalTraining::~IntervalTraining() { delete impl_; }

std::string IntervalTraining::name() const {
  return fmt::format("interval epsilon={} clean={} crown={} warmup={} ramp={}{}", options_.epsilon, options_.clean,
                     options_.crown, options_.warmup, options_.ramp, detail::rules_text(options_.rules));
}

void IntervalTraining::begin(const Graph& graph, std::span<const LossHead> heads, std::size_t batch) {
  detail::check_training(graph, heads, options_.rules, "interval training");
  delete impl_;
  impl_ = nullptr;
  const std::size_t inputs = graph.inputs(), scores = graph.score_count();
  auto impl =
      std::make_unique<Impl>(Impl{detail::IntervalPass(graph, batch), heads.front(), std::vector<float>(batch * inputs),
                                  std::vector<float>(batch * inputs), std::vector<std::size_t>(batch), nullptr,
                                  Tensor<float>{batch, scores}, Tensor<float>{batch, scores}});
  if (options_.crown > 0) impl->crown = std::make_unique<detail::CrownPass>(graph, impl->pass, batch);
  impl_ = impl.release();
}

double IntervalTraining::step(TrainingPass& pass) {
  const double done = pass.steps == 0 ? 1 : static_cast<double>(pass.moves) / static_cast<double>(pass.steps);
  const double way = done < options_.warmup ? 0
                     : options_.ramp == 0   ? 1
                                            : std::min(1.0, (done - options_.warmup) / options_.ramp);
  radius_ = way * options_.epsilon;
  const double clean = 1 - way * (1 - options_.clean);
  clean_loss_ = pass.learn(pass.rows, clean);
  bound_loss_ = std::numeric_limits<double>::quiet_NaN();
  if (way == 0 || clean == 1) return clean_loss_;
  const std::size_t rows = pass.rows.rows(), columns = pass.rows.cols();
  for (std::size_t r = 0; r < rows; ++r) {
    impl_->labels[r] = static_cast<std::size_t>(pass.targets(r, 0));
    detail::box_around(pass.rows.row(r), radius_, options_.rules, std::span(impl_->lower).subspan(r * columns, columns),
                       std::span(impl_->upper).subspan(r * columns, columns));
  }
  const MatrixView<const float> lower{impl_->lower.data(), rows, columns}, upper{impl_->upper.data(), rows, columns};
  const auto labels = std::span<const std::size_t>(impl_->labels).first(rows);
  impl_->pass.forward(lower, upper, labels, pass.arena);
  const double share = impl_->crown ? options_.crown * (1 - way) : 0;
  detail::CrownPass* const crown = share > 0 ? impl_->crown.get() : nullptr;
  if (crown) crown->forward(lower, upper, labels, pass.arena);
  double sum = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    const auto worst = impl_->worst.row(r), seeds = impl_->seeds.row(r);
    const auto plain = impl_->pass.worst(rows).row(r);
    for (std::size_t k = 0; k < worst.size(); ++k) {
      worst[k] = crown ? static_cast<float>(share * crown->worst(rows)(r, k) + (1 - share) * plain[k]) : plain[k];
    }
    const double weight = pass.weights.empty() ? 1.0 : pass.weights[r];
    sum += weight * loss_of_row(impl_->head.loss, worst, pass.targets.row(r), seeds);
    const double factor = (1 - clean) * weight * pass.share;
    for (std::size_t k = 0; k < worst.size(); ++k) {
      impl_->pass.seeds(rows)(r, k) = static_cast<float>((1 - share) * factor * seeds[k]);
      if (crown) crown->seeds(rows)(r, k) = static_cast<float>(share * factor * seeds[k]);
    }
  }
  bound_loss_ = sum / static_cast<double>(rows);
  const double total = clean * clean_loss_ + (1 - clean) * bound_loss_;
  if (std::isfinite(total)) impl_->pass.backward(lower, upper, labels, pass.gradient, pass.arena, crown);
  return total;
}

}  // namespace redoubt
