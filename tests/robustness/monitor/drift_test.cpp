#include "redoubt/robustness/monitor/drift.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;

namespace {

struct World {
  double shift = 0;       // of column x
  double rare = 0.1;      // share of a category
  double missing = 0.05;  // of column y
  bool turned = false;    // labels follow from the opposite
};

Dataset batch(std::uint64_t seed, std::size_t rows, const World& world) {
  Random random(seed);
  std::vector<double> x, y;
  std::vector<std::int32_t> kind, label;
  for (std::size_t r = 0; r < rows; ++r) {
    x.push_back(random.normal() + world.shift);
    y.push_back(random.uniform() < world.missing ? std::nan("") : random.normal());
    kind.push_back(random.uniform() < world.rare ? 0 : random.uniform() < 0.5 ? 1 : 2);
    // Labels depend on z alone, so that what moves elsewhere does not move them.
    label.push_back(0);
  }
  std::vector<double> z;
  for (std::size_t r = 0; r < rows; ++r) {
    z.push_back(random.normal());
    label[r] = (z[r] + 0.3 * random.normal() > 0) != world.turned;
  }
  return Dataset({test::numeric("x", x), test::numeric("y", y), test::numeric("z", z),
                  test::categorical("kind", {"rare", "a", "b"}, kind),
                  test::categorical("class", {"no", "yes"}, label, ColumnRole::target)});
}

Verdict compare(const Dataset& before, const Dataset& after) {
  return run_check(Drift{{.reference = before}}, {.data = &after});
}

}  // namespace

TEST_CASE("what moved is named and nothing else", "[drift]") {
  const Dataset before = batch(1, 2000, {});
  const auto found = [&](const World& world) {
    std::string names;
    const Verdict verdict = compare(before, batch(2, 1000, world));
    CHECK(verdict.outcome == (verdict.findings.empty() ? Outcome::pass : Outcome::warn));
    for (const Finding& f : verdict.findings) names += f.evidence.substr(0, f.evidence.find(':')) + ";";
    return names;
  };
  CHECK(found({}) == "");
  CHECK(found({.shift = 0.5}) == "column 'x';");
  CHECK(found({.rare = 0.3}) == "column 'kind';");
  CHECK(found({.missing = 0.3}) == "column 'y', missing values;");
  CHECK(found({.turned = true}) == "labels given features;");
}

TEST_CASE("false alarms are as rare as promised", "[drift]") {
  std::size_t alarms = 0;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    const Dataset before = batch(10 + seed, 300, {}), after = batch(1000 + seed, 300, {});
    const Verdict verdict = run_check(
        Drift{{.reference = before, .significance = 0.05, .min_distance = 0, .relation = false}}, {.data = &after});
    alarms += !verdict.findings.empty();
  }
  CHECK(alarms <= 13);  // 5 expected; more than 13 come once in 2000 times
}

TEST_CASE("drift streams, abstains and refuses", "[drift]") {
  const Dataset before = batch(1, 500, {}), first = batch(2, 200, {.shift = 1}), second = batch(3, 200, {.shift = 1});
  Drift a{{.reference = before}}, b{{.reference = before}}, whole{{.reference = before}};
  const Dataset both = Dataset::concat(first, second);
  a.update({.data = &first});
  b.update({.data = &second});
  a.merge(b);
  whole.update({.data = &both});
  CHECK(a.finish() == whole.finish());
  CHECK_FALSE(a.finish().findings.empty());
  const Dataset few = batch(4, 10, {});
  CHECK(compare(before, few).outcome == Outcome::abstain);
  CHECK(compare(few, before).outcome == Outcome::abstain);
  CHECK(compare(before, Dataset({test::numeric("other", std::vector<double>(50, 1.0))})).outcome == Outcome::abstain);
  CHECK_THROWS_AS(run_check(Drift{{.reference = before, .significance = 0}}, {.data = &first}), Error);
}
