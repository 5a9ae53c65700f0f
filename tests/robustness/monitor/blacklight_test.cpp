#include "redoubt/robustness/monitor/blacklight.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;

TEST_CASE("Blacklight matches slightly changed queries and not unrelated ones", "[blacklight]") {
  Random random(1);
  Tensor<float> rows({400, 200});
  for (float& v : rows.flat()) v = static_cast<float>(random.uniform(0, 255));
  Blacklight monitor(rows, {.key = 7});
  for (std::size_t r = 0; r < 400; ++r) {
    const auto verdict = monitor.observe(rows.row(r));
    CHECK(verdict.matches == 0);
    CHECK_FALSE(verdict.suspicious);
  }
  std::vector<float> near(rows.row(5).begin(), rows.row(5).end());
  CHECK(monitor.observe(near).matches == 50);  // the very same
  for (std::size_t c = 0; c < 200; c += 100) near[c] += 200;
  const auto verdict = monitor.observe(near);  // two of 200 values: at most 40 of 181 windows
  CHECK(verdict.suspicious);
  CHECK(verdict.matches < 50);
  CHECK(monitor.observe(std::vector<float>(3)).status == errc::shape_mismatch);
}

TEST_CASE("Blacklight forgets the oldest queries", "[blacklight]") {
  Random random(2);
  Tensor<float> rows({30, 40});
  for (float& v : rows.flat()) v = static_cast<float>(random.uniform());
  Blacklight monitor(rows, {.window = 4, .keep = 20, .matches = 10, .queries = 10});
  for (std::size_t r = 0; r < 30; ++r) monitor.observe(rows.row(r));
  CHECK(monitor.observe(rows.row(25)).matches == 20);
  CHECK(monitor.observe(rows.row(3)).matches < 10);
  CHECK_THROWS_WITH(Blacklight(rows, {.step = 0}), Catch::Contains("step"));
  CHECK_THROWS_WITH(Blacklight(rows, {.keep = 0}), Catch::Contains("keep"));
  CHECK_THROWS_WITH(Blacklight(rows, {.matches = 51}), Catch::Contains("matches"));
  CHECK_THROWS_WITH(Blacklight(rows, {.queries = 0}), Catch::Contains("queries"));
}
