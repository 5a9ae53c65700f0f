#include "redoubt/robustness/poisoning/robust_fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "robustness/scoring.hpp"
#include "robustness/singular.hpp"

namespace redoubt {
namespace {

using Rows = std::vector<std::size_t>;

void check(const Dataset& data, const char* what, double poison, bool counts_fit) {
  if (!(poison > 0 && poison < 0.5) || !counts_fit)
    detail::fail(errc::invalid_argument,
                 fmt::format("{}: poison {} must be in (0, 0.5), counts at least 1", what, poison));
  data.require_trainable();
}

std::size_t share_of(double share, std::size_t rows) {
  return static_cast<std::size_t>(std::llround(share * static_cast<double>(rows)));
}

/// Target as a row of outputs: one-hot, or the value; NaN without one.
std::vector<double> target_of(const Dataset& data, std::size_t row, std::size_t outputs) {
  if (data.task() != Task::classification) return {data.targets()[row]};
  std::vector<double> target(outputs, data.labels()[row] < 0 ? std::nan("") : 0.0);
  if (data.labels()[row] >= 0) target[static_cast<std::size_t>(data.labels()[row])] = 1;
  return target;
}

double mean_over(const Rows& rows, const std::vector<double>& values) {
  double sum = 0;
  for (const std::size_t r : rows) sum += values[r];
  return sum / static_cast<double>(std::max<std::size_t>(rows.size(), 1));
}

RobustFit result(const Dataset& data, Model model, const Rows& kept, int rounds, double loss) {
  RobustFit fit{std::move(model), {}, rounds, loss};
  std::vector<std::uint8_t> is_kept(data.rows(), 0);
  for (const std::size_t r : kept) is_kept[r] = 1;
  for (std::size_t r = 0; r < data.rows(); ++r)
    if (!is_kept[r]) fit.removed.push_back(data.row_ids()[r]);
  return fit;
}

/// The `count` rows of least value, ascending; of equal ones the first.
Rows least(const std::vector<double>& values, Rows rows, std::size_t count) {
  std::stable_sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) { return values[a] < values[b]; });
  rows.resize(std::min(rows.size(), count));
  std::sort(rows.begin(), rows.end());
  return rows;
}

Rows all_rows(const Dataset& data) {
  Rows rows(data.rows());
  std::iota(rows.begin(), rows.end(), std::size_t{0});
  return rows;
}

}  // namespace

RobustFit trim(const Dataset& data, function_ref<Model(const Dataset&)> fit, const TrimOptions& options) {
  check(data, "TrimOptions", options.poison, options.rounds >= 1 && options.starts >= 1);
  const std::size_t count = data.rows() - share_of(options.poison, data.rows());
  RobustFit best;
  for (int start = 0; start < options.starts; ++start) {
    Rows kept = all_rows(data);
    if (start > 0) {
      Random(options.seed, static_cast<std::uint64_t>(start)).shuffle(kept);
      kept.resize(count);
      std::sort(kept.begin(), kept.end());
    }
    for (int round = 1;; ++round) {
      Model model = fit(data.take(kept));
      const auto loss = detail::row_losses(model, data);
      Rows next = least(loss, all_rows(data), count);
      if (round < options.rounds && next != kept) {
        kept = std::move(next);
        continue;
      }
      const double mean = mean_over(kept, loss);
      if (start == 0 || mean < best.loss) best = result(data, std::move(model), kept, round, mean);
      break;
    }
  }
  return best;
}

RobustFit sever(const Dataset& data, function_ref<Model(const Dataset&)> fit, const SeverOptions& options) {
  check(data, "SeverOptions", options.poison, options.rounds >= 1);
  const std::size_t rows = data.rows(), removed = share_of(options.poison, rows);
  Rows kept = all_rows(data);
  for (int round = 0;; ++round) {
    const Dataset now = data.take(kept);
    Model model = fit(now);
    if (round == options.rounds) {
      const double loss = mean_over(kept, detail::row_losses(model, data));
      return result(data, std::move(model), kept, round + 1, loss);
    }
    const Tensor<float> x = model.encoder().apply(now), out = detail::aligned_outputs(model, now, nullptr);
    // Probabilities sum to 1: the gradients of the last class say nothing new.
    const std::size_t outputs = std::max<std::size_t>(out.cols() - 1, 1), width = x.cols() + 1, d = outputs * width;
    std::vector<double> gradients(kept.size() * d, 0.0), mean(d, 0.0);
    for (std::size_t i = 0; i < kept.size(); ++i) {
      const auto target = target_of(now, i, out.cols());
      if (std::isnan(target[0])) continue;
      for (std::size_t k = 0; k < outputs; ++k)
        for (std::size_t c = 0; c < width; ++c) {
          const double value = c < x.cols() ? static_cast<double>(x(i, c)) : 1.0;
          const double g = std::isfinite(value) ? (static_cast<double>(out(i, k)) - target[k]) * value : 0.0;
          gradients[i * d + k * width + c] = g;
          mean[k * width + c] += g / static_cast<double>(kept.size());
        }
    }
    for (std::size_t i = 0; i < kept.size(); ++i)
      for (std::size_t c = 0; c < d; ++c) gradients[i * d + c] -= mean[c];
    const auto projections = detail::top_projections(gradients, kept.size(), d);
    std::vector<double> score(rows, 0.0);
    for (std::size_t i = 0; i < kept.size(); ++i) score[kept[i]] = projections[i] * projections[i];
    const auto done = static_cast<std::size_t>(round) + 1, all = static_cast<std::size_t>(options.rounds);
    kept = least(score, kept, rows - removed * done / all);
  }
}

}  // namespace redoubt
