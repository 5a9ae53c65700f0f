#include "redoubt/metrics/bootstrap.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"

using namespace redoubt;

namespace {

double mean(std::span<const double> values, std::span<const double> counts) {
  return std::inner_product(values.begin(), values.end(), counts.begin(), 0.0) /
         std::accumulate(counts.begin(), counts.end(), 0.0);
}

std::vector<double> normal_sample(std::size_t rows, std::uint64_t stream) {
  Random random(3, stream);
  std::vector<double> values(rows);
  for (double& v : values) v = random.normal();
  return values;
}

}  // namespace

TEST_CASE("every resample draws as many rows as there are", "[bootstrap]") {
  bool all_right = true;
  bootstrap(
      37, {.resamples = 50},
      [&](std::span<const double> counts) {
        double sum = 0;
        for (const double c : counts) {
          all_right = all_right && c >= 0 && c == std::floor(c);
          sum += c;
        }
        all_right = all_right && sum == 37 && counts.size() == 37;
        return sum;
      },
      nullptr);
  CHECK(all_right);
}

TEST_CASE("the interval of a mean is as wide as its standard error says", "[bootstrap]") {
  const auto values = normal_sample(2000, 1);
  const Interval interval = bootstrap(values.size(), {.resamples = 2000, .level = 0.95},
                                      [&](std::span<const double> counts) { return mean(values, counts); });
  const double expected = 2 * 1.959964 / std::sqrt(2000.0);
  CHECK(interval.high - interval.low == Approx(expected).epsilon(0.08));
  const std::vector<double> ones(values.size(), 1.0);
  CHECK(interval.low < mean(values, ones));
  CHECK(interval.high > mean(values, ones));
}

TEST_CASE("95 % intervals cover the truth about 95 times of 100", "[bootstrap]") {
  int covered = 0;
  const int samples = 300;
  for (int s = 0; s < samples; ++s) {
    const auto values = normal_sample(200, static_cast<std::uint64_t>(100 + s));
    const Interval interval = bootstrap(values.size(), {.resamples = 300, .seed = static_cast<std::uint64_t>(s)},
                                        [&](std::span<const double> counts) { return mean(values, counts); });
    covered += interval.low <= 0 && 0 <= interval.high;
  }
  // 285 expected, standard deviation 3.8; percentile intervals of 200 rows lose about a percent.
  CHECK(covered >= 271);
  CHECK(covered <= 297);
}

TEST_CASE("intervals depend on the seed and not on the threads", "[bootstrap][threads]") {
  const auto values = normal_sample(500, 2);
  const auto run = [&](std::uint64_t seed, int threads) {
    Arena arena(threads);
    return bootstrap(
        values.size(), {.resamples = 100, .seed = seed},
        [&](std::span<const double> counts) { return mean(values, counts); }, &arena);
  };
  CHECK(run(1, 1) == run(1, 2));
  CHECK(run(1, 1) == run(1, 5));
  CHECK_FALSE(run(1, 1) == run(2, 1));
}

TEST_CASE("resamples without a value are left out", "[bootstrap]") {
  const Interval some = bootstrap(
      10, {.resamples = 200}, [](std::span<const double> counts) { return counts[0] == 0 ? std::nan("") : counts[0]; });
  CHECK(some.low >= 1);
  const Interval none = bootstrap(10, {}, [](std::span<const double>) { return std::nan(""); });
  CHECK(std::isnan(none.low));
  CHECK(std::isnan(none.high));
}

TEST_CASE("bootstrap options are checked", "[bootstrap]") {
  const auto one = [](std::span<const double>) { return 1.0; };
  CHECK_THROWS_WITH(bootstrap(5, {.resamples = 0}, one), "bootstrap.resamples is 0, must be positive");
  CHECK_THROWS_WITH(bootstrap(5, {.level = 1.0}, one), "bootstrap.level is 1, must be in (0, 1)");
  CHECK_THROWS_AS(bootstrap(0, {}, one), Error);
}
