#include "redoubt/robustness/monitor/input_guard.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"

using namespace redoubt;

namespace {

/// Four correlated numbers, one that is sometimes missing, and a category.
Dataset rows_of(std::size_t rows, std::uint64_t seed) {
  Random random(seed);
  Column a{{"a", ColumnType::numeric, ColumnRole::feature, {}}, {}, {}, {}, {}};
  Column b{{"b", ColumnType::numeric, ColumnRole::feature, {}}, {}, {}, {}, {}};
  Column c{{"c", ColumnType::numeric, ColumnRole::feature, {}}, {}, {}, {}, {}};
  Column k{{"k", ColumnType::categorical, ColumnRole::feature, {"x", "y", "z"}}, {}, {}, {}, {}};
  Column d{{"d", ColumnType::numeric, ColumnRole::feature, {}}, {}, {}, {}, {}};
  Column e{{"e", ColumnType::numeric, ColumnRole::feature, {}}, {}, {}, {}, {}};
  for (std::size_t r = 0; r < rows; ++r) {
    const double v = random.normal();
    a.numbers.push_back(v);
    b.numbers.push_back(v + 0.1 * random.normal());
    d.numbers.push_back(v + 0.1 * random.normal());
    e.numbers.push_back(v + 0.1 * random.normal());
    c.numbers.push_back(random.below(10) ? random.uniform() : std::nan(""));
    k.codes.push_back(static_cast<std::int32_t>(random.below(3)));
  }
  return Dataset({a, b, c, k, d, e});
}

std::vector<float> raw(const Dataset& data, std::size_t r) {
  return {static_cast<float>(data.column("a").numbers[r]), static_cast<float>(data.column("b").numbers[r]),
          static_cast<float>(data.column("c").numbers[r]), static_cast<float>(data.column("k").codes[r]),
          static_cast<float>(data.column("d").numbers[r]), static_cast<float>(data.column("e").numbers[r])};
}

}  // namespace

TEST_CASE("benign rows pass the input guard", "[input_guard]") {
  InputGuard guard(rows_of(4000, 1));
  CHECK(guard.verdict().outcome == Outcome::abstain);
  const Dataset fresh = rows_of(5000, 2);
  std::size_t changed = 0;
  for (std::size_t r = 0; r < fresh.rows(); ++r) {
    std::vector<float> row = raw(fresh, r), safe(6);
    const GuardVerdict verdict = guard.check(row, safe);
    CHECK(verdict.status == errc::ok);
    for (std::size_t c = 0; c < 6; ++c) changed += !(row[c] == safe[c] || std::isnan(row[c]));
  }
  CHECK(changed == 0);
  CHECK(guard.rows() == 5000);
  CHECK(guard.rows() - guard.count(GuardReason::none) <= 25);  // five times what was asked for
  CHECK(guard.verdict().outcome == Outcome::pass);
}

TEST_CASE("every reason has its action", "[input_guard]") {
  const Dataset reference = rows_of(2000, 1);
  const float nan = std::nanf("");
  struct Wrong {
    GuardReason reason;
    std::vector<float> row;
    std::uint32_t column;
  };
  const std::vector<Wrong> cases = {{GuardReason::missing, {nan, 0.1f, 0.5f, 1, 0, 0}, 0},
                                    {GuardReason::not_finite, {0, INFINITY, 0.5f, 1, 0, 0}, 1},
                                    {GuardReason::range, {0, 0, 900, 1, 0, 0}, 2},
                                    {GuardReason::category, {0, 0, 0.5f, 7, 0, 0}, 3},
                                    {GuardReason::category, {0, 0, 0.5f, 1.5f, 0, 0}, 3},
                                    {GuardReason::category, {0, 0, 0.5f, -1, 0, 0}, 3},
                                    {GuardReason::out_of_distribution, {1.8f, 0.6f, 0.5f, 1, -0.6f, -1.8f}, 0}};
  for (const GuardAction action : {GuardAction::flag, GuardAction::clip, GuardAction::reject}) {
    const GuardAction whole = action == GuardAction::clip ? GuardAction::ignore : action;
    InputGuard guard(
        reference,
        {.missing = action, .not_finite = action, .range = action, .category = action, .out_of_distribution = whole});
    for (const Wrong& wrong : cases) {
      CAPTURE(to_string(action), to_string(wrong.reason), wrong.row);
      std::vector<float> safe = wrong.row;
      const GuardVerdict verdict = guard.check(safe, safe);
      const bool density = wrong.reason == GuardReason::out_of_distribution;
      CHECK(verdict.surprise > 0);
      if (density) CHECK(verdict.surprise >= guard.surprise_limit());
      if (density && action == GuardAction::clip) continue;
      CHECK(verdict.action == action);
      CHECK(verdict.reason == wrong.reason);
      CHECK(verdict.column == wrong.column);
      CHECK(verdict.status == (action == GuardAction::reject ? errc::refused : errc::ok));
      CHECK(verdict.clipped == (action == GuardAction::clip ? 1u : 0u));
      // What was clipped passes.
      if (action == GuardAction::clip) CHECK(guard.check(safe).action == GuardAction::ignore);
    }
  }
  InputGuard guard(reference);
  CHECK(guard.check(std::vector<float>{0, 0, nan, 1, 0, 0}).reason == GuardReason::none);  // is missing at times
  CHECK(guard.check(std::vector<float>{0, 0}).status == errc::shape_mismatch);
  CHECK(guard.count(GuardAction::reject) == 1);
  CHECK(guard.count(GuardReason::schema) == 1);
}

TEST_CASE("the input guard warns when much is wrong, and names bad options", "[input_guard]") {
  const Dataset reference = rows_of(500, 1);
  InputGuard guard(reference);
  for (int i = 0; i < 20; ++i) guard.check(std::vector<float>{0, 0, 900.0f, 1, 0, 0});
  const Verdict verdict = guard.verdict();
  CHECK(verdict.outcome == Outcome::warn);
  REQUIRE(verdict.findings.size() == 1);
  CHECK(verdict.findings[0].source == "range");
  CHECK_THROWS_WITH(InputGuard(reference, {.margin = -1}), Catch::Contains("margin"));
  CHECK_THROWS_WITH(InputGuard(reference, {.false_alarm = 0}), Catch::Contains("false_alarm"));
  CHECK_THROWS_WITH(InputGuard(reference, {.out_of_distribution = GuardAction::clip}),
                    Catch::Contains("out_of_distribution"));
  CHECK_THROWS_WITH(InputGuard(rows_of(20, 1)), Catch::Contains("20 rows"));
}
