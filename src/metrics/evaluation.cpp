#include "redoubt/metrics/evaluation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <ostream>

#include "metrics/checks.hpp"
#include "metrics/rows.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/metrics/regression.hpp"

namespace redoubt {
namespace {

constexpr std::size_t max_roc_points = 500;

/// Everything about classified rows that does not depend on the weights.
class ClassificationRows {
 public:
  ClassificationRows(const std::vector<std::string>& classes, std::span<const std::int32_t> truth,
                     MatrixView<const float> probabilities, std::size_t bins)
      : classes_(classes.size()), truth_(truth), predicted_(most_probable(probabilities)), bins_(bins) {
    Tensor<double> exact({probabilities.rows(), probabilities.cols()});
    for (std::size_t r = 0; r < exact.rows(); ++r)
      std::copy(probabilities.row(r).begin(), probabilities.row(r).end(), exact.row(r).begin());
    log_losses_ = detail::log_losses(truth, exact);
    const std::size_t first = classes_ == 2 ? 1 : 0;  // two classes: the last one says it all
    for (std::size_t c = first; c < classes_; ++c) {
      std::vector<double> column(exact.rows());
      for (std::size_t r = 0; r < column.size(); ++r) column[r] = exact(r, c);
      orders_.emplace_back(column);
      if (classes_ == 2) positive_ = std::move(column);
    }
    event_.resize(truth.size());
    if (classes_ == 2) {
      brier_ = detail::brier_rows(truth, positive_);
      std::copy(truth.begin(), truth.end(), event_.begin());
      confidence_ = positive_;
    } else {
      brier_ = detail::brier_rows(truth, exact);
      confidence_.resize(truth.size());
      for (std::size_t r = 0; r < truth.size(); ++r) {
        event_[r] = predicted_[r] == truth[r];
        confidence_[r] = exact(r, static_cast<std::size_t>(predicted_[r]));
      }
    }
    bin_of_ = detail::bin_rows(confidence_, bins);

    names_ = {"accuracy", "log_loss", "brier", "calibration_error", "roc_auc", "pr_auc", "f1_macro"};
    if (classes_ == 2) names_.insert(names_.end(), {"precision", "recall", "f1"});
    for (const std::string& name : classes)
      for (const char* metric : {"precision.", "recall.", "f1."}) names_.push_back(metric + name);
  }

  const std::vector<std::string>& names() const noexcept { return names_; }
  const std::vector<double>& positive() const noexcept { return positive_; }

  Confusion confusion(std::span<const double> weights) const {
    Confusion result{classes_, std::vector<double>(classes_ * classes_)};
    for (std::size_t i = 0; i < truth_.size(); ++i)
      result.counts[static_cast<std::size_t>(truth_[i]) * classes_ + static_cast<std::size_t>(predicted_[i])] +=
          detail::weight_of(weights, i);
    return result;
  }

  std::vector<ReliabilityBin> reliability(std::span<const double> weights) const {
    return detail::fill_bins(event_, confidence_, bin_of_, bins_, weights);
  }

  /// In the order of `names()`.
  void values(std::span<const double> weights, std::span<double> out) const {
    const Confusion table = confusion(weights);
    double roc = 0, pr = 0;
    for (std::size_t k = 0; k < orders_.size(); ++k) {
      const auto label = static_cast<std::int32_t>(classes_ == 2 ? 1 : k);
      roc += orders_[k].roc_auc(truth_, label, weights);
      pr += orders_[k].pr_auc(truth_, label, weights);
    }
    std::size_t at = 0;
    const auto add = [&](double value) { out[at++] = value; };
    add(table.accuracy());
    add(detail::weighted_mean(log_losses_, weights));
    add(detail::weighted_mean(brier_, weights));
    add(calibration_error(reliability(weights)));
    add(roc / static_cast<double>(orders_.size()));
    add(pr / static_cast<double>(orders_.size()));
    add(table.f1_macro());
    const auto add_class = [&](std::size_t c) {
      add(table.precision(c));
      add(table.recall(c));
      add(table.f1(c));
    };
    if (classes_ == 2) add_class(1);
    for (std::size_t c = 0; c < classes_; ++c) add_class(c);
  }

 private:
  std::size_t classes_;
  std::span<const std::int32_t> truth_;
  std::vector<std::int32_t> predicted_, event_;
  std::size_t bins_;
  std::vector<double> log_losses_, brier_, positive_, confidence_;
  std::vector<std::uint32_t> bin_of_;
  std::vector<detail::ScoreOrder> orders_;
  std::vector<std::string> names_;
};

/// Values of all statistics and, if asked for, their intervals.
template <class Statistics>
void measure(const std::vector<std::string>& names, std::size_t rows, std::span<const double> weights,
             const BootstrapOptions& options, Arena* arena, Statistics statistics,
             std::map<std::string, double, std::less<>>& values,
             std::map<std::string, Interval, std::less<>>& intervals) {
  std::vector<double> found(names.size());
  statistics(weights, std::span<double>(found));
  for (std::size_t i = 0; i < names.size(); ++i) values.insert_or_assign(names[i], found[i]);
  if (options.resamples == 0) return;
  std::vector<Interval> bounds(names.size());
  bootstrap(
      rows, options,
      [&](std::span<const double> counts, std::span<double> out) {
        if (weights.empty()) return statistics(counts, out);
        std::vector<double> product(rows);
        for (std::size_t i = 0; i < rows; ++i) product[i] = counts[i] * weights[i];
        statistics(product, out);
      },
      bounds, arena);
  for (std::size_t i = 0; i < names.size(); ++i) intervals.insert_or_assign(names[i], bounds[i]);
}

std::vector<RocPoint> thinned(std::vector<RocPoint> points) {
  if (points.size() <= max_roc_points) return points;
  std::vector<RocPoint> kept(max_roc_points);
  for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = points[i * (points.size() - 1) / (kept.size() - 1)];
  return kept;
}

}  // namespace

Evaluation Evaluation::classification(std::vector<std::string> classes, std::span<const std::int32_t> truth,
                                      MatrixView<const float> probabilities, std::span<const double> weights,
                                      const EvaluationOptions& options, Arena* arena) {
  if (classes.size() < 2)
    detail::fail(errc::invalid_argument,
                 fmt::format("classification needs at least 2 classes, got {}", classes.size()));
  if (probabilities.cols() != classes.size())
    detail::fail(errc::shape_mismatch,
                 fmt::format("{} columns of probabilities for {} classes", probabilities.cols(), classes.size()));
  detail::check_rows("rows of probabilities", probabilities.rows(), truth.size());
  detail::check_weights(weights, truth.size());
  if (options.reliability_bins < 1)
    detail::fail(errc::invalid_argument,
                 fmt::format("reliability_bins is {}, must be positive", options.reliability_bins));

  const ClassificationRows rows(classes, truth, probabilities, static_cast<std::size_t>(options.reliability_bins));
  Evaluation result;
  result.task_ = Task::classification;
  result.rows_ = truth.size();
  result.level_ = options.bootstrap.level;
  result.confusion_ = rows.confusion(weights);
  result.reliability_ = rows.reliability(weights);
  if (classes.size() == 2) result.roc_ = thinned(roc_curve(truth, rows.positive(), weights));
  measure(
      rows.names(), truth.size(), weights, options.bootstrap, arena,
      [&](std::span<const double> w, std::span<double> out) { rows.values(w, out); }, result.values_,
      result.intervals_);
  result.classes_ = std::move(classes);
  return result;
}

Evaluation Evaluation::regression(std::span<const double> truth, std::span<const double> predicted,
                                  std::span<const double> weights, const EvaluationOptions& options, Arena* arena) {
  Evaluation result;
  result.task_ = Task::regression;
  result.rows_ = truth.size();
  result.level_ = options.bootstrap.level;
  measure(
      {"rmse", "mae", "r2"}, truth.size(), weights, options.bootstrap, arena,
      [&](std::span<const double> w, std::span<double> out) {
        out[0] = rmse(truth, predicted, w);
        out[1] = mae(truth, predicted, w);
        out[2] = r2(truth, predicted, w);
      },
      result.values_, result.intervals_);
  return result;
}

std::vector<std::string> Evaluation::names() const {
  std::vector<std::string> names;
  for (const auto& [name, value] : values_) names.push_back(name);
  return names;
}

double Evaluation::value(std::string_view name) const {
  const auto it = values_.find(name);
  if (it == values_.end())
    detail::fail(errc::not_found,
                 fmt::format("there is no metric \"{}\"; there are: {}", name, fmt::join(names(), ", ")));
  return it->second;
}

Interval Evaluation::interval(std::string_view name) const {
  const auto it = intervals_.find(name);
  if (it == intervals_.end())
    detail::fail(errc::not_found, fmt::format("the metric \"{}\" has no interval here", name));
  return it->second;
}

std::string Evaluation::to_json() const {
  using nlohmann::json;
  json metrics = json::object();
  for (const auto& [name, value] : values_) {
    json one{{"value", value}};
    if (const auto it = intervals_.find(name); it != intervals_.end())
      one["interval"] = {it->second.low, it->second.high};
    metrics[name] = std::move(one);
  }
  json result{{"task", to_string(task_)}, {"rows", rows_}, {"metrics", std::move(metrics)}};
  if (!intervals_.empty()) result["interval_level"] = level_;
  if (task_ == Task::classification) {
    result["classes"] = classes_;
    json table = json::array(), bins = json::array(), points = json::array();
    for (std::size_t t = 0; t < confusion_.classes; ++t) {
      json row = json::array();
      for (std::size_t p = 0; p < confusion_.classes; ++p) row.push_back(confusion_(t, p));
      table.push_back(std::move(row));
    }
    for (const ReliabilityBin& bin : reliability_)
      bins.push_back({{"low", bin.low},
                      {"high", bin.high},
                      {"weight", bin.weight},
                      {"predicted", bin.predicted},
                      {"observed", bin.observed}});
    for (const RocPoint& point : roc_) points.push_back({point.false_positive_rate, point.true_positive_rate});
    result["confusion"] = std::move(table);
    result["reliability"] = std::move(bins);
    if (!roc_.empty()) result["roc"] = std::move(points);
  }
  return result.dump(-1, ' ', false, json::error_handler_t::replace);  // class names need not be UTF-8
}

std::ostream& operator<<(std::ostream& stream, const Evaluation& evaluation) {
  std::string text = fmt::format("{} on {} rows", to_string(evaluation.task()), evaluation.rows());
  const std::vector<std::string> names = evaluation.names();
  std::size_t width = 0;
  bool intervals = false;
  for (const std::string& name : names) {
    width = std::max(width, name.size());
    intervals = intervals || evaluation.has_interval(name);
  }
  if (evaluation.classes().size() == 2) text += fmt::format("; positive class {}", evaluation.classes()[1]);
  if (intervals) text += fmt::format("; [{:g} % interval]", 100 * evaluation.level());
  for (const std::string& name : names) {
    text += fmt::format("\n  {:<{}}  {:9.4f}", name, width, evaluation.value(name));
    if (!evaluation.has_interval(name)) continue;
    const Interval bounds = evaluation.interval(name);
    text += fmt::format("  [{:.4f}, {:.4f}]", bounds.low, bounds.high);
  }
  const Confusion& table = evaluation.confusion();
  if (table.classes > 0 && table.classes <= 12) {
    const auto cell = [](double count) {
      return count == std::floor(count) ? fmt::format("{:.0f}", count) : fmt::format("{:.2f}", count);
    };
    std::size_t left = 16, right = 6;
    for (const std::string& name : evaluation.classes()) {
      left = std::max(left, name.size());
      right = std::max(right, name.size());
    }
    for (const double count : table.counts) right = std::max(right, cell(count).size());
    text += fmt::format("\n  {:<{}}", "true \\ predicted", left);
    for (const std::string& name : evaluation.classes()) text += fmt::format("  {:>{}}", name, right);
    for (std::size_t t = 0; t < table.classes; ++t) {
      text += fmt::format("\n  {:<{}}", evaluation.classes()[t], left);
      for (std::size_t p = 0; p < table.classes; ++p) text += fmt::format("  {:>{}}", cell(table(t, p)), right);
    }
  }
  return stream << text;
}

}  // namespace redoubt
