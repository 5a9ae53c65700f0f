#include "redoubt/robustness/poisoning/sources.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "robustness/poisoning/support.hpp"
#include "robustness/rows.hpp"

using namespace redoubt;
using namespace redoubt::test;

TEST_CASE("binomial and Poisson tails equal their sums", "[sources]") {
  for (double p : {0.01, 0.3, 0.9})
    for (std::size_t n : {1u, 7u, 40u})
      for (std::size_t k = 0; k <= n + 1; ++k) {
        double sum = 0;
        for (std::size_t j = k; j <= n; ++j)
          sum += std::exp(std::lgamma(n + 1.0) - std::lgamma(j + 1.0) - std::lgamma(n - j + 1.0)) * std::pow(p, j) *
                 std::pow(1 - p, n - j);
        CAPTURE(p, n, k);
        CHECK(detail::binomial_tail(k, n, p) == Approx(sum).epsilon(1e-9).margin(1e-14));
      }
  for (double mean : {0.1, 3.0, 50.0})
    for (std::size_t k = 0; k < 90; ++k) {
      double below = 0;
      for (std::size_t j = 0; j < k; ++j) below += std::exp(j * std::log(mean) - mean - std::lgamma(j + 1.0));
      CAPTURE(mean, k);
      CHECK(detail::poisson_tail(k, mean) == Approx(1 - below).epsilon(1e-8).margin(1e-13));
    }
  CHECK(detail::poisson_tail(100, 1.0) > 0);  // far tails do not round to zero
  CHECK(detail::poisson_tail(100, 1.0) < 1e-150);
}

TEST_CASE("Benjamini-Hochberg q-values of the example of the paper's procedure", "[sources]") {
  const auto q = benjamini_hochberg(std::vector<double>{0.04, 0.01, 0.03, 0.5});
  CHECK(q[1] == Approx(0.04));
  CHECK(q[2] == Approx(0.04 * 4 / 3));
  CHECK(q[0] == Approx(0.04 * 4 / 3));
  CHECK(q[3] == Approx(0.5));
  CHECK(benjamini_hochberg({}).empty());
}

TEST_CASE("a bad source stands out and honest ones do not", "[sources]") {
  Random random(3);
  std::vector<std::string> names;
  for (int s = 0; s < 200; ++s) names.push_back("s" + std::to_string(1000 + s));
  std::vector<std::int32_t> source;
  std::vector<std::uint8_t> flagged;
  for (int r = 0; r < 4000; ++r) {
    source.push_back(r % 200);
    flagged.push_back(random.uniform() < (r % 200 == 17 ? 0.7 : 0.05));
  }
  source.push_back(-1);
  flagged.push_back(1);
  const Dataset data({categorical("account", names, source, ColumnRole::source)});
  const auto table = source_suspicion(data, flagged);
  REQUIRE(table.size() == 200);
  CHECK(table[0].source == "s1017");
  CHECK(table[0].rows == 20);
  CHECK(table[0].q_value < 1e-6);
  CHECK(table[0].score > 0.4);
  CHECK(table[1].q_value > 0.05);
}

TEST_CASE("source suspicion needs sources and one flag per row", "[sources]") {
  const Dataset none({numeric("x", {1, 2})});
  CHECK_THROWS_AS(source_suspicion(none, std::vector<std::uint8_t>{0, 1}), Error);
  const Dataset data({categorical("account", {"a"}, {0, 0}, ColumnRole::source)});
  CHECK_THROWS_WITH(source_suspicion(data, std::vector<std::uint8_t>{1}), Catch::Contains("1 flags for 2 rows"));
}

TEST_CASE("rows of unlisted sources are refused", "[sources]") {
  const Dataset data({categorical("account", {"a", "b", "c"}, {0, 1, -1, 0}, ColumnRole::source)}, {5, 6, 7, 8});
  Batch batch;
  batch.data = &data;
  const Verdict verdict = run_check(SourceAllowList{.allowed = {"a", "c"}}, batch);
  CHECK(verdict.outcome == Outcome::block);
  REQUIRE(verdict.findings.size() == 2);
  CHECK(verdict.findings[0].row == 6);
  CHECK(verdict.findings[0].source == "b");
  CHECK(verdict.findings[1].row == 7);
  CHECK(verdict.score == 0.5);
  CHECK(run_check(SourceAllowList{.allowed = {"a", "b"}}, batch).findings.size() == 1);
  CHECK(run_check(SourceAllowList{}, batch).outcome == Outcome::abstain);

  SourceAllowList a{.allowed = {"a", "c"}}, b = a;
  a.update(batch);
  b.update(batch);
  a.merge(b);
  CHECK(a.finish().findings.size() == 4);
}
