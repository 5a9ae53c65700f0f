#include "robustness/rows.hpp"

#include <algorithm>
#include <cmath>

#include "redoubt/core/random.hpp"

namespace redoubt::detail {
namespace {

/// std::lgamma writes the sign to a global variable, which is a race of threads.
double log_gamma(double x) noexcept {
  int sign = 0;
  return ::lgamma_r(x, &sign);
}

/// Sum of terms first, first * ratio(1), ... until they no longer matter.
template <class Ratio>
double sum_terms(double log_first, std::size_t count, Ratio ratio) {
  double term = 1, sum = 1;
  for (std::size_t i = 1; i <= count && term > 1e-17 * sum; ++i) {
    term *= ratio(i);
    sum += term;
  }
  return std::min(1.0, std::exp(log_first + std::log(sum)));
}

}  // namespace

Dataset labelled_rows(const Dataset& data, std::size_t max_rows, std::uint64_t seed) {
  std::vector<std::uint64_t> rows;
  const bool classes = data.task() == Task::classification;
  for (std::size_t r = 0; r < data.rows(); ++r)
    if (classes ? data.labels()[r] >= 0 : !std::isnan(data.targets()[r])) rows.push_back(r);
  if (max_rows != 0 && rows.size() > max_rows) {
    Random(seed, 0).shuffle(rows);
    rows.resize(max_rows);
    std::sort(rows.begin(), rows.end());
  }
  return data.take(std::vector<std::size_t>(rows.begin(), rows.end()));
}

void sort_findings(std::vector<Finding>& findings) {
  std::stable_sort(findings.begin(), findings.end(),
                   [](const Finding& a, const Finding& b) { return a.score > b.score; });
}

std::vector<Finding> scored(std::vector<Finding> by_row) {
  std::erase_if(by_row, [](const Finding& f) { return !(f.score > 0); });
  return by_row;
}

void finish_warning(Verdict& verdict, std::size_t rows) {
  sort_findings(verdict.findings);
  verdict.outcome = verdict.findings.empty() ? Outcome::pass : Outcome::warn;
  verdict.score = static_cast<double>(verdict.findings.size()) / static_cast<double>(rows);
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

double binomial_tail(std::size_t k, std::size_t n, double p) {
  if (k == 0 || p >= 1) return 1;
  if (k > n || p <= 0) return 0;
  const double nd = static_cast<double>(n), kd = static_cast<double>(k);
  // Below the mean the terms rise: sum the other tail instead.
  if (kd <= nd * p) return std::max(0.0, 1 - binomial_tail(n - k + 1, n, 1 - p));
  const double log_first =
      log_gamma(nd + 1) - log_gamma(kd + 1) - log_gamma(nd - kd + 1) + kd * std::log(p) + (nd - kd) * std::log1p(-p);
  return sum_terms(log_first, n - k, [&](std::size_t i) {
    const double j = kd + static_cast<double>(i);
    return (nd - j + 1) / j * (p / (1 - p));
  });
}

double chi_square_below(double value, double degrees) {
  if (!(value > 0)) return 0;
  const double a = degrees / 2, x = value / 2, front = std::exp(a * std::log(x) - x - log_gamma(a));
  if (x < a + 1) {
    double term = 1 / a, sum = term;
    for (int i = 1; i < 10000 && term > 1e-16 * sum; ++i) sum += term *= x / (a + i);
    return std::min(1.0, front * sum);
  }
  double b = x + 1 - a, c = 1e300, d = 1 / b, fraction = d;
  for (int i = 1; i < 10000; ++i) {
    const double step = -i * (i - a);
    b += 2;
    d = 1 / (step * d + b);
    c = b + step / c;
    fraction *= d * c;
    if (std::abs(d * c - 1) < 1e-15) break;
  }
  return 1 - front * fraction;
}

double normal_quantile(double p) {
  constexpr double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                          1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
  constexpr double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02, 6.680131188771972e+01,
                          -1.328068155288572e+01};
  constexpr double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                          -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
  constexpr double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00, 3.754408661907416e+00};
  const auto tail = [&](double q) {
    return (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
           ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
  };
  if (p < 0.02425) return tail(std::sqrt(-2 * std::log(p)));
  if (p > 1 - 0.02425) return -tail(std::sqrt(-2 * std::log(1 - p)));
  const double q = p - 0.5, r = q * q;
  return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
         (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

double poisson_tail(std::size_t k, double mean) {
  if (k == 0) return 1;
  if (!(mean > 0)) return 0;
  const double kd = static_cast<double>(k);
  if (kd <= mean) {  // sum of the other tail, downwards from k - 1
    const double log_first = (kd - 1) * std::log(mean) - mean - log_gamma(kd);
    return std::max(
        0.0, 1 - sum_terms(log_first, k - 1, [&](std::size_t i) { return (kd - static_cast<double>(i)) / mean; }));
  }
  const double log_first = kd * std::log(mean) - mean - log_gamma(kd + 1);
  return sum_terms(log_first, 100000, [&](std::size_t i) { return mean / (kd + static_cast<double>(i)); });
}

}  // namespace redoubt::detail
