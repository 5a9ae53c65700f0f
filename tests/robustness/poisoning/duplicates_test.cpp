#include "redoubt/robustness/poisoning/duplicates.hpp"

#include <catch2/catch.hpp>

#include "redoubt/core/error.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;
using namespace redoubt::test;

namespace {

const std::vector<std::string> reviews{"this kettle is the best kettle i have ever bought",
                                       "slow delivery and the box was broken when it came",
                                       "this kettle is the best kettle i have ever bought wow",
                                       "my cat sleeps on it all day long and seems happy",
                                       "this kettle is the best kettle that i have ever bought",
                                       "nice one",
                                       "nice one",
                                       "nice one"};

Verdict run(const Dataset& data, Duplicates check = {}) {
  Batch batch;
  batch.data = &data;
  return run_check(check, batch);
}

}  // namespace

TEST_CASE("copied texts of several sources are named, short ones are not", "[duplicates]") {
  const Dataset data(
      {text("review", reviews), categorical("account", {"a", "b", "c"}, {0, 1, 1, 2, 2, 0, 1, 2}, ColumnRole::source)},
      {10, 11, 12, 13, 14, 15, 16, 17});
  const Verdict verdict = run(data);
  CHECK(verdict.outcome == Outcome::warn);
  REQUIRE(verdict.findings.size() == 3);
  std::vector<RowId> rows;
  for (const Finding& f : verdict.findings) {
    rows.push_back(f.row);
    CHECK(f.score == Approx(2.0 / 3));
    CHECK_THAT(f.evidence, Catch::Contains("3 near-identical texts by 3 sources"));
  }
  CHECK(rows == std::vector<RowId>{10, 12, 14});
}

TEST_CASE("one author's repetitions pass, and count half where authors are unknown", "[duplicates]") {
  const Dataset one(
      {text("review", reviews), categorical("account", {"a", "b"}, {0, 1, 0, 1, 0, 0, 0, 0}, ColumnRole::source)});
  CHECK(run(one).outcome == Outcome::pass);
  const Dataset unknown({text("review", reviews)});
  const Verdict verdict = run(unknown);
  REQUIRE(verdict.findings.size() == 3);
  CHECK(verdict.findings[0].score == Approx(1.0 / 3));
}

TEST_CASE("equal rows with another label are named", "[duplicates]") {
  const Dataset data(
      {numeric("x", {1, 1, 1, 2, 3}), categorical("y", {"no", "yes"}, {0, 0, 1, 1, -1}, ColumnRole::target)});
  const Verdict verdict = run(data);
  REQUIRE(verdict.findings.size() == 1);
  CHECK(verdict.findings[0].row == 2);
  CHECK(verdict.findings[0].score == Approx(2.0 / 3));
}

TEST_CASE("groups of copies are rooted at their first row", "[duplicates]") {
  const Dataset data({text("review", reviews)});
  const auto groups = duplicate_groups(data);
  CHECK(groups == std::vector<std::uint32_t>{0, 1, 0, 3, 0, 5, 5, 5});  // equal rows are copies however short
}

TEST_CASE("duplicates stream, abstain without rows and check their options", "[duplicates]") {
  const Dataset data({text("review", reviews)});
  const Dataset first = data.take(std::vector<std::size_t>{0, 1, 2}),
                second = data.take(std::vector<std::size_t>{3, 4, 5, 6, 7});
  Duplicates a, b;
  Batch batch;
  batch.data = &first;
  a.update(batch);
  batch.data = &second;
  b.update(batch);
  a.merge(b);
  CHECK(a.finish() == run(data));
  CHECK(Duplicates{}.finish().outcome == Outcome::abstain);
  CHECK_THROWS_WITH(duplicate_groups(data, {.similarity = 0}), Catch::Contains("similarity"));
  CHECK_THROWS_AS(run(data, {.options = {.similarity = 2}}), Error);
}
