#include "redoubt/robustness/gate_checks.hpp"

#include <catch2/catch.hpp>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

using namespace redoubt;

namespace {

/// Labels 0 and 1 in turn, slice "a" for even thirds; probabilities are filled by the tests.
struct Frozen {
  Dataset data;
  Tensor<float> candidate, champion;
  Batch batch;

  explicit Frozen(std::size_t rows) : candidate({rows, 2}), champion({rows, 2}) {
    Column x{{"x", ColumnType::numeric, ColumnRole::feature, {}}, std::vector<double>(rows), {}, {}, {}};
    Column region{{"region", ColumnType::categorical, ColumnRole::feature, {"north", "south"}}, {}, {}, {}, {}};
    Column y{{"y", ColumnType::categorical, ColumnRole::target, {"no", "yes"}}, {}, {}, {}, {}};
    for (std::size_t r = 0; r < rows; ++r) {
      region.codes.push_back(r % 4 == 3 ? 1 : 0);
      y.codes.push_back(static_cast<std::int32_t>(r / 2 % 2));
    }
    data = Dataset({x, region, y});
    for (std::size_t r = 0; r < rows; ++r) answer(candidate, r, 0.97f), answer(champion, r, 0.97f);
    batch.data = &data;
    batch.probabilities = candidate;
    batch.reference = champion;
  }
  /// Probability of the true class of row r.
  void answer(Tensor<float>& p, std::size_t r, float truth) {
    const auto label = static_cast<std::size_t>(data.rows() ? data.labels()[r] : 0);
    p(r, label) = truth;
    p(r, 1 - label) = 1 - truth;
  }
};

}  // namespace

TEST_CASE("a metric above its threshold passes, below it blocks", "[gate_checks]") {
  Frozen f(200);
  CHECK(run_check(MetricThreshold{.threshold = 0.9}, f.batch).outcome == Outcome::pass);
  CHECK(run_check(MetricThreshold{.threshold = 0.9}, f.batch).score == Approx(1.0));
  for (std::size_t r = 0; r < 100; ++r) f.answer(f.candidate, r, 0.1f);
  const Verdict verdict = run_check(MetricThreshold{.metric = "accuracy", .threshold = 0.9}, f.batch);
  CHECK(verdict.outcome == Outcome::block);
  CHECK(verdict.score == Approx(0.5));
  CHECK_THAT(verdict.summary, Catch::Contains("accuracy is 0.5000") && Catch::Contains("at least 0.9"));
  CHECK(run_check(MetricThreshold{.metric = "log_loss", .threshold = 0.5}, f.batch).outcome == Outcome::block);
  CHECK(run_check(MetricThreshold{.metric = "log_loss", .threshold = 5}, f.batch).outcome == Outcome::pass);
}

TEST_CASE("an unknown metric is an error, an undefined one an abstention", "[gate_checks]") {
  Frozen f(8);
  CHECK_THROWS_WITH(run_check(MetricThreshold{.metric = "acuracy"}, f.batch), Catch::Contains("acuracy"));
  Frozen one_class(2);  // both rows are of class 0: there is no ROC
  CHECK(run_check(MetricThreshold{}, one_class.batch).outcome == Outcome::abstain);
  Batch without = f.batch;
  without.probabilities = {};
  CHECK(run_check(MetricThreshold{}, without).outcome == Outcome::abstain);
}

TEST_CASE("a challenger that is worse overall or in a slice blocks", "[gate_checks]") {
  Frozen f(400);
  const ChampionChallenger check{.metric = "accuracy", .slices = {"region"}, .max_loss = 0.2, .max_slice_loss = 0.05};
  CHECK(run_check(check, f.batch).outcome == Outcome::pass);
  for (std::size_t r = 0; r < 400; ++r)
    if (r % 8 == 3) f.answer(f.candidate, r, 0.2f);  // half of the south
  const Verdict verdict = run_check(check, f.batch);
  CHECK(verdict.outcome == Outcome::block);
  REQUIRE(verdict.findings.size() == 1);
  CHECK(verdict.findings[0].score == Approx(0.5));
  CHECK_THAT(verdict.findings[0].evidence, Catch::Contains("region = south"));
  ChampionChallenger overall = check;
  overall.slices.clear();
  CHECK(run_check(overall, f.batch).outcome == Outcome::pass);
  overall.max_loss = 0.1;
  CHECK(run_check(overall, f.batch).outcome == Outcome::block);
  ChampionChallenger large_slices = check;
  large_slices.min_slice_rows = 101;  // the south has 100 rows
  CHECK(run_check(large_slices, f.batch).outcome == Outcome::pass);
  Batch no_champion = f.batch;
  no_champion.reference = {};
  CHECK_THAT(run_check(check, no_champion).summary, Catch::Contains("reference"));
  ChampionChallenger wrong = check;
  wrong.slices = {"x"};
  CHECK_THROWS_WITH(run_check(wrong, f.batch), Catch::Contains("numeric"));
}

TEST_CASE("formerly certain cases may not flip", "[gate_checks]") {
  Frozen f(400);
  CHECK(run_check(CanaryFlips{}, f.batch).outcome == Outcome::pass);
  f.answer(f.champion, 7, 0.6f);  // never a canary
  f.answer(f.candidate, 7, 0.1f);
  f.answer(f.candidate, 9, 0.3f);
  const Verdict one = run_check(CanaryFlips{}, f.batch);
  CHECK(one.outcome == Outcome::warn);
  REQUIRE(one.findings.size() == 1);
  CHECK(one.findings[0].row == 9);
  CHECK(one.score == Approx(1.0 / 399));
  CHECK(run_check(CanaryFlips{.max_flips = 0}, f.batch).outcome == Outcome::block);
  CHECK(run_check(CanaryFlips{.confidence = 0.99}, f.batch).outcome == Outcome::abstain);
  CHECK_THROWS_WITH(run_check(CanaryFlips{.confidence = 0.3}, f.batch), Catch::Contains("confidence"));
  CHECK_THROWS_WITH(run_check(CanaryFlips{.max_flips = -1}, f.batch), Catch::Contains("max_flips"));
}

TEST_CASE("gate checks see batches in parts as they see the whole", "[gate_checks]") {
  Frozen f(400);
  for (std::size_t r = 0; r < 400; r += 9) f.answer(f.candidate, r, 0.2f);
  const auto rows = [&](std::size_t from, std::size_t to) {
    std::vector<std::size_t> list;
    for (std::size_t r = from; r < to; ++r) list.push_back(r);
    return f.data.take(list);
  };
  const Dataset first = rows(0, 150), second = rows(150, 400);
  const auto halves = [&](auto check) {
    auto a = check, b = check;
    Batch part;
    part.data = &first;
    part.probabilities = f.batch.probabilities.slice(0, 150);
    part.reference = f.batch.reference.slice(0, 150);
    a.update(part);
    part.data = &second;
    part.probabilities = f.batch.probabilities.slice(150, 400);
    part.reference = f.batch.reference.slice(150, 400);
    b.update(part);
    a.merge(b);
    CHECK(a.finish() == run_check(check, f.batch));
  };
  halves(MetricThreshold{.threshold = 0.5});
  halves(ChampionChallenger{.slices = {"region"}});
  halves(CanaryFlips{});
}

TEST_CASE("the gate runs on models, matches classes by name and abstains without a champion", "[gate_checks]") {
  const Dataset data = generate_moons(400, 0.2, 1), frozen = generate_moons(200, 0.2, 2);
  const Model good = GradientBoosting{{.trees = 20}}.fit(data);
  Column flipped = data.column("target");
  for (std::size_t r = 0; r < flipped.codes.size(); ++r)
    if (r / 2 % 2) flipped.codes[r] = 1 - flipped.codes[r];
  const Model bad = GradientBoosting{{.trees = 20}}.fit(data.with_column(flipped));
  const std::vector<AnyCheck> checks{MetricThreshold{.threshold = 0.9}, ChampionChallenger{},
                                     CanaryFlips{.confidence = 0.8}};
  const auto first = run_gate_checks(good, nullptr, frozen, checks);
  REQUIRE(first.size() == 3);
  CHECK(first[0].outcome == Outcome::pass);
  CHECK(first[1].outcome == Outcome::abstain);
  CHECK(first[2].outcome == Outcome::abstain);
  const auto second = run_gate_checks(bad, &good, frozen, checks);
  CHECK(second[0].outcome == Outcome::block);
  CHECK(second[1].outcome == Outcome::block);
  CHECK(second[2].outcome == Outcome::block);
  CHECK(worst(run_gate_checks(good, &good, frozen, checks)) == Outcome::pass);
  CHECK(worst(run_gate_checks(good, &good, Dataset(), checks)) == Outcome::abstain);
  CHECK_THROWS_AS(run_gate_checks(Model(), nullptr, frozen, checks), Error);
}
