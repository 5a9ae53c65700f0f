#include "redoubt/metrics/ranking.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "metrics/checks.hpp"
#include "metrics/rows.hpp"

namespace redoubt {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

void check_binary(std::span<const std::int32_t> truth, std::size_t scores, std::span<const double> weights) {
  detail::check_rows("scores", scores, truth.size());
  detail::check_weights(weights, truth.size());
  detail::check_codes("the true class", truth, 2);
}

/// Mean of `metric` over classes, one against the rest.
template <class Metric>
double one_vs_rest(std::span<const std::int32_t> truth, MatrixView<const double> score, std::span<const double> weights,
                   Metric metric) {
  detail::check_rows("rows of scores", score.rows(), truth.size());
  detail::check_weights(weights, truth.size());
  detail::check_codes("the true class", truth, score.cols());
  double sum = 0;
  std::vector<double> column(score.rows());
  for (std::size_t c = 0; c < score.cols(); ++c) {
    for (std::size_t r = 0; r < column.size(); ++r) column[r] = score(r, c);
    sum += metric(detail::ScoreOrder(column), static_cast<std::int32_t>(c));
  }
  return sum / static_cast<double>(score.cols());
}

}  // namespace

namespace detail {

ScoreOrder::ScoreOrder(std::span<const double> score) : order_(score.size()), ends_run_(score.size(), 1) {
  if (score.size() > std::numeric_limits<std::uint32_t>::max())
    fail(errc::unsupported, fmt::format("ranking metrics take fewer than 2^32 rows, got {}", score.size()));
  for (std::size_t i = 0; i < score.size(); ++i)
    if (std::isnan(score[i])) fail(errc::invalid_argument, fmt::format("the score of row {} is not a number", i));
  std::iota(order_.begin(), order_.end(), 0u);
  std::sort(order_.begin(), order_.end(), [&](std::uint32_t a, std::uint32_t b) {
    return score[a] != score[b] ? score[a] > score[b] : a < b;  // total, so that sums have one order
  });
  for (std::size_t i = 0; i + 1 < order_.size(); ++i) ends_run_[i] = score[order_[i]] != score[order_[i + 1]];
}

double ScoreOrder::roc_auc(std::span<const std::int32_t> truth, std::int32_t label,
                           std::span<const double> weights) const {
  double area = 0, above = 0, below = 0;
  for_each_run([&](std::size_t row) { return truth[row] == label; }, weights,
               [&](double positive, double negative, std::size_t) {
                 area += negative * (above + positive / 2);
                 above += positive;
                 below += negative;
               });
  return above > 0 && below > 0 ? area / (above * below) : nan;
}

double ScoreOrder::pr_auc(std::span<const std::int32_t> truth, std::int32_t label,
                          std::span<const double> weights) const {
  double sum = 0, hits = 0, called = 0;
  for_each_run([&](std::size_t row) { return truth[row] == label; }, weights,
               [&](double positive, double negative, std::size_t) {
                 hits += positive;
                 called += positive + negative;
                 if (positive > 0) sum += positive * (hits / called);
               });
  return hits > 0 ? sum / hits : nan;
}

}  // namespace detail

double roc_auc(std::span<const std::int32_t> truth, std::span<const double> score, std::span<const double> weights) {
  check_binary(truth, score.size(), weights);
  return detail::ScoreOrder(score).roc_auc(truth, 1, weights);
}

double roc_auc(std::span<const std::int32_t> truth, MatrixView<const double> score, std::span<const double> weights) {
  return one_vs_rest(truth, score, weights, [&](const detail::ScoreOrder& order, std::int32_t label) {
    return order.roc_auc(truth, label, weights);
  });
}

double pr_auc(std::span<const std::int32_t> truth, std::span<const double> score, std::span<const double> weights) {
  check_binary(truth, score.size(), weights);
  return detail::ScoreOrder(score).pr_auc(truth, 1, weights);
}

double pr_auc(std::span<const std::int32_t> truth, MatrixView<const double> score, std::span<const double> weights) {
  return one_vs_rest(truth, score, weights, [&](const detail::ScoreOrder& order, std::int32_t label) {
    return order.pr_auc(truth, label, weights);
  });
}

std::vector<RocPoint> roc_curve(std::span<const std::int32_t> truth, std::span<const double> score,
                                std::span<const double> weights) {
  check_binary(truth, score.size(), weights);
  struct Corner {
    double negative, positive, threshold;
  };
  std::vector<Corner> corners{{0, 0, std::numeric_limits<double>::infinity()}};
  detail::ScoreOrder(score).for_each_run(
      [&](std::size_t row) { return truth[row] == 1; }, weights,
      [&](double positive, double negative, std::size_t row) {
        const Corner next{corners.back().negative + negative, corners.back().positive + positive, score[row]};
        if (corners.size() > 1) {
          const Corner &a = corners[corners.size() - 2], &b = corners.back();
          if ((b.negative - a.negative) * (next.positive - b.positive) ==
              (b.positive - a.positive) * (next.negative - b.negative))
            corners.pop_back();  // it lies on the line from a to next
        }
        corners.push_back(next);
      });
  const double negatives = corners.back().negative, positives = corners.back().positive;
  std::vector<RocPoint> points;
  if (!(negatives > 0 && positives > 0)) return points;
  points.reserve(corners.size());
  for (const Corner& c : corners) points.push_back({c.negative / negatives, c.positive / positives, c.threshold});
  return points;
}

}  // namespace redoubt
