#pragma once
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

#include "redoubt/fwd.hpp"

namespace redoubt {

struct LatencyOptions {
  std::size_t batch = 1;     ///< rows per call
  std::size_t calls = 2000;  ///< timed calls; 20 to 1000000
  std::size_t warm_up = 50;  ///< calls before them that are not timed
  double max_seconds = 5;    ///< stops early, but not before 20 calls
};

/// Times of calls that predict `batch` rows, on this machine, now. Microseconds per call.
struct Latency {
  int threads = 1;
  std::size_t batch = 1, calls = 0;
  double mean_us = 0, p50_us = 0, p95_us = 0, p99_us = 0, max_us = 0;
  double rows_per_second = 0;

  std::string to_json() const;
};

/// Times calls of the model on rows of `data`, one call after the other, `batch` rows each taken in turn from the
/// start. batch = 1: Model::predict of a raw row (of a RowView for models with text), on the calling thread, whatever
/// `threads` says. Larger batches: Model::predict_proba with an arena of `threads` threads. Percentiles are
/// nearest-rank. Error(invalid_argument) for no rows or options outside their range.
Latency measure_latency(const Model& model, const Dataset& data, int threads = 1, const LatencyOptions& options = {});

/// What the advisor measured and what it names.
struct Recommendation {
  bool met = false;               ///< whether some thread count met the budget, twice
  int threads = 0;                ///< the smallest that did; 0 if none
  double budget_us = 0;           ///< for the 95th percentile of one call
  std::vector<Latency> measured;  ///< every thread count tried, in order
  Latency verified;               ///< the second, independent measurement of the named one
  std::string cpu;                ///< brand, instruction-set level, usable CPUs
  int usable_cpus = 0;
  std::string summary;  ///< one line

  std::string to_json() const;
};

std::ostream& operator<<(std::ostream& stream, const Recommendation& recommendation);

/// Tries 1, 2, 4, ... up to the usable CPUs and names the smallest thread count whose 95th percentile meets
/// `budget_us`. A count that meets it is measured once more, afresh; if it then misses, the next count is tried: a
/// lucky measurement is not advice. Single rows (batch = 1) are always predicted on one thread, so only that is tried.
/// Figures hold for this machine, under the load it had. Error(invalid_argument) for a budget that is not positive.
Recommendation recommend(const Model& model, const Dataset& data, double budget_us, const LatencyOptions& options = {});

}  // namespace redoubt
