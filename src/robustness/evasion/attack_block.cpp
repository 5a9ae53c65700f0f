#include "robustness/evasion/attack_block.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "robustness/evasion/hop_skip_jump.hpp"

namespace redoubt::detail {
namespace {

std::size_t largest(std::span<const float> values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

/// Cross-entropy, or the difference of logits ratio; writes the gradient with respect to the scores.
double loss_of(std::span<const float> z, std::size_t label, bool ratio, std::span<float> gradient) {
  std::fill(gradient.begin(), gradient.end(), 0.0f);
  if (!ratio) {
    const double top = *std::max_element(z.begin(), z.end());
    double total = 0;
    for (const float s : z) total += std::exp(s - top);
    for (std::size_t k = 0; k < z.size(); ++k) gradient[k] = static_cast<float>(std::exp(z[k] - top) / total);
    gradient[label] -= 1;
    return std::log(total) + top - z[label];
  }
  // The largest of the others, and the first and third of all.
  std::size_t other = label == 0 ? 1 : 0;
  for (std::size_t k = 0; k < z.size(); ++k)
    if (k != label && z[k] > z[other]) other = k;
  const double difference = static_cast<double>(z[other]) - z[label];
  if (z.size() < 3) {
    gradient[other] = 1;
    gradient[label] = -1;
    return difference;
  }
  std::size_t order[3] = {};
  std::vector<std::size_t> all(z.size());
  for (std::size_t k = 0; k < z.size(); ++k) all[k] = k;
  std::partial_sort(all.begin(), all.begin() + 3, all.end(),
                    [&](std::size_t a, std::size_t b) { return z[a] != z[b] ? z[a] > z[b] : a < b; });
  std::copy_n(all.begin(), 3, order);
  const double width = static_cast<double>(z[order[0]]) - z[order[2]] + 1e-12;
  const double value = difference / width;
  gradient[other] += static_cast<float>(1 / width);
  gradient[label] -= static_cast<float>(1 / width);
  gradient[order[0]] -= static_cast<float>(value / width);
  gradient[order[2]] += static_cast<float>(value / width);
  return value;
}

}  // namespace

AttackBlock::AttackBlock(const Predictor& model, const AttackOptions& options, MatrixView<const float> rows,
                         std::span<const std::int32_t> labels, std::size_t first)
    : model_(model), options_(options), rows_(rows), labels_(labels), first_(first), d_(rows.cols()) {
  const std::size_t n = rows.rows();
  if (options.method != AttackMethod::square && options.method != AttackMethod::hop_skip_jump)
    target_ = gradient_target(model, n);
  lower_.resize(n * d_);
  upper_.resize(n * d_);
  for (std::size_t r = 0; r < n; ++r)
    for (std::size_t c = 0; c < d_; ++c) {
      const float x = rows(r, c);
      float &lo = lower_[r * d_ + c], &hi = upper_[r * d_ + c];
      const FeatureRule& rules = rule(c);
      lo = hi = x;
      if (rules.fixed || !std::isfinite(x) || x < rules.lower || x > rules.upper) continue;
      lo = rules.lower, hi = rules.upper;
      const double reach = options.radius * rules.unit;
      if (options.norm == AttackNorm::linf) {
        const double least = static_cast<double>(x) - reach, most = static_cast<double>(x) + reach;
        lo = std::max(lo, static_cast<float>(least));
        hi = std::min(hi, static_cast<float>(most));
        if (lo < least) lo = std::nextafter(lo, x);
        if (hi > most) hi = std::nextafter(hi, x);
      }
      if (rules.whole) {
        lo = std::min(std::ceil(lo), x);
        hi = std::max(std::floor(hi), x);
      }
    }
  packed_.resize(n * d_);
  gradient_.resize(n * d_);
  scores_.resize(n * model.outputs());
  upstream_.resize(n * model.outputs());
}

const FeatureRule& AttackBlock::rule(std::size_t column) const {
  static const FeatureRule free;
  return options_.rules.empty() ? free : options_.rules[column];
}

void AttackBlock::keep(std::size_t at, std::span<const float> x) {
  broken_[at] = 1;
  std::copy(x.begin(), x.end(), found_.row(at).begin());
}

void AttackBlock::predict() {
  std::vector<float> out(rows_.rows() * model_.outputs());
  model_.predict_batch(rows_, {out.data(), rows_.rows(), model_.outputs()}, nullptr);
  queries_ += rows_.rows();
  for (std::size_t r = 0; r < rows_.rows(); ++r)
    if (largest(std::span(out).subspan(r * model_.outputs(), model_.outputs())) != static_cast<std::size_t>(labels_[r]))
      keep(r, rows_.row(r));
}

void AttackBlock::run(MatrixView<float> found, std::span<std::uint8_t> broken) {
  found_ = found;
  broken_.assign(rows_.rows(), 0);
  predict();
  for (int restart = 0; restart < options_.restarts; ++restart) {
    switch (options_.method) {
      case AttackMethod::fgsm:
      case AttackMethod::pgd: descend(restart); break;
      case AttackMethod::apgd_ce:
      case AttackMethod::apgd_dlr: adaptive(restart); break;
      case AttackMethod::square: square(restart); break;
      case AttackMethod::hop_skip_jump:
        for (std::size_t r = 0; r < rows_.rows(); ++r)
          if (!broken_[r])
            broken_[r] = hop_skip_jump(model_, options_, rows_.row(r), static_cast<std::size_t>(labels_[r]), restart,
                                       first_ + r, found_.row(r), queries_);
        break;
    }
    if (options_.method == AttackMethod::fgsm) break;
  }
  std::copy(broken_.begin(), broken_.end(), broken.begin());
}

/// Into the ball, then into the box (which only comes nearer to the row), then to whole numbers.
void AttackBlock::project(std::size_t at, std::span<float> x) const {
  const auto origin = rows_.row(at);
  if (options_.norm == AttackNorm::l2) {
    double square = 0;
    for (std::size_t c = 0; c < d_; ++c) {
      const double by = (static_cast<double>(x[c]) - origin[c]) / unit(c);
      if (std::isfinite(by)) square += by * by;
    }
    // A little inside, for the rounding of the sum and of the floats.
    const double allowed = options_.radius * (1 - 1e-6);
    if (const double length = std::sqrt(square); length > allowed) {
      const double shrink = length > 0 ? allowed / length : 0;
      for (std::size_t c = 0; c < d_; ++c)
        if (std::isfinite(origin[c]))
          x[c] = static_cast<float>(origin[c] + (static_cast<double>(x[c]) - origin[c]) * shrink);
    }
  }
  for (std::size_t c = 0; c < d_; ++c) {
    const float lo = lower_[at * d_ + c], hi = upper_[at * d_ + c];
    if (!(lo < hi)) {
      x[c] = origin[c];
    } else {
      x[c] = std::clamp(x[c], lo, hi);
      if (rule(c).whole) x[c] = x[c] > origin[c] ? std::floor(x[c]) : std::ceil(x[c]);  // towards the row
    }
  }
}

/// to = from + eta * direction of the gradient, projected.
void AttackBlock::move(std::size_t at, std::span<const float> from, std::span<const float> gradient, double eta,
                       std::span<float> to) const {
  if (options_.norm == AttackNorm::linf) {
    for (std::size_t c = 0; c < d_; ++c) {
      const double sign = gradient[c] > 0 ? 1 : gradient[c] < 0 ? -1 : 0;
      to[c] = static_cast<float>(from[c] + eta * unit(c) * sign);
    }
  } else {
    double square = 0;
    for (std::size_t c = 0; c < d_; ++c)
      if (lower_[at * d_ + c] < upper_[at * d_ + c]) square += std::pow(gradient[c] * unit(c), 2);
    const double scale = square > 0 ? eta / std::sqrt(square) : 0;
    for (std::size_t c = 0; c < d_; ++c) to[c] = static_cast<float>(from[c] + scale * gradient[c] * unit(c) * unit(c));
  }
  project(at, to);
}

std::vector<AttackBlock::Row> AttackBlock::start(int restart, bool random) {
  std::vector<Row> alive;
  for (std::size_t r = 0; r < rows_.rows(); ++r) {
    if (broken_[r]) continue;
    Row row;
    row.at = r;
    row.x.assign(rows_.row(r).begin(), rows_.row(r).end());
    if (random) {
      Random numbers(options_.seed + 0x9e3779b97f4a7c15ull * static_cast<std::uint64_t>(restart + 1), first_ + r);
      double square = 0;
      std::vector<double> by(d_);
      for (double& v : by) {
        v = options_.norm == AttackNorm::linf ? numbers.uniform(-1, 1) : numbers.normal();
        square += v * v;
      }
      const double scale =
          options_.radius * (options_.norm == AttackNorm::linf ? 1.0 : numbers.uniform() / std::sqrt(square));
      for (std::size_t c = 0; c < d_; ++c) row.x[c] = static_cast<float>(row.x[c] + scale * by[c] * unit(c));
      project(r, row.x);
    }
    alive.push_back(std::move(row));
  }
  return alive;
}

void AttackBlock::evaluate(std::vector<Row>& alive, bool want_gradient) {
  const std::size_t n = alive.size(), k = target_->classes();
  for (std::size_t i = 0; i < n; ++i) std::copy(alive[i].x.begin(), alive[i].x.end(), packed_.begin() + i * d_);
  const MatrixView<const float> rows(packed_.data(), n, d_);
  target_->scores(rows, {scores_.data(), n, k});
  std::vector<std::size_t> broken;
  for (std::size_t i = 0; i < n; ++i) {
    const auto z = std::span(scores_).subspan(i * k, k);
    const auto label = static_cast<std::size_t>(labels_[alive[i].at]);
    alive[i].loss =
        loss_of(z, label, options_.method == AttackMethod::apgd_dlr, std::span(upstream_).subspan(i * k, k));
    if (largest(z) != label) broken.push_back(i);
  }
  if (want_gradient) target_->backward(rows, {upstream_.data(), n, k}, {gradient_.data(), n, d_});
  (want_gradient ? gradients_ : queries_) += n;
  if (broken.empty()) return;
  // The model's own word counts: its outputs may tie where its scores do not.
  std::vector<float> out(model_.outputs()), scratch(model_.scratch_size());
  std::vector<std::uint8_t> leaves(n, 0);
  for (const std::size_t i : broken) {
    model_.predict(alive[i].x, out, scratch);
    if (largest(out) == static_cast<std::size_t>(labels_[alive[i].at])) continue;
    keep(alive[i].at, alive[i].x);
    leaves[i] = 1;
  }
  std::size_t to = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (leaves[i]) continue;
    if (to != i) {
      alive[to] = std::move(alive[i]);
      std::copy_n(gradient_.begin() + i * d_, d_, gradient_.begin() + to * d_);
    }
    ++to;
  }
  alive.resize(to);
}

void AttackBlock::descend(int restart) {
  const bool one = options_.method == AttackMethod::fgsm;
  const int steps = one ? 1 : options_.steps;
  const double eta = one ? options_.radius : options_.step > 0 ? options_.step : 2.5 * options_.radius / steps;
  std::vector<Row> alive = start(restart, restart > 0);
  for (int step = 0; step < steps && !alive.empty(); ++step) {
    evaluate(alive, true);
    for (std::size_t i = 0; i < alive.size(); ++i)
      move(alive[i].at, alive[i].x, std::span(gradient_).subspan(i * d_, d_), eta, alive[i].x);
  }
  if (!alive.empty()) evaluate(alive, false);
}

void AttackBlock::adaptive(int restart) {
  constexpr double alpha = 0.75, rho = 0.75;
  std::vector<Row> alive = start(restart, true);
  if (alive.empty()) return;
  evaluate(alive, true);
  std::vector<float> gradient_of_best(rows_.rows() * d_);
  for (std::size_t i = 0; i < alive.size(); ++i) {
    Row& r = alive[i];
    r.previous = r.best = r.x;
    r.best_loss = r.best_before = r.loss;
    r.eta = r.eta_before = 2 * options_.radius;
    std::copy_n(gradient_.begin() + i * d_, d_, gradient_of_best.begin() + r.at * d_);
  }
  double share = 0, next_share = 0.22;
  int checkpoint = 0;
  std::vector<float> z(d_);
  std::vector<float> gradients(rows_.rows() * d_);
  for (std::size_t i = 0; i < alive.size(); ++i)
    std::copy_n(gradient_.begin() + i * d_, d_, gradients.begin() + alive[i].at * d_);
  for (int step = 1; step <= options_.steps && !alive.empty(); ++step) {
    for (Row& r : alive) {
      move(r.at, r.x, std::span(gradients).subspan(r.at * d_, d_), r.eta, z);
      std::vector<float> next(d_);
      const double a = step == 1 ? 1 : alpha;
      for (std::size_t c = 0; c < d_; ++c)
        next[c] = static_cast<float>(r.x[c] + a * (static_cast<double>(z[c]) - r.x[c]) +
                                     (1 - a) * (static_cast<double>(r.x[c]) - r.previous[c]));
      project(r.at, next);
      r.previous = std::move(r.x);
      r.x = std::move(next);
    }
    std::vector<double> before;
    for (const Row& r : alive) before.push_back(r.loss);
    std::vector<std::size_t> who;
    for (const Row& r : alive) who.push_back(r.at);
    evaluate(alive, true);
    std::size_t was = 0;
    const int boundary = static_cast<int>(std::ceil(next_share * options_.steps));
    for (std::size_t i = 0; i < alive.size(); ++i) {
      Row& r = alive[i];
      while (who[was] != r.at) ++was;
      r.rises += r.loss > before[was];
      std::copy_n(gradient_.begin() + i * d_, d_, gradients.begin() + r.at * d_);
      if (r.loss > r.best_loss) {
        r.best_loss = r.loss;
        r.best = r.x;
        std::copy_n(gradient_.begin() + i * d_, d_, gradient_of_best.begin() + r.at * d_);
      }
      if (step < boundary) continue;
      // The step halves, and goes on from the best point, where progress was rare or there was none.
      const bool rare = r.rises < rho * (step - checkpoint);
      const bool stuck = r.eta == r.eta_before && r.best_loss <= r.best_before;
      r.eta_before = r.eta;
      r.best_before = r.best_loss;
      r.rises = 0;
      if (rare || stuck) {
        r.eta /= 2;
        r.x = r.best;
        r.loss = r.best_loss;
        std::copy_n(gradient_of_best.begin() + r.at * d_, d_, gradients.begin() + r.at * d_);
      }
    }
    if (step >= boundary) {
      checkpoint = step;
      const double width = std::max(next_share - share - 0.03, 0.06);
      share = next_share;
      next_share += width;
    }
  }
}

void AttackBlock::square(int restart) {
  std::vector<Row> alive = start(restart, false);
  const std::size_t k = model_.outputs();
  const std::size_t pixels = d_ / options_.channels;
  const std::size_t width = options_.image_width, height = width ? pixels / width : 0;
  std::vector<Random> numbers;
  std::vector<std::uint64_t> counter(rows_.rows(), 0);
  for (std::size_t r = 0; r < rows_.rows(); ++r)
    numbers.emplace_back(options_.seed + 0xda942042e4dd58b5ull * static_cast<std::uint64_t>(restart + 1), first_ + r);
  const auto push = [&](Row& r, std::size_t c, double sign) {
    const double by = options_.norm == AttackNorm::linf
                          ? options_.radius
                          : options_.radius / std::sqrt(static_cast<double>(std::max<std::size_t>(1, d_ / 4)));
    r.x[c] = static_cast<float>(static_cast<double>(rows_(r.at, c)) + sign * by * unit(c));
  };
  for (int step = 0; step < options_.steps && !alive.empty(); ++step) {
    // Of the columns, so many change: large patches first.
    const double done = static_cast<double>(step) / options_.steps;
    double share = 0.8;
    for (const double at : {0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8})
      if (done > at) share /= 2;
    for (Row& r : alive) {
      r.previous = r.x;
      Random& random = numbers[r.at];
      if (step == 0) {  // stripes
        for (std::size_t c = 0; c < d_; ++c) {
          if (width && c / options_.channels >= width) {
            r.x[c] = r.x[c - width * options_.channels];
            push(r, c, r.x[c - width * options_.channels] > rows_(r.at, c - width * options_.channels) ? 1 : -1);
          } else {
            push(r, c, random.below(2) ? 1 : -1);
          }
        }
      } else if (width) {
        const auto side = std::clamp<std::size_t>(
            static_cast<std::size_t>(std::lround(std::sqrt(share * static_cast<double>(pixels)))), 1,
            std::min(width, height));
        const std::size_t top = random.below(height - side + 1), left = random.below(width - side + 1);
        for (std::size_t channel = 0; channel < options_.channels; ++channel) {
          const double sign = random.below(2) ? 1 : -1;
          for (std::size_t y = top; y < top + side; ++y)
            for (std::size_t x = left; x < left + side; ++x)
              push(r, (y * width + x) * options_.channels + channel, sign);
        }
      } else {
        const auto count = std::max<std::size_t>(1, static_cast<std::size_t>(share * static_cast<double>(d_)));
        for (std::size_t i = 0; i < count; ++i) {
          const std::size_t c = random.below(d_);
          push(r, c, random.below(2) ? 1 : -1);
        }
      }
      project(r.at, r.x);
    }
    const std::size_t n = alive.size();
    for (std::size_t i = 0; i < n; ++i) std::copy(alive[i].x.begin(), alive[i].x.end(), packed_.begin() + i * d_);
    model_.predict_batch({packed_.data(), n, d_}, {scores_.data(), n, k}, nullptr);
    queries_ += n;
    std::size_t to = 0;
    for (std::size_t i = 0; i < n; ++i) {
      Row& r = alive[i];
      const auto p = std::span(scores_).subspan(i * k, k);
      const auto label = static_cast<std::size_t>(labels_[r.at]);
      if (largest(p) != label) {
        keep(r.at, r.x);
        continue;
      }
      float other = -1;
      for (std::size_t j = 0; j < k; ++j)
        if (j != label) other = std::max(other, p[j]);
      // Log odds: probabilities near 1 still differ in the others.
      const double loss = std::log(other + 1e-30) - std::log(p[label] + 1e-30);
      if (step == 0 || loss > r.loss)
        r.loss = loss;
      else
        r.x = r.previous;
      if (to != i) alive[to] = std::move(r);
      ++to;
    }
    alive.resize(to);
  }
}

}  // namespace redoubt::detail
