#include "redoubt/robustness/monitor/prada.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <unordered_map>
#include <vector>

#include "robustness/rows.hpp"

namespace redoubt {
namespace {

/// The coefficients of W: antisymmetric, of length n.
std::vector<double> weights_of(std::size_t n) {
  std::vector<double> m(n), a(n);
  double squares = 0;
  for (std::size_t i = 0; i < n; ++i) {
    m[i] = detail::normal_quantile((static_cast<double>(i) + 1 - 0.375) / (static_cast<double>(n) + 0.25));
    squares += m[i] * m[i];
  }
  if (n == 3) return {-std::sqrt(0.5), 0, std::sqrt(0.5)};
  const double u = 1 / std::sqrt(static_cast<double>(n)), root = std::sqrt(squares);
  const auto poly = [u](double c1, double c2, double c3, double c4, double c5) {
    return u * (c1 + u * (c2 + u * (c3 + u * (c4 + u * c5))));
  };
  const double last = m[n - 1] / root + poly(0.221157, -0.147981, -2.071190, 4.434685, -2.706056);
  const double before = m[n - 2] / root + poly(0.042981, -0.293762, -1.752461, 5.682633, -3.582633);
  const std::size_t ends = n > 5 ? 2 : 1;
  const double phi = ends == 2 ? (squares - 2 * m[n - 1] * m[n - 1] - 2 * m[n - 2] * m[n - 2]) /
                                     (1 - 2 * last * last - 2 * before * before)
                               : (squares - 2 * m[n - 1] * m[n - 1]) / (1 - 2 * last * last);
  for (std::size_t i = 0; i < n; ++i) a[i] = m[i] / std::sqrt(phi);
  a[n - 1] = last, a[0] = -last;
  if (ends == 2) a[n - 2] = before, a[1] = -before;
  return a;
}

}  // namespace

double shapiro_wilk(std::span<const double> values) {
  const std::size_t n = values.size();
  if (n < 3) return std::numeric_limits<double>::quiet_NaN();
  std::vector<double> x(values.begin(), values.end());
  std::sort(x.begin(), x.end());
  double mean = 0, squares = 0, product = 0;
  for (const double v : x) mean += v / static_cast<double>(n);
  for (const double v : x) squares += (v - mean) * (v - mean);
  if (!(squares > 0)) return std::numeric_limits<double>::quiet_NaN();
  const auto a = weights_of(n);
  for (std::size_t i = 0; i < n; ++i) product += a[i] * (x[i] - mean);
  return std::min(1.0, product * product / squares);
}

struct Prada::State {
  struct Growing {
    std::vector<float> rows;
    double threshold = 0, sum = 0, squares = 0, count = 0;  // of this class's distances
  };
  struct Caller {
    std::map<std::size_t, Growing> classes;
    std::vector<double> distances;  // a ring
    std::size_t next = 0, queries = 0;
    std::uint64_t last = 0;
    PradaVerdict verdict;
  };
  PradaOptions options;
  std::vector<float> inverse;
  std::unordered_map<std::uint64_t, Caller> callers;
  std::uint64_t now = 0;

  State(MatrixView<const float> reference, const PradaOptions& o) : options(o) {
    const auto require = [](bool ok, const char* name, const auto& value, const char* range) {
      if (!ok)
        detail::fail(errc::invalid_argument, fmt::format("PradaOptions::{} is {}; it must be {}", name, value, range));
    };
    require(o.delta > 0 && o.delta < 1, "delta", o.delta, "in (0, 1)");
    require(o.fewest >= 3, "fewest", o.fewest, "at least 3");
    require(o.every >= 1, "every", o.every, "at least 1");
    require(o.most_rows >= 1, "most_rows", o.most_rows, "at least 1");
    require(o.most_values >= o.fewest, "most_values", o.most_values, "at least fewest");
    require(o.callers >= 1, "callers", o.callers, "at least 1");
    if (reference.rows() == 0 || reference.cols() == 0)
      detail::fail(errc::invalid_argument, "Prada: the reference is empty");
    for (std::size_t c = 0; c < reference.cols(); ++c) {
      double n = 0, mean = 0, squares = 0;
      for (std::size_t r = 0; r < reference.rows(); ++r)
        if (const double v = reference(r, c); std::isfinite(v)) {
          ++n;
          const double by = v - mean;
          mean += by / n;
          squares += by * (v - mean);
        }
      const double deviation = n > 0 ? std::sqrt(squares / n) : 0;
      inverse.push_back(deviation > 0 ? static_cast<float>(1 / deviation) : 1.0f);
    }
  }

  Caller& caller_of(std::uint64_t id) {
    if (const auto found = callers.find(id); found != callers.end()) return found->second;
    if (callers.size() >= options.callers)
      callers.erase(std::min_element(callers.begin(), callers.end(),
                                     [](const auto& a, const auto& b) { return a.second.last < b.second.last; }));
    return callers[id];
  }

  PradaVerdict observe(std::uint64_t id, std::span<const float> row, std::size_t label) {
    Caller& caller = caller_of(id);
    caller.last = ++now;
    ++caller.queries;
    Growing& set = caller.classes[label];
    const std::size_t d = row.size();
    std::vector<float> scaled(d);
    for (std::size_t c = 0; c < d; ++c) scaled[c] = std::isfinite(row[c]) ? row[c] * inverse[c] : 0;
    if (set.rows.empty()) {
      set.rows = scaled;  // the first of a class has no distance
      return caller.verdict;
    }
    float nearest = INFINITY;
    for (std::size_t at = 0; at < set.rows.size(); at += d) {
      float squares = 0;
      for (std::size_t c = 0; c < d; ++c) squares += (set.rows[at + c] - scaled[c]) * (set.rows[at + c] - scaled[c]);
      nearest = std::min(nearest, squares);
    }
    const double distance = std::sqrt(static_cast<double>(nearest));
    if (caller.distances.size() < options.most_values) {
      caller.distances.push_back(distance);
    } else {
      caller.distances[caller.next] = distance;
      caller.next = (caller.next + 1) % options.most_values;
    }
    set.count += 1, set.sum += distance, set.squares += distance * distance;
    const bool grow = distance > set.threshold && set.rows.size() < options.most_rows * d;
    if (grow) {
      set.rows.insert(set.rows.end(), scaled.begin(), scaled.end());
      const double mean = set.sum / set.count;
      set.threshold = std::max(set.threshold, mean - std::sqrt(std::max(0.0, set.squares / set.count - mean * mean)));
    }
    if (caller.queries % options.every == 0 && caller.distances.size() >= options.fewest) test(caller);
    return caller.verdict;
  }

  void test(Caller& caller) const {
    double mean = 0, squares = 0;
    const double n = static_cast<double>(caller.distances.size());
    for (const double v : caller.distances) mean += v / n;
    for (const double v : caller.distances) squares += (v - mean) * (v - mean) / n;
    const double far = 3 * std::sqrt(squares);
    std::vector<double> kept;
    for (const double v : caller.distances)
      if (std::abs(v - mean) <= far) kept.push_back(v);
    const double w = shapiro_wilk(kept);
    caller.verdict.w = w == w ? w : 0;  // all equal: the very same query
    caller.verdict.suspicious = caller.verdict.w < options.delta;
  }
};

Prada::Prada(MatrixView<const float> reference, const PradaOptions& options)
    : state_(Shared<State>::make(reference, options)) {}

PradaVerdict Prada::observe(std::uint64_t caller, std::span<const float> row, std::size_t label) {
  if (row.size() != state_->inverse.size()) {
    PradaVerdict verdict;
    verdict.status = errc::shape_mismatch;
    return verdict;
  }
  return state_->observe(caller, row, label);
}

}  // namespace redoubt
