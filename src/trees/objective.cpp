#include "trees/objective.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/kernels/activation.hpp"

namespace redoubt {

std::size_t CustomObjective::outputs(const TreeTarget&) const { return 1; }
ForestLink CustomObjective::link() const { return ForestLink::identity; }
void CustomObjective::start(const TreeTarget&, std::span<const std::uint32_t>, std::span<float>) const {}

namespace detail {
namespace {

constexpr double smallest_share = 1e-15;  // of a class, so that its log-odds are finite (LightGBM's kEpsilon)

/// Multiplies by the weights of the rows.
void weigh(const BoostingData& data, float* g, float* h, std::size_t begin, std::size_t end) {
  if (data.weights.empty()) return;
  const float* w = data.weights.data();
  for (std::size_t i = begin; i < end; ++i) {
    g[i] *= w[i];
    h[i] *= w[i];
  }
}

/// Losses of one number per row.
class ValueObjective : public Objective {
 public:
  explicit ValueObjective(const BoostingData& data)
      : data_(data), target_(data.y.values.begin(), data.y.values.end()) {}
  ForestLink link() const noexcept override { return ForestLink::identity; }
  std::vector<float> start() const override { return {static_cast<float>(mean())}; }

 protected:
  double mean() const {
    const std::vector<double> sums = data_.totals(2, [&](std::uint32_t r, double* s) {
      s[0] += data_.weight(r) * data_.y.values[r];
      s[1] += data_.weight(r);
    });
    return sums[0] / sums[1];
  }
  /// f(score, target) -> gradient; the hessian is the weight, written once.
  template <class F>
  void constant_curvature(const float* scores, float* g, float* h, const F& f) {
    const bool fill = !(std::exchange(filled_, true) && data_.keep_hessian);
    data_.for_blocks([&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) g[i] = f(scores[i], target_[i]);
      if (fill) std::fill(h + begin, h + end, 1.0f);
      if (data_.weights.empty()) return;
      for (std::size_t i = begin; i < end; ++i) g[i] *= data_.weights[i];
      if (fill) std::copy(data_.weights.data() + begin, data_.weights.data() + end, h + begin);
    });
  }

  const BoostingData& data_;
  std::vector<float> target_;
  bool filled_ = false;
};

class Squared : public ValueObjective {
 public:
  using ValueObjective::ValueObjective;
  bool unit_hessian() const noexcept override { return data_.weights.empty() && data_.keep_hessian; }
  bool keeps_hessian() const noexcept override { return data_.keep_hessian; }
  void gradients(const float* scores, float* g, float* h) override {
    constant_curvature(scores, g, h, [](float s, float y) { return s - y; });
  }
};

class Huber final : public Squared {
 public:
  Huber(const BoostingData& data, double delta) : Squared(data), delta_(static_cast<float>(delta)) {}
  void gradients(const float* scores, float* g, float* h) override {
    constant_curvature(scores, g, h, [d = delta_](float s, float y) { return std::clamp(s - y, -d, d); });
  }

 private:
  float delta_;
};

/// Absolute error is twice the pinball loss of the median.
class Pinball final : public Squared {
 public:
  Pinball(const BoostingData& data, double quantile, bool absolute)
      : Squared(data), quantile_(quantile), absolute_(absolute) {}
  std::vector<float> start() const override {
    std::vector<std::pair<double, double>> values;
    for (std::size_t i = 0; i < data_.train.size(); ++i)
      values.emplace_back(data_.y.values[data_.train[i]], data_.weight(data_.train[i]));
    return {static_cast<float>(quantile_of(values, quantile_, !data_.weights.empty()))};
  }
  void gradients(const float* scores, float* g, float* h) override {
    if (absolute_)
      return constant_curvature(scores, g, h, [](float s, float y) { return static_cast<float>((s > y) - (s < y)); });
    const float above = static_cast<float>(1 - quantile_), below = static_cast<float>(-quantile_);
    constant_curvature(scores, g, h, [=](float s, float y) { return s >= y ? above : below; });
  }
  bool renews() const noexcept override { return true; }
  double leaf_value(std::span<const std::uint32_t> rows, const float* scores,
                    std::vector<std::pair<double, double>>& residuals) const override {
    residuals.clear();
    for (const auto r : rows) residuals.emplace_back(data_.y.values[r] - scores[r], data_.weight(r));
    return quantile_of(residuals, quantile_, !data_.weights.empty());
  }

 private:
  double quantile_;
  bool absolute_;
};

/// Means that are e^score.
class LogLinked final : public ValueObjective {
 public:
  LogLinked(const BoostingData& data, Loss loss, const GradientBoostingOptions& o)
      : ValueObjective(data),
        loss_(loss),
        power_(static_cast<float>(o.tweedie_power)),
        caution_(static_cast<float>(std::exp(o.poisson_max_delta))) {}
  ForestLink link() const noexcept override { return ForestLink::exponential; }
  std::vector<float> start() const override { return {static_cast<float>(std::log(std::max(mean(), 1e-30)))}; }
  void gradients(const float* scores, float* g, float* h) override {
    data_.for_blocks([&](std::size_t begin, std::size_t end) {
      const std::size_t n = end - begin;
      const std::span<const float> s(scores + begin, n);
      const std::span<float> a(g + begin, n), b(h + begin, n);
      const float* y = target_.data() + begin;
      if (loss_ == Loss::poisson) {
        kernels::exp(s, a);
        for (std::size_t i = 0; i < n; ++i) {
          b[i] = a[i] * caution_;
          a[i] -= y[i];
        }
      } else if (loss_ == Loss::gamma) {
        for (std::size_t i = 0; i < n; ++i) a[i] = -s[i];
        kernels::exp(a, a);
        for (std::size_t i = 0; i < n; ++i) {
          b[i] = a[i] * y[i];
          a[i] = 1 - b[i];
        }
      } else {
        const float low = 1 - power_, high = 2 - power_;
        for (std::size_t i = 0; i < n; ++i) {
          a[i] = low * s[i];
          b[i] = high * s[i];
        }
        kernels::exp(a, a);
        kernels::exp(b, b);
        for (std::size_t i = 0; i < n; ++i) {
          const float p = y[i] * a[i], q = b[i];
          a[i] = q - p;
          b[i] = high * q - low * p;
        }
      }
      weigh(data_, g, h, begin, end);
    });
  }

 private:
  Loss loss_;
  float power_, caution_;
};

/// One output per class against the others, or the second of two classes alone.
class Logistic final : public Objective {
 public:
  Logistic(const BoostingData& data, bool all, double positive_weight)
      : data_(data), outputs_(all ? data.y.classes : 1), positive_(static_cast<float>(positive_weight)) {}
  std::size_t outputs() const noexcept override { return outputs_; }
  ForestLink link() const noexcept override { return outputs_ == 1 ? ForestLink::sigmoid : ForestLink::one_vs_all; }
  std::vector<float> start() const override {
    const std::vector<double> share = data_.class_shares();
    std::vector<float> base;
    for (std::size_t k = outputs_ == 1 ? 1 : 0; k < share.size(); ++k) {
      const double p = std::clamp(share[k], smallest_share, 1 - smallest_share);
      base.push_back(static_cast<float>(std::log(p / (1 - p))));
    }
    return base;
  }
  void gradients(const float* scores, float* g, float* h) override {
    for (std::size_t k = 0; k < outputs_; ++k) {
      const std::size_t first = k * data_.rows;
      one(static_cast<std::int32_t>(outputs_ == 1 ? 1 : k), scores + first, g + first, h + first);
    }
  }

 private:
  /// With t = +1 for the class and -1 otherwise: q = sigmoid(-t s) is the probability of the wrong side, small numbers
  /// keep their relative precision; g = -t q, h = q (1 - q).
  void one(std::int32_t label, const float* scores, float* g, float* h) const {
    const std::int32_t* labels = data_.y.labels.data();
    data_.for_blocks([&](std::size_t begin, std::size_t end) {
      for (std::size_t i = begin; i < end; ++i) g[i] = labels[i] == label ? -scores[i] : scores[i];
      kernels::sigmoid({g + begin, end - begin}, {g + begin, end - begin});
      for (std::size_t i = begin; i < end; ++i) {
        const float q = g[i];
        h[i] = q - q * q;
        g[i] = labels[i] == label ? -q : q;
      }
      if (positive_ != 1)
        for (std::size_t i = begin; i < end; ++i) {
          const float w = labels[i] == label ? positive_ : 1.0f;
          g[i] *= w;
          h[i] *= w;
        }
      weigh(data_, g, h, begin, end);
    });
  }

  const BoostingData& data_;
  std::size_t outputs_;
  float positive_;
};

class Softmax final : public Objective {
 public:
  explicit Softmax(const BoostingData& data) : data_(data) {}
  std::size_t outputs() const noexcept override { return data_.y.classes; }
  ForestLink link() const noexcept override { return ForestLink::softmax; }
  std::vector<float> start() const override {
    std::vector<float> base;
    for (const double s : data_.class_shares())
      base.push_back(static_cast<float>(std::log(std::max(s, smallest_share))));
    return base;
  }
  void gradients(const float* scores, float* g, float* h) override {
    constexpr std::size_t step = 512;  // rows whose values for all classes stay in the cache
    const std::size_t n = data_.rows, classes = outputs();
    const float factor = static_cast<float>(classes) / static_cast<float>(classes - 1);
    data_.for_blocks([&](std::size_t block, std::size_t block_end) {
      float largest[step], total[step];
      for (std::size_t begin = block; begin < block_end; begin += step) {
        const std::size_t count = std::min(step, block_end - begin);
        std::copy_n(scores + begin, count, largest);
        std::fill_n(total, count, 0.0f);
        for (std::size_t k = 1; k < classes; ++k) {
          const float* s = scores + k * n + begin;
          for (std::size_t i = 0; i < count; ++i) largest[i] = std::max(largest[i], s[i]);
        }
        for (std::size_t k = 0; k < classes; ++k) {
          const float* s = scores + k * n + begin;
          float* p = g + k * n + begin;
          for (std::size_t i = 0; i < count; ++i) p[i] = s[i] - largest[i];
          kernels::exp({p, count}, {p, count});
          for (std::size_t i = 0; i < count; ++i) total[i] += p[i];
        }
        for (std::size_t i = 0; i < count; ++i) total[i] = 1 / total[i];
        for (std::size_t k = 0; k < classes; ++k) {
          float* p = g + k * n + begin;
          float* q = h + k * n + begin;
          for (std::size_t i = 0; i < count; ++i) {
            p[i] *= total[i];
            q[i] = factor * p[i] * (1 - p[i]);
          }
        }
        for (std::size_t i = 0; i < count; ++i)
          if (const auto label = data_.y.labels[begin + i]; label >= 0)
            g[static_cast<std::size_t>(label) * n + begin + i] -= 1;
        for (std::size_t k = 0; k < classes; ++k) weigh(data_, g + k * n, h + k * n, begin, begin + count);
      }
    });
  }

 private:
  const BoostingData& data_;
};

class Custom final : public Objective {
 public:
  Custom(const BoostingData& data, const CustomObjective& user)
      : data_(data), user_(user), outputs_(user.outputs(data.y)), link_(user.link()) {
    if (outputs_ < 1 || outputs_ > 65536)
      fail(errc::invalid_argument, fmt::format("GradientBoosting: the objective has {} outputs", outputs_));
    if (data.y.task != Task::classification) return;
    const bool fits =
        link_ == ForestLink::sigmoid
            ? data.y.classes == 2 && outputs_ == 1
            : (link_ == ForestLink::softmax || link_ == ForestLink::one_vs_all) && outputs_ == data.y.classes;
    if (!fits)
      fail(errc::invalid_argument,
           fmt::format("GradientBoosting: an objective for {} classes needs the link sigmoid with one output (two "
                       "classes), or softmax or one_vs_all with {}; it has {} outputs",
                       data.y.classes, data.y.classes, outputs_));
  }
  std::size_t outputs() const noexcept override { return outputs_; }
  ForestLink link() const noexcept override { return link_; }
  bool keeps_gradient() const noexcept override { return true; }  // the user may write only what changes
  bool keeps_hessian() const noexcept override { return true; }
  std::vector<float> start() const override {
    std::vector<float> base(outputs_);
    user_.start(data_.y, data_.train.listed(), base);
    for (const float b : base)
      if (!std::isfinite(b))
        fail(errc::invalid_argument, fmt::format("GradientBoosting: the objective starts at {}", b));
    return base;
  }
  void gradients(const float* scores, float* g, float* h) override {
    user_.gradients(data_.y, {scores, outputs_, data_.rows}, {g, outputs_, data_.rows}, {h, outputs_, data_.rows});
    for (std::size_t k = 0; k < outputs_; ++k) {
      float* gk = g + k * data_.rows;
      float* hk = h + k * data_.rows;
      for (std::size_t i = 0; i < data_.train.size(); ++i)
        if (const auto r = data_.train[i]; !std::isfinite(gk[r]) || !(hk[r] >= 0) || std::isinf(hk[r]))
          fail(errc::invalid_argument,
               fmt::format("GradientBoosting: the objective gave row {} gradient {} and hessian {}", r, gk[r], hk[r]));
      for (std::size_t i = 0; i < data_.train.size() && !data_.weights.empty(); ++i) {
        const std::uint32_t r = data_.train[i];
        gk[r] *= data_.weights[r];
        hk[r] *= data_.weights[r];
      }
    }
  }

 private:
  const BoostingData& data_;
  const CustomObjective& user_;
  std::size_t outputs_;
  ForestLink link_;
};

}  // namespace

double quantile_of(std::vector<std::pair<double, double>>& values, double share, bool weighted) {
  if (!weighted) {
    const double position = share * static_cast<double>(values.size() - 1);
    const auto low = static_cast<std::size_t>(position);
    const auto at = values.begin() + static_cast<std::ptrdiff_t>(low);
    std::nth_element(values.begin(), at, values.end());
    const double value = at->first;
    if (at + 1 == values.end()) return value;
    const double next = std::min_element(at + 1, values.end())->first;
    return value + (position - static_cast<double>(low)) * (next - value);
  }
  std::sort(values.begin(), values.end());
  double total = 0;
  for (const auto& v : values) total += v.second;
  double sum = 0;
  for (const auto& v : values)
    if ((sum += v.second) > share * total) return v.first;
  return values.back().first;
}

const char* to_string(Loss loss) noexcept {
  static constexpr const char* names[] = {"automatic", "squared", "absolute", "huber",   "quantile",   "poisson",
                                          "gamma",     "tweedie", "logistic", "softmax", "one_vs_all", "lambdarank"};
  return names[static_cast<std::size_t>(loss)];
}

Loss resolve_loss(const GradientBoostingOptions& options, const TreeTarget& y) {
  const bool classify = y.task == Task::classification;
  Loss loss = options.loss;
  if (loss == Loss::automatic) loss = !classify ? Loss::squared : y.classes > 2 ? Loss::softmax : Loss::logistic;
  const bool for_classes = loss == Loss::logistic || loss == Loss::softmax || loss == Loss::one_vs_all;
  if (for_classes != classify)
    fail(errc::invalid_argument,
         fmt::format("GradientBoosting: loss is {}, must be one for {}", to_string(loss),
                     classify ? "classification (logistic, softmax, one_vs_all)" : "numbers: the target is numeric"));
  if (loss == Loss::logistic && y.classes != 2)
    fail(errc::invalid_argument,
         fmt::format("GradientBoosting: loss is logistic, but there are {} classes, not 2", y.classes));
  const auto check_values = [&](double low, bool open, double high, const char* rule) {
    for (std::size_t r = 0; r < y.values.size(); ++r)
      if (const double v = y.values[r]; v < low || (open && v == low) || v > high)
        fail(errc::invalid_argument,
             fmt::format("GradientBoosting: loss {} needs targets {}, row {} has {}", to_string(loss), rule, r, v));
  };
  const double any = std::numeric_limits<double>::infinity();
  if (loss == Loss::poisson || loss == Loss::tweedie) check_values(0, false, any, "of at least 0");
  if (loss == Loss::gamma) check_values(0, true, any, "above 0");
  if (loss == Loss::lambdarank) {
    check_values(0, false, 30, "0 .. 30 (grades)");
    if (y.queries.empty() && !y.values.empty())
      fail(errc::invalid_argument, "GradientBoosting: loss is lambdarank, but the target has no queries");
  }
  return loss;
}

std::unique_ptr<Objective> make_objective(const GradientBoostingOptions& options, const BoostingData& data) {
  if (options.objective) return std::make_unique<Custom>(data, *options.objective);
  switch (const Loss loss = resolve_loss(options, data.y)) {
    case Loss::huber: return std::make_unique<Huber>(data, options.huber_delta);
    case Loss::absolute: return std::make_unique<Pinball>(data, 0.5, true);
    case Loss::quantile: return std::make_unique<Pinball>(data, options.quantile, false);
    case Loss::poisson:
    case Loss::gamma:
    case Loss::tweedie: return std::make_unique<LogLinked>(data, loss, options);
    case Loss::logistic: return std::make_unique<Logistic>(data, false, options.scale_pos_weight);
    case Loss::one_vs_all: return std::make_unique<Logistic>(data, true, options.scale_pos_weight);
    case Loss::softmax: return std::make_unique<Softmax>(data);
    case Loss::lambdarank: return make_lambdarank(options, data);
    default: return std::make_unique<Squared>(data);
  }
}

}  // namespace detail
}  // namespace redoubt
