#include "robustness/evasion/hop_skip_jump.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/model/predictor.hpp"
#include "robustness/evasion/one_hot.hpp"

namespace redoubt::detail {
namespace {

/// Points are changes of the row, each column in its unit.
class BoundaryWalk {
 public:
  BoundaryWalk(const Predictor& model, const AttackOptions& options, std::span<const float> origin, std::size_t label,
               Random random)
      : model_(model),
        options_(options),
        origin_(origin),
        label_(label),
        random_(random),
        d_(origin.size()),
        groups_(options) {
    static const FeatureRule any;
    for (std::size_t c = 0; c < d_; ++c) {
      const FeatureRule& r = options.rules.empty() ? any : options.rules[c];
      rules_.push_back(&r);
      free_.push_back(!r.fixed && std::isfinite(origin[c]) && origin[c] >= r.lower && origin[c] <= r.upper);
      moving_ += free_.back();
    }
    if (!groups_.empty()) {
      lower_.assign(origin.begin(), origin.end());
      upper_ = lower_;
      groups_.bound(origin, lower_, upper_);
      moving_ = 0;
      for (std::size_t c = 0; c < d_; ++c) {
        if (rules_[c]->group > 0) free_[c] = lower_[c] < upper_[c];
        moving_ += free_[c];
      }
    }
    scratch_.resize(model.scratch_size());
    out_.resize(model.outputs());
  }

  bool run(std::span<float> found) {
    found_ = found;
    if (moving_ == 0 || options_.radius == 0) return false;
    std::vector<double> at;
    if (!begin(at)) return success_;
    const double d = static_cast<double>(moving_);
    for (int round = 1; left() > 0 && !success_; ++round) {
      to_boundary(at);
      if (success_ || left() == 0) break;
      const double distance = length(at);
      const auto directions =
          std::min<std::size_t>(left(), static_cast<std::size_t>(std::min(100.0 * std::sqrt(round), 10000.0)));
      std::vector<double> normal = estimate(at, round == 1 ? 0.1 * distance : distance / d, directions);
      if (success_) break;
      jump(at, normal, distance / std::sqrt(static_cast<double>(round)));
    }
    return success_;
  }

  std::size_t queries() const { return queries_; }

 private:
  bool linf() const { return options_.norm == AttackNorm::linf; }
  std::size_t left() const {
    const auto most = static_cast<std::size_t>(options_.steps);
    return queries_ < most ? most - queries_ : 0;
  }

  double length(std::span<const double> by) const {
    double most = 0, squares = 0;
    for (const double v : by) most = std::max(most, std::abs(v)), squares += v * v;
    return linf() ? most : std::sqrt(squares);
  }

  /// The row at a point, kept to the rules; the point becomes what the row truly is.
  void place(std::span<double> by, std::span<float> row) const {
    for (std::size_t c = 0; c < d_; ++c) {
      row[c] = origin_[c];
      if (free_[c]) {
        const FeatureRule& r = *rules_[c];
        double x = std::clamp(origin_[c] + by[c] * r.unit, static_cast<double>(r.lower), static_cast<double>(r.upper));
        if (r.whole) {
          x = std::nearbyint(x);
          if (x < r.lower) x += 1;
          if (x > r.upper) x -= 1;
          if (x < r.lower) x = origin_[c];  // no whole number is allowed
        }
        row[c] = std::clamp(static_cast<float>(x), r.lower, r.upper);
        if (r.group > 0) row[c] = static_cast<float>(origin_[c] + by[c] * r.unit);
        by[c] = (static_cast<double>(row[c]) - origin_[c]) / r.unit;
      } else {
        by[c] = 0;
      }
    }
    if (groups_.empty()) return;
    groups_.snap(origin_, lower_, upper_, HUGE_VAL, row);
    for (std::size_t c = 0; c < d_; ++c)
      if (rules_[c]->group > 0) by[c] = (static_cast<double>(row[c]) - origin_[c]) / rules_[c]->unit;
  }

  /// Is this row of another class? One that is near enough ends the walk.
  bool judge(std::span<const float> row, std::span<const float> out, std::span<const double> by) {
    const auto top = [](std::span<const float> p) {
      return static_cast<std::size_t>(std::max_element(p.begin(), p.end()) - p.begin());
    };
    if (top(out) == label_) return false;
    if (!success_ && length(by) <= options_.radius) {
      model_.predict(row, out_, scratch_);  // a batch may round differently; the one-row form counts
      if (top(out_) == label_) return false;
      std::copy(row.begin(), row.end(), found_.begin());
      success_ = true;
    }
    return true;
  }

  bool ask(std::vector<double>& by) {
    if (left() == 0) return false;
    std::vector<float> row(d_), out(model_.outputs());
    place(by, row);
    model_.predict(row, out, scratch_);
    ++queries_;
    return judge(row, out, by);
  }

  /// A row of another class, however far: uniform where the rules bound a column, else ever wider.
  bool begin(std::vector<double>& at) {
    double reach = 2 * options_.radius;
    for (int attempt = 0; attempt < 200 && left() > 0; ++attempt, reach *= attempt % 8 == 0 ? 2 : 1) {
      at.assign(d_, 0);
      for (std::size_t c = 0; c < d_; ++c) {
        const FeatureRule& r = *rules_[c];
        if (!free_[c]) continue;
        at[c] = r.group > 0 ? random_.uniform(-1, 2) / r.unit  // a random category
                : std::isfinite(r.lower) && std::isfinite(r.upper)
                    ? (random_.uniform(r.lower, r.upper) - origin_[c]) / r.unit
                    : reach * random_.normal();
      }
      if (ask(at)) return !success_;
    }
    return false;
  }

  /// Bisects between the row and `at`, which stays of another class: along the line, or, in the largest change, by
  /// cutting all changes off at a height.
  void to_boundary(std::vector<double>& at) {
    const std::vector<double> far = at;
    const double full = linf() ? length(far) : 1;
    double low = 0, high = full;
    const double tolerance = std::clamp(std::pow(static_cast<double>(moving_), -1.5), 1e-5, 1e-3);
    while (high - low > tolerance * high && left() > 0 && !success_) {
      const double middle = (low + high) / 2;
      std::vector<double> by = far;
      for (double& v : by) v = linf() ? std::clamp(v, -middle, middle) : v * middle;
      if (ask(by)) {
        high = middle;
        at = std::move(by);
      } else {
        low = middle;
      }
    }
  }

  /// Direction into the other class, from the classes of random steps of this size.
  std::vector<double> estimate(const std::vector<double>& at, double size, std::size_t directions) {
    std::vector<std::vector<double>> steps(directions);
    Tensor<float> rows({directions, d_}), out({directions, model_.outputs()});
    std::vector<std::vector<double>> points(directions);
    for (std::size_t i = 0; i < directions; ++i) {
      std::vector<double> step(d_, 0);
      double squares = 1e-300;
      for (std::size_t c = 0; c < d_; ++c) {
        if (free_[c]) step[c] = linf() ? random_.uniform(-1, 1) : random_.normal();
        squares += step[c] * step[c];
      }
      points[i] = at;
      for (std::size_t c = 0; c < d_; ++c) points[i][c] += size * step[c] / std::sqrt(squares);
      place(points[i], rows.row(i));
      for (std::size_t c = 0; c < d_; ++c) step[c] = (points[i][c] - at[c]) / size;
      steps[i] = std::move(step);
    }
    model_.predict_batch(rows, out, options_.arena);
    queries_ += directions;
    std::vector<double> side(directions);
    double mean = 0;
    for (std::size_t i = 0; i < directions; ++i) {
      side[i] = judge(rows.row(i), out.row(i), points[i]) ? 1 : -1;
      mean += side[i] / static_cast<double>(directions);
    }
    std::vector<double> normal(d_, 0);
    for (std::size_t i = 0; i < directions; ++i) {
      const double weight = std::abs(mean) == 1 ? mean : side[i] - mean;
      for (std::size_t c = 0; c < d_; ++c) normal[c] += weight * steps[i][c];
    }
    double squares = 0;
    for (const double v : normal) squares += v * v;
    for (double& v : normal) v = linf() ? static_cast<double>((v > 0) - (v < 0)) : v / std::sqrt(squares + 1e-300);
    return normal;
  }

  /// As far along the direction as it stays in the other class, halving from `reach`.
  void jump(std::vector<double>& at, std::span<const double> direction, double reach) {
    for (int halving = 0; halving < 20 && left() > 0 && !success_; ++halving, reach /= 2) {
      std::vector<double> next = at;
      for (std::size_t c = 0; c < d_; ++c) next[c] += reach * direction[c];
      if (!ask(next)) continue;
      at = std::move(next);
      return;
    }
  }

  const Predictor& model_;
  const AttackOptions& options_;
  std::span<const float> origin_;
  std::size_t label_;
  Random random_;
  std::size_t d_, moving_ = 0, queries_ = 0;
  std::vector<const FeatureRule*> rules_;
  std::vector<char> free_;
  OneHotGroups groups_;
  std::vector<float> lower_, upper_;  // of the columns of groups
  std::vector<float> scratch_, out_;
  std::span<float> found_;
  bool success_ = false;
};

}  // namespace

bool hop_skip_jump(const Predictor& model, const AttackOptions& options, std::span<const float> origin,
                   std::size_t label, int restart, std::uint64_t stream, std::span<float> found, std::size_t& queries) {
  BoundaryWalk walk(model, options, origin, label,
                    Random(options.seed + 0xd1342543de82ef95ull * static_cast<std::uint64_t>(restart + 1), stream));
  const bool broken = walk.run(found);
  queries += walk.queries();
  return broken;
}

}  // namespace redoubt::detail
