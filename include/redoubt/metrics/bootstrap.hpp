#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

struct Interval {
  double low = 0, high = 0;
  bool operator==(const Interval&) const = default;
};

struct BootstrapOptions {
  int resamples = 200;  ///< samples with replacement, each of as many rows as there are
  double level = 0.95;  ///< share of the resampled values inside the interval, in (0, 1)
  std::uint64_t seed = 0;
};

/// Percentile bootstrap (Efron, 1979): `statistic` is called once per resample with the number of times that each row
/// was drawn (0, 1, 2, ...), as weights, and must be a pure function: calls run in parallel. Values that are NaN (a
/// resample that lost a class) are left out; the interval is NaN if all are. Resample i draws from
/// Random(seed, i), so the result does not depend on the thread count. Error(invalid_argument) for no rows or
/// options outside their range.
Interval bootstrap(std::size_t rows, const BootstrapOptions& options,
                   function_ref<double(std::span<const double> counts)> statistic, Arena* arena = nullptr);

/// Several statistics of the same resamples: `statistics` fills `values`; intervals.size() = values.size().
void bootstrap(std::size_t rows, const BootstrapOptions& options,
               function_ref<void(std::span<const double> counts, std::span<double> values)> statistics,
               std::span<Interval> intervals, Arena* arena = nullptr);

}  // namespace redoubt
