#include "trees/boosting_metric.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/metrics/ranking.hpp"
#include "trees/objective.hpp"

namespace redoubt {
namespace {

constexpr const char* of_numbers[] = {"l2", "rmse", "l1", "huber", "quantile", "poisson", "gamma", "tweedie"};
constexpr const char* of_classes[] = {"log_loss", "error", "auc", "average_precision"};

struct Parsed {
  enum Kind { numbers, classes, queries } kind = numbers;
  std::string_view name;
  std::size_t depth = 0;
};

Parsed parse(std::string_view name) {
  for (const std::string_view n : of_numbers)
    if (n == name) return {Parsed::numbers, name};
  for (const std::string_view n : of_classes)
    if (n == name) return {Parsed::classes, name};
  for (const std::string_view n : {"ndcg@", "map@"}) {
    std::size_t depth = 0;
    if (name.substr(0, n.size()) != n) continue;
    const char* end = name.data() + name.size();
    const auto result = std::from_chars(name.data() + n.size(), end, depth);
    if (result.ec == std::errc{} && result.ptr == end && depth > 0)
      return {Parsed::queries, n.substr(0, n.size() - 1), depth};
  }
  detail::fail(errc::invalid_argument, fmt::format("GradientBoosting: metrics names '{}', must be one of {}", name,
                                                   fmt::join(boosting_metrics(), ", ")));
}

}  // namespace

std::vector<std::string> boosting_metrics() {
  std::vector<std::string> names(std::begin(of_numbers), std::end(of_numbers));
  names.insert(names.end(), std::begin(of_classes), std::end(of_classes));
  names.insert(names.end(), {"ndcg@K", "map@K"});
  return names;
}

bool higher_is_better(std::string_view metric) {
  const Parsed parsed = parse(metric);
  return parsed.kind == Parsed::queries || metric == "auc" || metric == "average_precision";
}

namespace detail {
namespace {

std::string default_metric(const GradientBoostingOptions& o, const TreeTarget& y) {
  if (o.objective) return y.task == Task::classification ? "log_loss" : "l2";
  switch (const Loss loss = resolve_loss(o, y)) {
    case Loss::squared: return "l2";
    case Loss::absolute: return "l1";
    case Loss::lambdarank: return "ndcg@10";
    case Loss::logistic:
    case Loss::softmax:
    case Loss::one_vs_all: return "log_loss";
    default: return to_string(loss);
  }
}

}  // namespace

MetricSet::MetricSet(const GradientBoostingOptions& options, const TreeTarget& y, std::vector<std::uint32_t> rows,
                     ForestLink link, std::size_t outputs)
    : options_(options), y_(y), rows_(std::move(rows)), link_(link), outputs_(outputs) {
  if (options.metric) names_.push_back(options.metric->name());
  names_.insert(names_.end(), options.metrics.begin(), options.metrics.end());
  if (names_.empty()) names_.push_back(default_metric(options, y));
  bool any_queries = false;
  for (std::size_t m = options.metric ? 1 : 0; m < names_.size(); ++m) {
    const Parsed parsed = parse(names_[m]);
    const bool classify = y.task == Task::classification;
    if ((parsed.kind == Parsed::classes) != classify || (parsed.kind == Parsed::queries && y.queries.empty()))
      fail(errc::invalid_argument,
           fmt::format("GradientBoosting: metrics names '{}', which the target has no {} for", names_[m],
                       parsed.kind == Parsed::classes   ? "classes"
                       : parsed.kind == Parsed::queries ? "queries"
                                                        : "numbers"));
    any_queries = any_queries || parsed.kind == Parsed::queries;
  }
  if (any_queries) groups_ = group_queries(y.queries, rows_);
}

bool MetricSet::higher_is_better(std::size_t metric) const {
  if (options_.metric && metric == 0) return options_.metric->higher_is_better();
  return redoubt::higher_is_better(names_[metric]);
}

std::vector<double> MetricSet::evaluate(const float* scores, std::size_t stride) const {
  std::vector<double> values;
  for (std::size_t m = 0; m < names_.size(); ++m)
    values.push_back(options_.metric && m == 0 ? options_.metric->evaluate(y_, rows_, {scores, outputs_, stride})
                                               : one(names_[m], scores, stride));
  return values;
}

double MetricSet::one(const std::string& name, const float* scores, std::size_t stride) const {
  const Parsed parsed = parse(name);
  switch (parsed.kind) {
    case Parsed::numbers: return of_numbers(name, scores);
    case Parsed::classes: return of_classes(name, scores, stride);
    default: return of_queries(parsed.name, parsed.depth, scores);
  }
}

template <class F>
double MetricSet::mean(const F& loss_of_row) const {
  const std::size_t blocks = (rows_.size() + boosting_block - 1) / boosting_block;
  std::vector<double> sums(2 * blocks);
  parallel_for(
      rows_.size(), boosting_block,
      [&](std::size_t begin, std::size_t end) {
        double sum = 0, total = 0;
        for (std::size_t i = begin; i < end; ++i) {
          const double w = weight(rows_[i]);
          sum += w * loss_of_row(rows_[i]);
          total += w;
        }
        sums[2 * (begin / boosting_block)] = sum;
        sums[2 * (begin / boosting_block) + 1] = total;
      },
      options_.arena);
  double sum = 0, total = 0;
  for (std::size_t b = 0; b < blocks; ++b) {
    sum += sums[2 * b];
    total += sums[2 * b + 1];
  }
  return sum / total;
}

double MetricSet::of_numbers(std::string_view name, const float* scores) const {
  const auto predicted = [&](std::uint32_t r) -> double {
    return link_ == ForestLink::exponential ? std::exp(static_cast<double>(scores[r])) : scores[r];
  };
  const auto error = [&](std::uint32_t r) { return predicted(r) - y_.values[r]; };
  const auto positive = [&](std::uint32_t r) { return std::max(predicted(r), 1e-10); };
  if (name == "l1") return mean([&](auto r) { return std::abs(error(r)); });
  if (name == "huber")
    return mean([&](auto r) {
      const double e = std::abs(error(r)), d = options_.huber_delta;
      return e <= d ? 0.5 * e * e : d * (e - 0.5 * d);
    });
  if (name == "quantile")
    return mean([&](auto r) {
      const double e = -error(r);
      return e < 0 ? (options_.quantile - 1) * e : options_.quantile * e;
    });
  if (name == "poisson") return mean([&](auto r) { return positive(r) - y_.values[r] * std::log(positive(r)); });
  if (name == "gamma") return mean([&](auto r) { return y_.values[r] / positive(r) + std::log(positive(r)); });
  if (name == "tweedie")
    return mean([&](auto r) {
      const double p = options_.tweedie_power, log_mean = std::log(positive(r));
      const double first = p == 1 ? y_.values[r] * log_mean : y_.values[r] * std::exp((1 - p) * log_mean) / (1 - p);
      return std::exp((2 - p) * log_mean) / (2 - p) - first;
    });
  const double l2 = mean([&](auto r) { return error(r) * error(r); });
  return name == "rmse" ? std::sqrt(l2) : l2;
}

double MetricSet::of_classes(std::string_view name, const float* scores, std::size_t stride) const {
  const auto label = [&](std::uint32_t r) { return static_cast<std::size_t>(y_.labels[r]); };
  const auto sigmoid_loss = [](double s) { return s > 0 ? std::log1p(std::exp(-s)) : std::log1p(std::exp(s)) - s; };
  if (name == "log_loss") {
    if (outputs_ == 1)
      return mean([&](auto r) { return sigmoid_loss(label(r) == 1 ? scores[r] : -static_cast<double>(scores[r])); });
    if (link_ == ForestLink::one_vs_all)
      return mean([&](auto r) {
        double total = 0;
        for (std::size_t k = 0; k < outputs_; ++k)
          total += 1 / (1 + std::exp(-static_cast<double>(scores[k * stride + r])));
        return sigmoid_loss(scores[label(r) * stride + r]) + std::log(std::max(total, 1e-300));
      });
    return mean([&](auto r) {
      double largest = scores[r], sum = 0;
      for (std::size_t k = 1; k < outputs_; ++k) largest = std::max<double>(largest, scores[k * stride + r]);
      for (std::size_t k = 0; k < outputs_; ++k) sum += std::exp(scores[k * stride + r] - largest);
      return std::log(sum) + largest - scores[label(r) * stride + r];
    });
  }
  if (name == "error") {
    if (outputs_ == 1) return mean([&](auto r) { return (scores[r] > 0) == (label(r) == 1) ? 0.0 : 1.0; });
    return mean([&](auto r) {
      for (std::size_t k = 0; k < outputs_; ++k)
        if (k != label(r) && scores[k * stride + r] >= scores[label(r) * stride + r]) return 1.0;
      return 0.0;
    });
  }
  std::vector<std::int32_t> truth;
  std::vector<double> weights;
  for (const auto r : rows_) {
    truth.push_back(y_.labels[r]);
    if (!y_.weights.empty()) weights.push_back(y_.weights[r]);
  }
  Tensor<double> ranks({rows_.size(), outputs_});
  for (std::size_t i = 0; i < rows_.size(); ++i)
    for (std::size_t k = 0; k < outputs_; ++k) ranks(i, k) = scores[k * stride + rows_[i]];
  if (outputs_ == 1)
    return name == "auc" ? roc_auc(truth, ranks.flat(), weights) : pr_auc(truth, ranks.flat(), weights);
  const MatrixView<const double> all(ranks.data(), ranks.rows(), ranks.cols());
  return name == "auc" ? roc_auc(truth, all, weights) : pr_auc(truth, all, weights);
}

double MetricSet::of_queries(std::string_view name, std::size_t depth, const float* scores) const {
  double sum = 0;
  std::vector<std::uint32_t> order;
  std::vector<double> grades;
  for (std::size_t q = 0; q < groups_.count(); ++q) {
    order.assign(groups_[q].begin(), groups_[q].end());
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
    const std::size_t top = std::min(depth, order.size());
    if (name == "ndcg") {
      grades.clear();
      for (const auto r : order) grades.push_back(y_.values[r]);
      const auto dcg = [&] {
        double total = 0;
        for (std::size_t i = 0; i < top; ++i)
          total += (std::exp2(grades[i]) - 1) / std::log2(2.0 + static_cast<double>(i));
        return total;
      };
      const double got = dcg();
      std::sort(grades.begin(), grades.end(), std::greater<>());
      const double best = dcg();
      sum += best > 0 ? got / best : 1;
    } else {
      double hits = 0, precision = 0, relevant = 0;
      for (const auto r : order) relevant += y_.values[r] > 0.5;
      for (std::size_t i = 0; i < top; ++i)
        if (y_.values[order[i]] > 0.5) precision += ++hits / static_cast<double>(i + 1);
      sum += relevant > 0 ? precision / std::min(relevant, static_cast<double>(top)) : 1;
    }
  }
  return sum / static_cast<double>(groups_.count());
}

}  // namespace detail
}  // namespace redoubt
