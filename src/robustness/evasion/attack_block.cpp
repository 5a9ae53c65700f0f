#include "robustness/evasion/attack_block.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "robustness/evasion/hop_skip_jump.hpp"

namespace redoubt::detail {
namespace {

std::size_t largest(std::span<const float> values) {
  return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

/// The `count` largest scores, of equal ones the first in front.
void largest_of(std::span<const float> z, std::size_t count, std::size_t* order) {
  std::size_t have = 0;
  for (std::size_t k = 0; k < z.size(); ++k) {
    std::size_t place = have;
    while (place > 0 && z[k] > z[order[place - 1]]) --place;
    if (place >= count) continue;
    have = std::min(have + 1, count);
    for (std::size_t i = have - 1; i > place; --i) order[i] = order[i - 1];
    order[place] = k;
  }
}

/// 64 bits of a point: two points that differ have the same by chance once in 10^19.
std::uint64_t fingerprint(std::span<const float> x) {
  constexpr std::size_t lanes = 8;  // none waits for another
  std::array<std::uint64_t, lanes> h = {1, 2, 3, 4, 5, 6, 7, 8};
  const auto mix = [](std::uint64_t at, std::uint64_t with) {
    at = (at ^ with) * 0x9e3779b97f4a7c15u;
    return at ^ at >> 32;
  };
  const std::size_t floats = x.size();
  std::size_t i = 0;
  for (; i + 2 * lanes <= floats; i += 2 * lanes) {
    std::array<std::uint64_t, lanes> bits;
    std::memcpy(bits.data(), x.data() + i, sizeof bits);
    for (std::size_t k = 0; k < lanes; ++k) h[k] = mix(h[k], bits[k]);
  }
  for (; i < floats; ++i) h[0] = mix(h[0], std::bit_cast<std::uint32_t>(x[i]));
  for (std::size_t k = 1; k < lanes; ++k) h[0] = mix(h[0], h[k]);
  return h[0];
}

/// The next float above; v is finite.
float next_above(float v) {
  const auto bits = std::bit_cast<std::uint32_t>(v);
  if (v == 0) return std::numeric_limits<float>::denorm_min();
  return std::bit_cast<float>(v > 0 ? bits + 1 : bits - 1);
}

double cross_entropy(std::span<const float> z, std::size_t label, std::span<float> gradient) {
  const double top = *std::max_element(z.begin(), z.end());
  double total = 0;
  for (std::size_t k = 0; k < z.size(); ++k) {
    const double e = std::exp(z[k] - top);
    gradient[k] = static_cast<float>(e);
    total += e;
  }
  for (float& g : gradient) g = static_cast<float>(g / total);
  gradient[label] -= 1;
  return std::log(total) + top - z[label];
}

/// Difference of logits towards `target`, or if that is negative the largest other, and the gradient with respect to
/// the scores. `ratio`: divided by how far the scores lie apart (with two there is nothing to divide by).
double logits_difference(std::span<const float> z, std::size_t label, std::int32_t target, bool ratio,
                         std::span<float> gradient) {
  std::fill(gradient.begin(), gradient.end(), 0.0f);
  std::size_t other = label == 0 ? 1 : 0;
  for (std::size_t k = 0; k < z.size(); ++k)
    if (k != label && z[k] > z[other]) other = k;
  if (target >= 0) other = static_cast<std::size_t>(target);
  const double difference = static_cast<double>(z[other]) - z[label];
  if (z.size() < 3 || !ratio) {
    gradient[other] = 1;
    gradient[label] = -1;
    return difference;
  }
  std::size_t order[4] = {};
  const bool towards = target >= 0 && z.size() >= 4;
  largest_of(z, towards ? 4 : 3, order);
  // The first less the third, or less the mean of the third and fourth.
  const double low = towards ? (static_cast<double>(z[order[2]]) + z[order[3]]) / 2 : static_cast<double>(z[order[2]]);
  const double width = static_cast<double>(z[order[0]]) - low + 1e-12;
  const double value = difference / width;
  gradient[other] += static_cast<float>(1 / width);
  gradient[label] -= static_cast<float>(1 / width);
  gradient[order[0]] -= static_cast<float>(value / width);
  if (towards) {
    gradient[order[2]] += static_cast<float>(value / width / 2);
    gradient[order[3]] += static_cast<float>(value / width / 2);
  } else {
    gradient[order[2]] += static_cast<float>(value / width);
  }
  return value;
}

}  // namespace

AttackBlock::AttackBlock(const Predictor& model, const GradientForm* gradients, const AttackOptions& options,
                         MatrixView<const float> rows, std::span<const std::int32_t> labels, std::size_t first)
    : model_(model), options_(options), rows_(rows), labels_(labels), first_(first), d_(rows.cols()), groups_(options) {
  const std::size_t n = rows.rows();
  if (gradients) target_ = gradients->target();
  if (options.method == AttackMethod::leaf_tuple) walk_ = std::make_unique<LeafWalk>(model, options, rows);
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
        if (lo < least) lo = next_above(lo);
        if (hi > most) hi = -next_above(-hi);
      }
      if (rules.whole) {
        lo = std::min(std::ceil(lo), x);
        hi = std::max(std::floor(hi), x);
      }
    }
  whole_ = !groups_.empty();
  if (whole_)
    for (std::size_t r = 0; r < n; ++r) groups_.bound(rows.row(r), row(lower_, r), row(upper_, r));
  for (std::size_t c = 0; c < d_; ++c) {
    units_.push_back(static_cast<float>(unit(c)));
    whole_ = whole_ || rule(c).whole;
  }
  x_.resize(n * d_);
  if (target_) gradient_.resize(n * d_);
  scores_.resize(n * model.outputs());
  upstream_.resize(n * model.outputs());
  out_.resize(model.outputs());
  scratch_.resize(model.scratch_size());
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
  model_.predict_batch(rows_, {out.data(), rows_.rows(), model_.outputs()}, options_.arena);
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
      case AttackMethod::apgd_targeted: targeted(restart); break;
      case AttackMethod::square: square(restart); break;
      case AttackMethod::leaf_tuple: walk(restart); break;
      case AttackMethod::hop_skip_jump: jump(restart); break;
    }
    if (options_.method == AttackMethod::fgsm) break;
  }
  std::copy(broken_.begin(), broken_.end(), broken.begin());
}

void AttackBlock::jump(int restart) {
  for (std::size_t r = 0; r < rows_.rows(); ++r)
    if (!broken_[r])
      broken_[r] = hop_skip_jump(model_, options_, rows_.row(r), static_cast<std::size_t>(labels_[r]), restart,
                                 first_ + r, found_.row(r), queries_);
}

void AttackBlock::walk(int restart) {
  const std::size_t before = walk_->queries();
  for (std::size_t r = 0; r < rows_.rows(); ++r)
    if (!broken_[r])
      broken_[r] = walk_->run(r, static_cast<std::size_t>(labels_[r]), restart, first_ + r, found_.row(r));
  queries_ += walk_->queries() - before;
}

/// Into the ball, then into the box (which only comes nearer to the row), then to whole numbers.
void AttackBlock::project(std::size_t at, std::span<float> x) const {
  const auto origin = rows_.row(at);
  if (options_.norm == AttackNorm::linf && !whole_) {  // where nothing moves, both bounds are the row's own value
    const float *lo = lower_.data() + at * d_, *hi = upper_.data() + at * d_;
    float* values = x.data();
    for (std::size_t c = 0; c < d_; ++c) {
      const float v = values[c] > lo[c] ? values[c] : lo[c];
      values[c] = v < hi[c] ? v : hi[c];
    }
    return;
  }
  double spent = 0;  // on changes of category
  if (!groups_.empty()) {
    const bool l2 = options_.norm == AttackNorm::l2;
    const double budget = options_.radius * options_.radius * (1 - 1e-6);
    spent = groups_.snap(origin, bounds(lower_, at), bounds(upper_, at), l2 ? budget : HUGE_VAL, x);
  }
  if (options_.norm == AttackNorm::l2) {
    double square = 0;
    for (std::size_t c = 0; c < d_; ++c) {
      if (grouped(c)) continue;
      const double by = (static_cast<double>(x[c]) - origin[c]) / unit(c);
      if (std::isfinite(by)) square += by * by;
    }
    // A little inside, for the rounding of the sum and of the floats.
    const double most = options_.radius * (1 - 1e-6), allowed = std::sqrt(std::max(0.0, most * most - spent));
    if (const double length = std::sqrt(square); length > allowed) {
      const double shrink = length > 0 ? allowed / length : 0;
      for (std::size_t c = 0; c < d_; ++c)
        if (std::isfinite(origin[c]) && !grouped(c))
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
    const auto step = static_cast<float>(eta);
    const float *x = from.data(), *g = gradient.data(), *units = units_.data();
    const float *lo = lower_.data() + at * d_, *hi = upper_.data() + at * d_;
    float* moved = to.data();
#pragma GCC ivdep
    for (std::size_t c = 0; c < d_; ++c) {  // in place or apart; without branches, or it is not vectorised
      const float least = lo[c], most = hi[c];
      const float v = x[c] + static_cast<float>((g[c] > 0) - (g[c] < 0)) * (step * units[c]);
      const float w = v > least ? v : least;
      moved[c] = w < most ? w : most;
    }
    if (!whole_) return;  // where nothing moves, both bounds are the row's own value
  } else {
    double square = 0;
    for (std::size_t c = 0; c < d_; ++c)
      if (lower_[at * d_ + c] < upper_[at * d_ + c] && !grouped(c)) square += std::pow(gradient[c] * unit(c), 2);
    const double scale = square > 0 ? eta / std::sqrt(square) : 0;
    for (std::size_t c = 0; c < d_; ++c) to[c] = static_cast<float>(from[c] + scale * gradient[c] * unit(c) * unit(c));
  }
  if (!groups_.empty()) groups_.follow(rows_.row(at), bounds(lower_, at), bounds(upper_, at), gradient, to);
  project(at, to);
}

void AttackBlock::start(int restart, bool random) {
  alive_.clear();
  for (std::size_t r = 0; r < rows_.rows(); ++r) {
    if (broken_[r]) continue;
    const auto x = row(x_, alive_.size());
    alive_.push_back({.at = r});
    std::copy(rows_.row(r).begin(), rows_.row(r).end(), x.begin());
    if (!random) continue;
    Random numbers(options_.seed + 0x9e3779b97f4a7c15ull * static_cast<std::uint64_t>(restart + 1), first_ + r);
    double square = 0;
    std::vector<double> by(d_);
    for (double& v : by) {
      v = options_.norm == AttackNorm::linf ? numbers.uniform(-1, 1) : numbers.normal();
      square += v * v;
    }
    const double scale =
        options_.radius * (options_.norm == AttackNorm::linf ? 1.0 : numbers.uniform() / std::sqrt(square));
    for (std::size_t c = 0; c < d_; ++c) x[c] = static_cast<float>(x[c] + scale * by[c] * unit(c));
    project(r, x);
  }
}

void AttackBlock::leave(std::span<const std::uint8_t> marks) {
  std::size_t to = 0;
  for (std::size_t i = 0; i < marks.size(); ++i) {
    if (marks[i]) continue;
    if (to != i) {
      alive_[to] = std::move(alive_[i]);
      for (auto* values : {&x_, &previous_, &best_, &gradient_, &best_gradient_})
        if (!values->empty()) std::copy_n(values->begin() + i * d_, d_, values->begin() + to * d_);
    }
    ++to;
  }
  alive_.resize(to);
}

void AttackBlock::evaluate(bool want_gradient) {
  const std::size_t n = alive_.size(), k = target_->classes();
  std::vector<std::uint8_t> leaves(n, 0);
  bool any = false;
  const bool entropy = options_.method != AttackMethod::apgd_dlr && options_.method != AttackMethod::apgd_targeted;
  for (std::size_t begin = 0; begin < n; begin += target_->rows()) {
    const std::size_t count = std::min(target_->rows(), n - begin);
    const MatrixView<const float> rows(x_.data() + begin * d_, count, d_);
    target_->scores(rows, {scores_.data(), count, k});
    for (std::size_t i = begin; i < begin + count; ++i) {
      const auto z = std::span(scores_).subspan((i - begin) * k, k);
      const auto upstream = std::span(upstream_).subspan((i - begin) * k, k);
      const std::size_t at = alive_[i].at;
      const auto label = static_cast<std::size_t>(labels_[at]);
      alive_[i].loss = entropy
                           ? cross_entropy(z, label, upstream)
                           : logits_difference(z, label, target_of_.empty() ? -1 : target_of_[at], ratio_, upstream);
      if (largest(z) == label) continue;
      // The model's own word counts: its outputs may tie where its scores do not.
      model_.predict(row(x_, i), out_, scratch_);
      if (largest(out_) == label) continue;
      keep(at, row(x_, i));
      leaves[i] = 1;
      any = true;
    }
    if (want_gradient)
      target_->backward(rows, {upstream_.data(), count, k}, {gradient_.data() + begin * d_, count, d_});
  }
  (want_gradient ? gradients_ : queries_) += n;
  if (any) leave(leaves);
}

void AttackBlock::descend(int restart) {
  const bool one = options_.method == AttackMethod::fgsm;
  const int steps = one ? 1 : options_.steps;
  const double eta = one ? options_.radius : options_.step > 0 ? options_.step : 2.5 * options_.radius / steps;
  start(restart, restart > 0);
  // A step depends on the point alone: a row that comes back to an earlier one would go round for ever, and leaves.
  std::vector<std::uint8_t> round(alive_.size());
  for (int step = 0; step < steps && !alive_.empty(); ++step) {
    evaluate(true);
    round.assign(alive_.size(), 0);
    for (std::size_t i = 0; i < alive_.size(); ++i) {
      const auto x = row(x_, i);
      std::vector<std::uint64_t>& passed = alive_[i].passed;
      if (step == 0) passed.push_back(fingerprint(x));
      move(alive_[i].at, x, row(gradient_, i), eta, x);
      const std::uint64_t here = fingerprint(x);
      round[i] = std::find(passed.begin(), passed.end(), here) != passed.end();
      passed.push_back(here);
    }
    leave(round);
  }
  if (!alive_.empty()) evaluate(false);
}

/// The likeliest other classes of the rows themselves, one after the other. Ratio and difference have other slopes, and
/// some rows break under one of them only: restarts take turns.
void AttackBlock::targeted(int restart) {
  const std::size_t k = target_->classes();
  if (k < 4) return adaptive(restart);
  std::vector<float> clean(rows_.rows() * k);
  for (std::size_t r = 0; r < rows_.rows(); r += target_->rows()) {
    const std::size_t end = std::min(r + target_->rows(), rows_.rows());
    target_->scores(rows_.slice(r, end), {clean.data() + r * k, end - r, k});
  }
  queries_ += rows_.rows();
  std::vector<std::vector<std::size_t>> order(rows_.rows());
  for (std::size_t r = 0; r < rows_.rows(); ++r) {
    std::vector<std::size_t> all(k);
    largest_of(std::span(clean).subspan(r * k, k), k, all.data());
    for (const std::size_t c : all)
      if (c != static_cast<std::size_t>(labels_[r])) order[r].push_back(c);
  }
  ratio_ = restart % 2 == 0;
  target_of_.resize(rows_.rows());
  for (std::size_t t = 0; t < std::min<std::size_t>(9, k - 1); ++t) {
    for (std::size_t r = 0; r < rows_.rows(); ++r) target_of_[r] = static_cast<std::int32_t>(order[r][t]);
    adaptive(restart * 9 + static_cast<int>(t));
  }
}

void AttackBlock::adaptive(int restart) {
  constexpr double alpha = 0.75, rho = 0.75;
  start(restart, true);
  if (alive_.empty()) return;
  evaluate(true);
  previous_ = best_ = x_;
  best_gradient_ = gradient_;
  for (Row& r : alive_) {
    r.best_loss = r.best_before = r.loss;
    r.eta = r.eta_before = 2 * options_.radius;
  }
  double share = 0, next_share = 0.22;
  int checkpoint = 0;
  std::vector<float> z(d_);
  for (int step = 1; step <= options_.steps && !alive_.empty(); ++step) {
    const float a = step == 1 ? 1 : static_cast<float>(alpha);
    for (std::size_t i = 0; i < alive_.size(); ++i) {
      Row& r = alive_[i];
      const auto x = row(x_, i), before = row(previous_, i);
      move(r.at, x, row(gradient_, i), r.eta, z);
      for (std::size_t c = 0; c < d_; ++c) {
        const float next = x[c] + a * (z[c] - x[c]) + (1 - a) * (x[c] - before[c]);
        before[c] = x[c];
        x[c] = next;
      }
      project(r.at, x);
      r.loss_before = r.loss;
    }
    evaluate(true);
    const int boundary = static_cast<int>(std::ceil(next_share * options_.steps));
    for (std::size_t i = 0; i < alive_.size(); ++i) {
      Row& r = alive_[i];
      r.rises += r.loss > r.loss_before;
      if (r.loss > r.best_loss) {
        r.best_loss = r.loss;
        std::copy_n(row(x_, i).begin(), d_, row(best_, i).begin());
        std::copy_n(row(gradient_, i).begin(), d_, row(best_gradient_, i).begin());
      }
      if (step < boundary) continue;
      // The step halves, and goes on from the best point, where progress was rare or there was none.
      const bool rare = r.rises <= rho * (step - checkpoint);
      const bool stuck = r.eta == r.eta_before && r.best_loss <= r.best_before;
      r.eta_before = r.eta;
      r.best_before = r.best_loss;
      r.rises = 0;
      if (rare || stuck) {
        r.eta /= 2;
        r.loss = r.best_loss;
        std::copy_n(row(best_, i).begin(), d_, row(x_, i).begin());
        std::copy_n(row(best_gradient_, i).begin(), d_, row(gradient_, i).begin());
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
  start(restart, false);
  previous_ = x_;
  const std::size_t k = model_.outputs();
  const std::size_t pixels = d_ / options_.channels;
  const std::size_t width = options_.image_width, height = width ? pixels / width : 0;
  std::vector<Random> numbers;
  std::vector<std::uint64_t> counter(rows_.rows(), 0);
  for (std::size_t r = 0; r < rows_.rows(); ++r)
    numbers.emplace_back(options_.seed + 0xda942042e4dd58b5ull * static_cast<std::uint64_t>(restart + 1), first_ + r);
  const auto push = [&](std::size_t at, std::span<float> x, std::size_t c, double sign) {
    if (grouped(c)) {  // of the columns that are raised, a random one gets the 1
      if (sign > 0) x[c] = static_cast<float>(numbers[at].uniform(2, 3));
      return;
    }
    const double by = options_.norm == AttackNorm::linf
                          ? options_.radius
                          : options_.radius / std::sqrt(static_cast<double>(std::max<std::size_t>(1, d_ / 4)));
    x[c] = static_cast<float>(static_cast<double>(rows_(at, c)) + sign * by * unit(c));
  };
  for (int step = 0; step < options_.steps && !alive_.empty(); ++step) {
    // Of the columns, so many change: large patches first. The schedule is one of 10,000 queries; AutoAttack's 5,000 go
    // half of its way, fewer go all of it faster.
    const double done = static_cast<double>(step) / (options_.steps >= 5000 ? 10000 : options_.steps);
    double share = 0.8;
    for (const double at : {0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8})
      if (done > at) share /= 2;
    for (std::size_t i = 0; i < alive_.size(); ++i) {
      const std::size_t at = alive_[i].at;
      const auto x = row(x_, i);
      std::copy(x.begin(), x.end(), row(previous_, i).begin());
      Random& random = numbers[at];
      if (step == 0) {  // stripes
        for (std::size_t c = 0; c < d_; ++c) {
          if (width && c / options_.channels >= width) {
            const std::size_t over = c - width * options_.channels;
            push(at, x, c, x[over] > rows_(at, over) ? 1 : -1);
          } else {
            push(at, x, c, random.below(2) ? 1 : -1);
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
            for (std::size_t across = left; across < left + side; ++across)
              push(at, x, (y * width + across) * options_.channels + channel, sign);
        }
      } else {
        const auto count = std::max<std::size_t>(1, static_cast<std::size_t>(share * static_cast<double>(d_)));
        for (std::size_t i = 0; i < count; ++i) {
          const std::size_t c = random.below(d_);
          push(at, x, c, random.below(2) ? 1 : -1);
        }
      }
      project(at, x);
    }
    const std::size_t n = alive_.size();
    model_.predict_batch({x_.data(), n, d_}, {scores_.data(), n, k}, options_.arena);
    queries_ += n;
    std::vector<std::uint8_t> leaves(n, 0);
    for (std::size_t i = 0; i < n; ++i) {
      Row& r = alive_[i];
      const auto p = std::span(scores_).subspan(i * k, k);
      const auto label = static_cast<std::size_t>(labels_[r.at]);
      if (largest(p) != label) {
        keep(r.at, row(x_, i));
        leaves[i] = 1;
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
        std::copy_n(row(previous_, i).begin(), d_, row(x_, i).begin());
    }
    leave(leaves);
  }
}

}  // namespace redoubt::detail
