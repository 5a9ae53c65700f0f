#include "redoubt/metrics/bootstrap.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"

namespace redoubt {
namespace {

/// Quantile q of sorted values, linear between neighbours (type 7 of Hyndman and Fan, 1996; numpy's default).
double quantile(std::span<const double> sorted, double q) noexcept {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const auto low = static_cast<std::size_t>(at);
  const std::size_t high = std::min(low + 1, sorted.size() - 1);
  return sorted[low] + (at - static_cast<double>(low)) * (sorted[high] - sorted[low]);
}

}  // namespace

void bootstrap(std::size_t rows, const BootstrapOptions& options,
               function_ref<void(std::span<const double>, std::span<double>)> statistics, std::span<Interval> intervals,
               Arena* arena) {
  if (rows == 0) detail::fail(errc::invalid_argument, "a bootstrap needs at least one row");
  if (options.resamples < 1)
    detail::fail(errc::invalid_argument, fmt::format("bootstrap.resamples is {}, must be positive", options.resamples));
  if (!(options.level > 0 && options.level < 1))
    detail::fail(errc::invalid_argument, fmt::format("bootstrap.level is {}, must be in (0, 1)", options.level));
  const auto resamples = static_cast<std::size_t>(options.resamples);
  const std::size_t width = intervals.size();
  std::vector<double> values(resamples * width);
  parallel_for(
      resamples, 4,
      [&](std::size_t begin, std::size_t end) {
        std::vector<double> counts(rows);
        for (std::size_t i = begin; i < end; ++i) {
          std::fill(counts.begin(), counts.end(), 0.0);
          Random random(options.seed, i);
          for (std::size_t draw = 0; draw < rows; ++draw) counts[random.below(rows)] += 1;
          statistics(counts, std::span(values).subspan(i * width, width));
        }
      },
      arena);
  std::vector<double> sorted;
  for (std::size_t k = 0; k < width; ++k) {
    sorted.clear();
    for (std::size_t i = 0; i < resamples; ++i)
      if (!std::isnan(values[i * width + k])) sorted.push_back(values[i * width + k]);
    if (sorted.empty()) {
      intervals[k].low = intervals[k].high = std::numeric_limits<double>::quiet_NaN();
      continue;
    }
    std::sort(sorted.begin(), sorted.end());
    intervals[k] = {quantile(sorted, (1 - options.level) / 2), quantile(sorted, (1 + options.level) / 2)};
  }
}

Interval bootstrap(std::size_t rows, const BootstrapOptions& options,
                   function_ref<double(std::span<const double>)> statistic, Arena* arena) {
  Interval interval;
  bootstrap(
      rows, options, [&](std::span<const double> counts, std::span<double> values) { values[0] = statistic(counts); },
      std::span(&interval, 1), arena);
  return interval;
}

}  // namespace redoubt
