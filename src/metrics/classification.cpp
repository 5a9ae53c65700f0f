#include "redoubt/metrics/classification.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "metrics/checks.hpp"
#include "metrics/rows.hpp"

namespace redoubt {
namespace {

using detail::check_codes;
using detail::check_probability;
using detail::check_rows;
using detail::check_weights;
using detail::weight_of;

double ratio(double part, double whole) noexcept { return whole > 0 ? part / whole : 0.0; }

template <class T>
std::vector<std::int32_t> argmax_rows(MatrixView<const T> probabilities) {
  std::vector<std::int32_t> best(probabilities.rows());
  for (std::size_t r = 0; r < best.size(); ++r) {
    const auto row = probabilities.row(r);
    best[r] = static_cast<std::int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
  }
  return best;
}

}  // namespace

double Confusion::total() const noexcept {
  double sum = 0;
  for (const double count : counts) sum += count;
  return sum;
}

double Confusion::accuracy() const noexcept {
  double hits = 0;
  for (std::size_t c = 0; c < classes; ++c) hits += (*this)(c, c);
  return ratio(hits, total());
}

double Confusion::precision(std::size_t label) const noexcept {
  double predicted = 0;
  for (std::size_t c = 0; c < classes; ++c) predicted += (*this)(c, label);
  return ratio((*this)(label, label), predicted);
}

double Confusion::recall(std::size_t label) const noexcept {
  double actual = 0;
  for (std::size_t c = 0; c < classes; ++c) actual += (*this)(label, c);
  return ratio((*this)(label, label), actual);
}

double Confusion::f1(std::size_t label) const noexcept {
  double either = 0;
  for (std::size_t c = 0; c < classes; ++c) either += (*this)(c, label) + (*this)(label, c);
  return ratio(2 * (*this)(label, label), either);
}

double Confusion::f1_macro() const noexcept {
  double sum = 0, occurring = 0;
  for (std::size_t label = 0; label < classes; ++label) {
    double either = 0;
    for (std::size_t c = 0; c < classes; ++c) either += (*this)(c, label) + (*this)(label, c);
    if (either == 0) continue;
    sum += f1(label);
    ++occurring;
  }
  return ratio(sum, occurring);
}

Confusion confusion(std::span<const std::int32_t> truth, std::span<const std::int32_t> predicted, std::size_t classes,
                    std::span<const double> weights) {
  check_rows("predictions", predicted.size(), truth.size());
  check_weights(weights, truth.size());
  check_codes("the true class", truth, classes);
  check_codes("the predicted class", predicted, classes);
  Confusion result{classes, std::vector<double>(classes * classes)};
  for (std::size_t i = 0; i < truth.size(); ++i)
    result.counts[static_cast<std::size_t>(truth[i]) * classes + static_cast<std::size_t>(predicted[i])] +=
        weight_of(weights, i);
  return result;
}

double accuracy(std::span<const std::int32_t> truth, std::span<const std::int32_t> predicted,
                std::span<const double> weights) {
  check_rows("predictions", predicted.size(), truth.size());
  check_weights(weights, truth.size());
  double hits = 0;
  for (std::size_t i = 0; i < truth.size(); ++i)
    if (truth[i] == predicted[i]) hits += weight_of(weights, i);
  return hits / detail::total_weight(weights, truth.size());
}

std::vector<std::int32_t> most_probable(MatrixView<const double> probabilities) { return argmax_rows(probabilities); }
std::vector<std::int32_t> most_probable(MatrixView<const float> probabilities) { return argmax_rows(probabilities); }

namespace detail {

std::vector<double> log_losses(std::span<const std::int32_t> truth, MatrixView<const double> probabilities) {
  check_rows("rows of probabilities", probabilities.rows(), truth.size());
  check_codes("the true class", truth, probabilities.cols());
  constexpr double eps = std::numeric_limits<double>::epsilon();
  std::vector<double> losses(truth.size());
  for (std::size_t i = 0; i < truth.size(); ++i) {
    for (const double p : probabilities.row(i)) check_probability(p, i);
    losses[i] = -std::log(std::clamp(probabilities(i, static_cast<std::size_t>(truth[i])), eps, 1 - eps));
  }
  return losses;
}

std::vector<double> brier_rows(std::span<const std::int32_t> truth, std::span<const double> positive) {
  check_rows("probabilities", positive.size(), truth.size());
  check_codes("the true class", truth, 2);
  std::vector<double> squares(truth.size());
  for (std::size_t i = 0; i < truth.size(); ++i) {
    check_probability(positive[i], i);
    const double error = positive[i] - truth[i];
    squares[i] = error * error;
  }
  return squares;
}

std::vector<double> brier_rows(std::span<const std::int32_t> truth, MatrixView<const double> probabilities) {
  check_rows("rows of probabilities", probabilities.rows(), truth.size());
  check_codes("the true class", truth, probabilities.cols());
  std::vector<double> squares(truth.size());
  for (std::size_t i = 0; i < truth.size(); ++i) {
    for (std::size_t c = 0; c < probabilities.cols(); ++c) {
      check_probability(probabilities(i, c), i);
      const double error = probabilities(i, c) - (static_cast<std::size_t>(truth[i]) == c ? 1.0 : 0.0);
      squares[i] += error * error;
    }
  }
  return squares;
}

std::vector<std::uint32_t> bin_rows(std::span<const double> probability, std::size_t bins) {
  if (bins == 0) fail(errc::invalid_argument, "reliability needs at least one bin");
  const auto edge = [&](std::size_t bin) { return static_cast<double>(bin) / static_cast<double>(bins); };
  std::vector<std::uint32_t> bin_of(probability.size());
  for (std::size_t i = 0; i < probability.size(); ++i) {
    check_probability(probability[i], i);
    const double p = std::clamp(probability[i], 0.0, 1.0);
    std::size_t bin = std::min(bins - 1, static_cast<std::size_t>(p * static_cast<double>(bins)));
    // The product may round across an edge.
    if (bin > 0 && p < edge(bin)) --bin;
    if (bin + 1 < bins && p >= edge(bin + 1)) ++bin;
    bin_of[i] = static_cast<std::uint32_t>(bin);
  }
  return bin_of;
}

std::vector<ReliabilityBin> fill_bins(std::span<const std::int32_t> event, std::span<const double> probability,
                                      std::span<const std::uint32_t> bin_of, std::size_t bins,
                                      std::span<const double> weights) {
  std::vector<ReliabilityBin> result(bins);
  for (std::size_t b = 0; b < bins; ++b) {
    result[b].low = static_cast<double>(b) / static_cast<double>(bins);
    result[b].high = static_cast<double>(b + 1) / static_cast<double>(bins);
  }
  for (std::size_t i = 0; i < event.size(); ++i) {
    ReliabilityBin& bin = result[bin_of[i]];
    const double w = weight_of(weights, i);
    bin.weight += w;
    bin.predicted += w * probability[i];
    bin.observed += w * event[i];
  }
  for (ReliabilityBin& bin : result) {
    bin.predicted = ratio(bin.predicted, bin.weight);
    bin.observed = ratio(bin.observed, bin.weight);
  }
  return result;
}

}  // namespace detail

double log_loss(std::span<const std::int32_t> truth, MatrixView<const double> probabilities,
                std::span<const double> weights) {
  check_weights(weights, truth.size());
  return detail::weighted_mean(detail::log_losses(truth, probabilities), weights);
}

double brier(std::span<const std::int32_t> truth, std::span<const double> positive, std::span<const double> weights) {
  check_weights(weights, truth.size());
  return detail::weighted_mean(detail::brier_rows(truth, positive), weights);
}

double brier(std::span<const std::int32_t> truth, MatrixView<const double> probabilities,
             std::span<const double> weights) {
  check_weights(weights, truth.size());
  return detail::weighted_mean(detail::brier_rows(truth, probabilities), weights);
}

std::vector<ReliabilityBin> reliability(std::span<const std::int32_t> event, std::span<const double> probability,
                                        std::size_t bins, std::span<const double> weights) {
  check_rows("probabilities", probability.size(), event.size());
  check_weights(weights, event.size());
  check_codes("the event", event, 2);
  return detail::fill_bins(event, probability, detail::bin_rows(probability, bins), bins, weights);
}

double calibration_error(std::span<const ReliabilityBin> bins) noexcept {
  double sum = 0, total = 0;
  for (const ReliabilityBin& bin : bins) {
    sum += bin.weight * std::abs(bin.observed - bin.predicted);
    total += bin.weight;
  }
  return ratio(sum, total);
}

}  // namespace redoubt
