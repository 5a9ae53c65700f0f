#include "redoubt/robustness/certify/smoothing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/model/predictor.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

constexpr std::size_t copies = 64;     // predicted together
constexpr std::size_t task_rows = 16;  // of one Noise, which is dearer to make than to use

void check(const Predictor& model, MatrixView<const float> rows, const SmoothingOptions& o) {
  if (rows.cols() != model.inputs())
    detail::fail(errc::shape_mismatch, fmt::format("smoothed_predict: rows have {} columns, the model takes {}",
                                                   rows.cols(), model.inputs()));
  if (!o.rules.empty() && o.rules.size() != rows.cols())
    detail::fail(errc::shape_mismatch, fmt::format("SmoothingOptions::rules has {} entries, the rows have {} columns",
                                                   o.rules.size(), rows.cols()));
  if (model.outputs() < 2)
    detail::fail(errc::invalid_argument, "smoothed_predict: the model has one output and so no classes");
  if (!(o.sigma > 0) || !std::isfinite(o.sigma) || o.selection < 1 || o.samples < 1 || !(o.alpha > 0 && o.alpha < 1))
    detail::fail(
        errc::invalid_argument,
        fmt::format("SmoothingOptions: sigma {} must be above 0, selection {} and samples {} at least 1, alpha "
                    "{} in (0, 1)",
                    o.sigma, o.selection, o.samples, o.alpha));
}

/// The share p at which as many hits or more come with chance alpha: a lower bound of the true one (Clopper & Pearson).
double lower_share(std::size_t hits, std::size_t trials, double alpha) {
  if (hits == 0) return 0;
  double low = 0, high = static_cast<double>(hits) / static_cast<double>(trials);
  for (int step = 0; step < 60; ++step) {
    const double middle = (low + high) / 2;
    (detail::binomial_tail(hits, trials, middle) <= alpha ? low : high) = middle;
  }
  return low;
}

/// Noisy copies of one row at a time.
class Noise {
 public:
  Noise(const Predictor& model, const SmoothingOptions& options)
      : model_(model), options_(options), x_({copies, model.inputs()}), out_({copies, model.outputs()}), one_(1) {}

  /// How many of `count` copies have each class.
  std::vector<std::size_t> votes(std::span<const float> row, std::size_t count, Random random) {
    static const FeatureRule free;
    std::vector<std::size_t> votes(model_.outputs(), 0);
    for (std::size_t begin = 0; begin < count; begin += copies) {
      const std::size_t n = std::min(copies, count - begin);
      for (std::size_t i = 0; i < n; ++i)
        for (std::size_t c = 0; c < row.size(); ++c) {
          const FeatureRule& rule = options_.rules.empty() ? free : options_.rules[c];
          double value = row[c];
          if (!rule.fixed) {
            value += options_.sigma * rule.unit * random.normal();
            if (rule.whole) value = std::round(value);
            value = std::clamp(value, static_cast<double>(rule.lower), static_cast<double>(rule.upper));
          }
          x_(i, c) = static_cast<float>(value);
        }
      model_.predict_batch(MatrixView<const float>(x_).slice(0, n), MatrixView<float>(out_).slice(0, n), &one_);
      for (std::size_t i = 0; i < n; ++i) {
        const auto p = out_.row(i);
        ++votes[static_cast<std::size_t>(std::max_element(p.begin(), p.end()) - p.begin())];
      }
    }
    return votes;
  }

 private:
  const Predictor& model_;
  const SmoothingOptions& options_;
  Tensor<float> x_, out_;
  Arena one_;
};

}  // namespace

std::vector<SmoothedPrediction> smoothed_predict(const Predictor& model, MatrixView<const float> rows,
                                                 const SmoothingOptions& options) {
  check(model, rows, options);
  std::vector<SmoothedPrediction> result(rows.rows());
  parallel_for(
      rows.rows(), task_rows,
      [&](std::size_t begin, std::size_t end) {
        Noise noise(model, options);
        for (std::size_t r = begin; r < end; ++r) {
          // The class is chosen on other copies than those that prove it.
          const auto first = noise.votes(rows.row(r), options.selection, Random(options.seed, 2 * r));
          const auto chosen = static_cast<std::size_t>(std::max_element(first.begin(), first.end()) - first.begin());
          const auto votes = noise.votes(rows.row(r), options.samples, Random(options.seed, 2 * r + 1))[chosen];
          result[r].votes = votes;
          const double share = lower_share(votes, options.samples, options.alpha);
          if (share <= 0.5) continue;
          result[r].label = static_cast<std::int32_t>(chosen);
          result[r].radius = options.sigma * detail::normal_quantile(share);
        }
      },
      options.arena);
  return result;
}

double certified_share(std::span<const SmoothedPrediction> predictions, std::span<const std::int32_t> labels,
                       double radius) {
  if (predictions.size() != labels.size())
    detail::fail(errc::shape_mismatch,
                 fmt::format("certified_share: {} predictions, {} labels", predictions.size(), labels.size()));
  if (predictions.empty()) return 0;
  std::size_t held = 0;
  for (std::size_t r = 0; r < labels.size(); ++r)
    held += predictions[r].label >= 0 && predictions[r].label == labels[r] && predictions[r].radius >= radius;
  return static_cast<double>(held) / static_cast<double>(labels.size());
}

}  // namespace redoubt
