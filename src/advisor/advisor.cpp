#include "redoubt/advisor/advisor.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <ostream>

#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt {
namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t fewest_calls = 20;

/// Calls `call(i)` for i = 0, 1, ... and keeps the time of each.
template <class F>
Latency time_calls(const LatencyOptions& options, F&& call) {
  for (std::size_t i = 0; i < options.warm_up; ++i) call(i);
  std::vector<double> times;
  times.reserve(options.calls);
  const auto begin = Clock::now();
  for (std::size_t i = 0; i < options.calls; ++i) {
    const auto start = Clock::now();
    call(i);
    const auto end = Clock::now();
    times.push_back(std::chrono::duration<double, std::micro>(end - start).count());
    if (times.size() >= fewest_calls && std::chrono::duration<double>(end - begin).count() > options.max_seconds) break;
  }
  std::sort(times.begin(), times.end());
  const auto rank = [&](double share) {
    const auto n = static_cast<std::size_t>(std::ceil(share * static_cast<double>(times.size())));
    return times[std::max<std::size_t>(n, 1) - 1];
  };
  Latency latency;
  latency.batch = options.batch;
  latency.calls = times.size();
  const double total = std::accumulate(times.begin(), times.end(), 0.0);
  latency.mean_us = total / static_cast<double>(times.size());
  latency.p50_us = rank(0.5);
  latency.p95_us = rank(0.95);
  latency.p99_us = rank(0.99);
  latency.max_us = times.back();
  latency.rows_per_second = total > 0 ? static_cast<double>(times.size() * options.batch) / (total * 1e-6) : 0;
  return latency;
}

nlohmann::json json_of(const Latency& l) {
  return {{"threads", l.threads}, {"batch", l.batch},   {"calls", l.calls},
          {"mean_us", l.mean_us}, {"p50_us", l.p50_us}, {"p95_us", l.p95_us},
          {"p99_us", l.p99_us},   {"max_us", l.max_us}, {"rows_per_second", l.rows_per_second}};
}

}  // namespace

std::string Latency::to_json() const { return json_of(*this).dump(); }

Latency measure_latency(const Model& model, const Dataset& data, int threads, const LatencyOptions& options) {
  if (data.rows() == 0) detail::fail(errc::invalid_argument, "measure_latency: no rows to predict");
  if (options.batch < 1 || options.calls < fewest_calls || options.calls > 1000000 || !(options.max_seconds > 0))
    detail::fail(
        errc::invalid_argument,
        fmt::format("measure_latency: batch {}, calls {}, max_seconds {}: wanted batch >= 1, calls {} to 1000000, "
                    "max_seconds > 0",
                    options.batch, options.calls, options.max_seconds, fewest_calls));
  if (threads < 1) detail::fail(errc::invalid_argument, fmt::format("measure_latency: {} threads", threads));
  const std::size_t n = data.rows();
  Latency latency;
  if (options.batch == 1 && model.encoder().has_text()) {
    latency = time_calls(options, [&](std::size_t i) { model.predict_proba(data.row(i % n)); });
  } else if (options.batch == 1) {
    const std::size_t kept = std::min<std::size_t>(n, 4096), width = model.inputs();
    std::vector<float> raw(kept * width), out(model.outputs());
    for (std::size_t i = 0; i < kept; ++i)
      model.encoder().raw_row(data.row(i), std::span(raw).subspan(i * width, width));
    latency = time_calls(options, [&](std::size_t i) {
      const auto code = model.predict(std::span<const float>(raw).subspan(i % kept * width, width), out);
      if (code != errc::ok) detail::fail(code, fmt::format("measure_latency: predicting row {} failed", i % kept));
    });
  } else {
    // A few different batches, so that the caches do not see the same rows each time.
    std::vector<Dataset> batches;
    const std::size_t different = std::clamp<std::size_t>(n / options.batch, 1, 16);
    for (std::size_t b = 0; b < different; ++b) {
      std::vector<std::size_t> rows(options.batch);
      for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = (b * options.batch + i) % n;
      batches.push_back(data.take(rows));
    }
    Arena arena(threads);
    latency = time_calls(options, [&](std::size_t i) { model.predict_proba(batches[i % batches.size()], &arena); });
  }
  latency.threads = options.batch == 1 ? 1 : threads;
  return latency;
}

Recommendation recommend(const Model& model, const Dataset& data, double budget_us, const LatencyOptions& options) {
  if (!(budget_us > 0)) detail::fail(errc::invalid_argument, fmt::format("recommend: a budget of {} us", budget_us));
  Recommendation r;
  r.budget_us = budget_us;
  r.cpu = cpu_description();
  r.usable_cpus = available_cpus();
  std::vector<int> counts;
  for (int threads = 1; threads < r.usable_cpus; threads *= 2) counts.push_back(threads);
  counts.push_back(r.usable_cpus);
  if (options.batch == 1) counts = {1};
  for (const int threads : counts) {
    r.measured.push_back(measure_latency(model, data, threads, options));
    if (r.measured.back().p95_us > budget_us) continue;
    r.verified = measure_latency(model, data, threads, options);
    if (r.verified.p95_us > budget_us) continue;
    r.met = true;
    r.threads = threads;
    break;
  }
  const auto rows = options.batch == 1 ? std::string("one row") : fmt::format("{} rows", options.batch);
  if (r.met) {
    r.summary = fmt::format("{} thread{} predict{} {} in {:.1f} us (95th percentile, budget {} us), {:.0f} rows/s",
                            r.threads, r.threads == 1 ? "" : "s", r.threads == 1 ? "s" : "", rows, r.verified.p95_us,
                            budget_us, r.verified.rows_per_second);
  } else {
    const auto best = std::min_element(r.measured.begin(), r.measured.end(),
                                       [](const Latency& a, const Latency& b) { return a.p95_us < b.p95_us; });
    r.verified = {};
    r.summary = fmt::format(
        "no thread count up to {} predicts {} within {} us reliably; the best 95th percentile was {:.1f} us",
        counts.back(), rows, budget_us, best->p95_us);
  }
  return r;
}

std::string Recommendation::to_json() const {
  auto list = nlohmann::json::array();
  for (const auto& latency : measured) list.push_back(json_of(latency));
  nlohmann::json document{
      {"met", met},          {"threads", threads}, {"budget_us", budget_us},     {"measured", list},
      {"verified", nullptr}, {"cpu", cpu},         {"usable_cpus", usable_cpus}, {"isa", to_string(active_isa())},
      {"summary", summary}};
  if (met) document["verified"] = json_of(verified);
  return document.dump();
}

std::ostream& operator<<(std::ostream& stream, const Recommendation& r) {
  stream << r.summary << '\n';
  for (const auto& l : r.measured)
    stream << fmt::format("  {:>3} threads: p50 {:.1f} us, p95 {:.1f} us, p99 {:.1f} us, {:.0f} rows/s\n", l.threads,
                          l.p50_us, l.p95_us, l.p99_us, l.rows_per_second);
  return stream << "  on " << r.cpu << '\n';
}

}  // namespace redoubt
