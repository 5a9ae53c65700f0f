#include "redoubt/robustness/poisoning/bursts.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;
using namespace redoubt::test;

namespace {

constexpr std::int64_t hour = 3'600'000'000;

/// 2000 rows over 1000 hours on 20 products; the last `planted` rows are about product 3 within ten hours.
Dataset market(std::size_t planted, bool busy_day = false) {
  Random random(1);
  std::vector<std::string> names;
  for (int p = 0; p < 20; ++p) names.push_back("p" + std::to_string(p));
  std::vector<std::int32_t> product, label;
  std::vector<std::int64_t> times;
  for (std::size_t r = 0; r < 2000 + planted; ++r) {
    const bool bad = r >= 2000;
    product.push_back(bad ? 3 : static_cast<std::int32_t>(random.below(20)));
    label.push_back(bad ? 1 : static_cast<std::int32_t>(random.below(2)));
    const double at = bad                 ? 500 + random.uniform() * 10
                      : busy_day && r % 2 ? 700 + random.uniform() * 5
                                          : random.uniform() * 1000;
    times.push_back(static_cast<std::int64_t>(at * hour));
  }
  return Dataset({categorical("product", names, product), timestamps(times),
                  categorical("y", {"no", "yes"}, label, ColumnRole::target)});
}

}  // namespace

TEST_CASE("a planted burst is found and steady traffic is not", "[bursts]") {
  CHECK(find_bursts(market(0)).empty());
  const Dataset data = market(40);
  const auto bursts = find_bursts(data);
  std::set<std::uint32_t> rows;
  for (const Burst& burst : bursts) {
    CHECK(burst.category == 3);
    CHECK(burst.label == 1);
    CHECK(burst.score() > 0.8);
    CHECK(burst.hours <= 24);
    rows.insert(burst.rows.begin(), burst.rows.end());
  }
  std::size_t found = 0;
  for (std::uint32_t r : rows) found += r >= 2000;
  CHECK(found >= 32);
  CHECK(rows.size() - found <= 3);
}

TEST_CASE("a busy day of everything is no burst", "[bursts]") { CHECK(find_bursts(market(0, true)).empty()); }

TEST_CASE("the check names rows with times and groups, and streams", "[bursts]") {
  const Dataset data = market(40);
  Batch batch;
  batch.data = &data;
  const Verdict whole = run_check(Bursts{}, batch);
  CHECK(whole.outcome == Outcome::warn);
  REQUIRE(!whole.findings.empty());
  CHECK_THAT(whole.findings[0].evidence, Catch::Contains("product = p3 labelled yes"));
  std::vector<std::size_t> a_rows, b_rows;
  for (std::size_t r = 0; r < data.rows(); ++r) (r < 900 ? a_rows : b_rows).push_back(r);
  const Dataset first = data.take(a_rows), second = data.take(b_rows);
  Bursts a, b;
  batch.data = &first;
  a.update(batch);
  batch.data = &second;
  b.update(batch);
  a.merge(b);
  CHECK(a.finish() == whole);
}

TEST_CASE("bursts abstain without times or groups and check their options", "[bursts]") {
  const Dataset no_times({categorical("product", {"a"}, {0, 0})});
  Batch batch;
  batch.data = &no_times;
  CHECK(run_check(Bursts{}, batch).outcome == Outcome::abstain);
  CHECK_THROWS_WITH(find_bursts(no_times), Catch::Contains("no time column"));
  const Dataset no_groups({numeric("x", {1, 2}), timestamps({1, 2})});
  batch.data = &no_groups;
  CHECK_THAT(run_check(Bursts{}, batch).summary, Catch::Contains("no categorical column"));
  const Dataset data = market(0);
  CHECK_THROWS_WITH(find_bursts(data, {.min_rows = 1}), Catch::Contains("min_rows"));
  CHECK_THROWS_WITH(find_bursts(data, {.significance = 0}), Catch::Contains("significance"));
  CHECK_THROWS_AS(find_bursts(data, {.by = {"nothing"}}), Error);
  CHECK_THROWS_WITH(find_bursts(data, {.by = {"when"}}), Catch::Contains("timestamp"));
}
