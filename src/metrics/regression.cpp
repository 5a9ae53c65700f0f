#include "redoubt/metrics/regression.hpp"

#include <cmath>
#include <limits>

#include "metrics/checks.hpp"

namespace redoubt {
namespace {

template <class Loss>
double mean_loss(std::span<const double> truth, std::span<const double> predicted, std::span<const double> weights,
                 Loss loss) {
  detail::check_rows("predictions", predicted.size(), truth.size());
  detail::check_weights(weights, truth.size());
  double sum = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) {
    if (std::isnan(truth[i]) || std::isnan(predicted[i]))
      detail::fail(errc::invalid_argument,
                   fmt::format("row {}: truth {} or prediction {} is not a number", i, truth[i], predicted[i]));
    sum += detail::weight_of(weights, i) * loss(truth[i] - predicted[i]);
  }
  return sum / detail::total_weight(weights, truth.size());
}

double square(double x) noexcept { return x * x; }

}  // namespace

double rmse(std::span<const double> truth, std::span<const double> predicted, std::span<const double> weights) {
  return std::sqrt(mean_loss(truth, predicted, weights, square));
}

double mae(std::span<const double> truth, std::span<const double> predicted, std::span<const double> weights) {
  return mean_loss(truth, predicted, weights, [](double x) { return std::abs(x); });
}

double r2(std::span<const double> truth, std::span<const double> predicted, std::span<const double> weights) {
  const double error = mean_loss(truth, predicted, weights, square);
  const double mean = detail::weighted_mean(truth, weights);
  double variance = 0;
  for (std::size_t i = 0; i < truth.size(); ++i) variance += detail::weight_of(weights, i) * square(truth[i] - mean);
  variance /= detail::total_weight(weights, truth.size());
  return variance > 0 ? 1 - error / variance : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace redoubt
