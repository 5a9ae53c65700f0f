#include "redoubt/kernels/lbfgs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/progress.hpp"

namespace redoubt {
namespace {

constexpr double armijo = 1e-4;
constexpr double curvature = 0.9;

double dot(std::span<const double> a, std::span<const double> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

double max_abs(std::span<const double> a) {
  double largest = 0;
  for (const double v : a) largest = std::isnan(v) ? v : std::max(largest, std::abs(v));
  return largest;
}

struct Point {
  double step = 0, value = 0, slope = 0;
};

/// Minimum of the cubic through both values and slopes, kept away from the ends of the interval.
double interpolate(const Point& a, const Point& b) {
  const double low = std::min(a.step, b.step), width = std::abs(b.step - a.step);
  const double d1 = a.slope + b.slope - 3 * (a.value - b.value) / (a.step - b.step);
  const double square = d1 * d1 - a.slope * b.slope;
  double step = low + 0.5 * width;
  if (square >= 0) {
    const double d2 = std::copysign(std::sqrt(square), b.step - a.step);
    const double candidate = b.step - (b.step - a.step) * (b.slope + d2 - d1) / (b.slope - a.slope + 2 * d2);
    if (std::isfinite(candidate)) step = candidate;
  }
  return std::clamp(step, low + 0.1 * width, low + 0.9 * width);
}

class Minimiser {
 public:
  Minimiser(std::span<double> x, LbfgsObjective objective, const LbfgsOptions& options, const LbfgsStep* step)
      : x_(x),
        objective_(objective),
        options_(options),
        step_(step),
        size_(x.size()),
        gradient_(size_),
        trial_(size_),
        trial_gradient_(size_),
        direction_(size_),
        steps_(size_ * static_cast<std::size_t>(options.history)),
        changes_(steps_.size()),
        rho_(static_cast<std::size_t>(options.history)),
        alpha_(rho_.size()) {}

  LbfgsResult run() {
    current_.assign(x_.begin(), x_.end());
    result_.value = objective_(current_, gradient_);
    result_.evaluations = 1;
    result_.gradient_max = max_abs(gradient_);
    if (!std::isfinite(result_.value) || !std::isfinite(result_.gradient_max)) {
      detail::fail(errc::invalid_argument, fmt::format("L-BFGS: the objective is {} with largest gradient entry {} at "
                                                       "the start point; both must be finite",
                                                       result_.value, result_.gradient_max));
    }
    while (result_.gradient_max > options_.tolerance && result_.iterations < options_.max_iterations) {
      find_direction();
      if (!line_search()) {
        // A stale curvature estimate can spoil the direction: try steepest descent once before giving up.
        if (stored_ == 0) break;
        stored_ = 0;
        continue;
      }
      ++result_.iterations;
      if (options_.progress) {
        options_.progress->update("iterations", static_cast<std::size_t>(result_.iterations),
                                  static_cast<std::size_t>(options_.max_iterations));
      }
      if (step_ && !(*step_)(current_, result_)) break;
    }
    result_.converged = result_.gradient_max <= options_.tolerance;
    std::copy(current_.begin(), current_.end(), x_.begin());
    return result_;
  }

 private:
  std::span<double> row(std::vector<double>& rows, std::size_t slot) { return {rows.data() + slot * size_, size_}; }
  std::size_t slot(std::size_t age) const { return (next_ + rho_.size() - 1 - age) % rho_.size(); }

  void find_direction() {
    for (std::size_t i = 0; i < size_; ++i) direction_[i] = -gradient_[i];
    for (std::size_t age = 0; age < stored_; ++age) {
      const std::size_t s = slot(age);
      alpha_[s] = rho_[s] * dot(row(steps_, s), direction_);
      const auto change = row(changes_, s);
      for (std::size_t i = 0; i < size_; ++i) direction_[i] -= alpha_[s] * change[i];
    }
    if (stored_ > 0) {
      const auto change = row(changes_, slot(0));
      const double scale = 1.0 / (rho_[slot(0)] * dot(change, change));
      for (double& d : direction_) d *= scale;
    }
    for (std::size_t age = stored_; age-- > 0;) {
      const std::size_t s = slot(age);
      const double weight = alpha_[s] - rho_[s] * dot(row(changes_, s), direction_);
      const auto step = row(steps_, s);
      for (std::size_t i = 0; i < size_; ++i) direction_[i] += weight * step[i];
    }
  }

  Point evaluate(double step) {
    for (std::size_t i = 0; i < size_; ++i) trial_[i] = current_[i] + step * direction_[i];
    ++result_.evaluations;
    ++searched_;
    const double value = objective_(trial_, trial_gradient_);
    return {step, value, dot(trial_gradient_, direction_)};
  }

  bool budget_left() const { return searched_ < options_.max_line_search; }
  bool too_high(const Point& p) const {
    return !std::isfinite(p.value) || !std::isfinite(p.slope) ||
           p.value > start_.value + armijo * p.step * start_.slope + options_.noise * std::abs(start_.value);
  }
  bool flat(const Point& p) const { return std::abs(p.slope) <= -curvature * start_.slope; }

  bool line_search() {
    start_ = {0, result_.value, dot(gradient_, direction_)};
    if (!(start_.slope < 0)) return false;
    searched_ = 0;
    double step = stored_ > 0 ? 1.0 : std::min(1.0, 1.0 / std::sqrt(-start_.slope));
    Point previous = start_;
    while (budget_left()) {
      const Point p = evaluate(step);
      if (too_high(p) || (previous.step > 0 && p.value >= previous.value)) return zoom(previous, p);
      if (flat(p)) return accept(p);
      if (p.slope >= 0) return zoom(p, previous);
      previous = p;
      step *= 4;
    }
    return false;
  }

  /// `low` satisfies the first condition and has the lower value; the minimum lies between it and `high`.
  bool zoom(Point low, Point high) {
    while (budget_left()) {
      const bool usable = std::isfinite(high.value) && std::isfinite(high.slope);
      const Point p = evaluate(usable ? interpolate(low, high) : low.step + 0.1 * (high.step - low.step));
      if (too_high(p) || p.value > low.value + options_.noise * std::abs(low.value)) {
        high = p;
      } else {
        if (flat(p)) return accept(p);
        if (p.slope * (high.step - low.step) >= 0) high = low;
        low = p;
      }
      if (std::abs(high.step - low.step) <= 1e-15 * std::max(low.step, high.step)) break;
    }
    return low.step > 0 && accept(evaluate(low.step));
  }

  bool accept(const Point& p) {
    const auto step = row(steps_, next_), change = row(changes_, next_);
    for (std::size_t i = 0; i < size_; ++i) {
      step[i] = trial_[i] - current_[i];
      change[i] = trial_gradient_[i] - gradient_[i];
    }
    const double product = dot(step, change);
    if (product > 1e-300) {
      rho_[next_] = 1.0 / product;
      next_ = (next_ + 1) % rho_.size();
      stored_ = std::min(stored_ + 1, rho_.size());
    }
    current_.swap(trial_);
    gradient_.swap(trial_gradient_);
    result_.value = p.value;
    result_.gradient_max = max_abs(gradient_);
    return true;
  }

  std::span<double> x_;
  LbfgsObjective objective_;
  const LbfgsOptions& options_;
  const LbfgsStep* step_;
  std::size_t size_;
  std::vector<double> current_, gradient_, trial_, trial_gradient_, direction_;
  std::vector<double> steps_, changes_, rho_, alpha_;
  std::size_t next_ = 0, stored_ = 0;
  int searched_ = 0;
  Point start_;
  LbfgsResult result_;
};

}  // namespace

LbfgsResult lbfgs_minimise(std::span<double> x, LbfgsObjective objective, const LbfgsOptions& options,
                           const LbfgsStep* step) {
  if (options.history < 1 || options.history > 1000) {
    detail::fail(errc::invalid_argument, fmt::format("L-BFGS: history is {}; it must be 1..1000", options.history));
  }
  if (options.max_iterations < 0 || options.max_line_search < 1) {
    detail::fail(errc::invalid_argument,
                 fmt::format("L-BFGS: max_iterations is {} and max_line_search is {}; they must be at least 0 and 1",
                             options.max_iterations, options.max_line_search));
  }
  if (!(options.tolerance >= 0)) {
    detail::fail(errc::invalid_argument, fmt::format("L-BFGS: tolerance is {}; it must be >= 0", options.tolerance));
  }
  if (!(options.noise >= 0 && options.noise < 1)) {
    detail::fail(errc::invalid_argument, fmt::format("L-BFGS: noise is {}; it must be in [0, 1)", options.noise));
  }
  return Minimiser(x, objective, options, step).run();
}

}  // namespace redoubt
