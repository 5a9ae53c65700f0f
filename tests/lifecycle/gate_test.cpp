#include "redoubt/lifecycle/gate.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lifecycle/sample.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using redoubt::test::sample_model;
using redoubt::test::sample_rows;

namespace {

const Verdict& find(const GateReport& report, std::string_view check) {
  for (const auto& verdict : report.verdicts)
    if (verdict.check == check) return verdict;
  FAIL("no verdict " << check);
  return report.verdicts.front();
}

/// A check that says what it is told to.
struct SayCheck {
  static constexpr std::string_view id = "say";
  static constexpr Stage stage = Stage::gate;
  static constexpr Need needs = Need::probabilities;
  Outcome outcome = Outcome::pass;
  std::size_t rows = 0;
  void update(const Batch& batch) { rows += batch.probabilities.rows(); }
  void merge(const SayCheck& other) { rows += other.rows; }
  Verdict finish() const {
    Verdict verdict;
    verdict.check = id;
    verdict.stage = stage;
    verdict.outcome = outcome;
    verdict.score = static_cast<double>(rows);
    verdict.summary = "as told";
    return verdict;
  }
};

struct NeedsTimes : SayCheck {
  static constexpr std::string_view id = "needs_times";
  static constexpr Need needs = Need::times;
};

}  // namespace

TEST_CASE("the gate passes a good model and says what it saw") {
  const auto holdout = sample_rows(800, 2, 0, 10000).seal();
  const auto model = sample_model(sample_rows(2000, 1));
  const Goal goal{.target = "genuine", .metric = "roc_auc", .threshold = 0.9};
  const auto report = gate(model, Model(), holdout, goal, {.checks = {SayCheck{}}});
  std::ostringstream text;
  text << report;
  INFO(text.str());
  CHECK(report.passed());
  CHECK(report.why_not().empty());
  CHECK(report.candidate == model.hash());
  CHECK(report.holdout == holdout.hash());
  CHECK(find(report, "gate.metric").score == Approx(model.evaluate(holdout).value("roc_auc")).epsilon(1e-12));
  CHECK(find(report, "say").score == 800);
  CHECK(text.str().find("gate: passed") == 0);
  const auto json = nlohmann::json::parse(report.to_json());
  CHECK(json["passed"] == true);
  CHECK(json["verdicts"].size() == 3);
  CHECK(json["goal"]["metric"] == "roc_auc");
}

TEST_CASE("every metric name of the evaluation can be a goal and has its value") {
  const auto holdout = sample_rows(400, 2, 0.1, 10000).seal();
  const auto model = sample_model(sample_rows(1000, 1));
  const auto evaluation = model.evaluate(holdout);
  for (const std::string name : {"accuracy", "log_loss", "brier", "roc_auc", "pr_auc", "f1_macro", "precision.no",
                                 "recall.yes", "f1.no", "precision", "recall", "f1"}) {
    INFO(name);
    const Goal goal{.target = "genuine", .metric = name, .threshold = lower_is_better(name) ? 1e9 : -1e9};
    const auto report = gate(model, Model(), holdout, goal, {.resamples = 20});
    CHECK(report.passed());
    CHECK(find(report, "gate.metric").score == Approx(evaluation.value(name)).epsilon(1e-9));
  }
}

TEST_CASE("the gate does not pass what misses the goal, nor what it cannot tell") {
  const auto holdout = sample_rows(400, 2, 0, 10000).seal();
  const auto model = sample_model(sample_rows(1000, 1));
  const auto outcome = [&](Goal goal) {
    const auto report = gate(model, Model(), holdout, goal);
    CHECK_FALSE(report.passed());
    return find(report, "gate.metric").outcome;
  };
  const auto value = model.evaluate(holdout).value("accuracy");
  CHECK(outcome({.target = "genuine", .metric = "accuracy", .threshold = value + 0.01}) == Outcome::block);
  CHECK(outcome({.target = "genuine", .metric = "accuracy", .threshold = value - 0.001}) == Outcome::abstain);
  CHECK(outcome({.target = "genuine", .metric = "log_loss", .threshold = 0.0001}) == Outcome::block);
  CHECK(outcome({.target = "genuine", .metric = "no_such_metric", .threshold = 0}) == Outcome::block);
}

TEST_CASE("the holdout must be about the target and must not be the training rows") {
  const auto train = sample_rows(500, 1), holdout = sample_rows(300, 2, 0, 10000);
  const auto model = sample_model(train);
  const Goal goal{.target = "genuine", .metric = "accuracy", .threshold = 0.5};
  CHECK(find(gate(model, Model(), holdout.seal(), Goal{.target = "other", .metric = "accuracy"}), "gate.holdout")
            .blocks());
  CHECK(find(gate(model, Model(), train, goal), "gate.holdout").blocks());
  const auto unsealed = gate(model, Model(), holdout, goal);
  CHECK(find(unsealed, "gate.holdout").outcome == Outcome::warn);
  CHECK(unsealed.passed());
}

TEST_CASE("a champion is compared on the same rows") {
  const auto holdout = sample_rows(600, 2, 0, 10000).seal();
  const auto good = sample_model(sample_rows(2000, 1)), poisoned = sample_model(sample_rows(2000, 1, 0.9));
  const Goal goal{.target = "genuine", .metric = "accuracy", .threshold = 0, .max_canary_flips = 0.05};
  const auto worse = gate(poisoned, good, holdout, goal);
  CHECK(find(worse, "gate.champion").blocks());
  CHECK(find(worse, "gate.canary").blocks());
  REQUIRE_FALSE(find(worse, "gate.canary").findings.empty());
  CHECK(find(worse, "gate.canary").findings[0].row >= 10000);
  CHECK_FALSE(worse.passed());

  const auto better = gate(good, poisoned, holdout, goal);
  CHECK(find(better, "gate.champion").outcome == Outcome::pass);
  const auto same = gate(good, good, holdout, goal);
  CHECK(find(same, "gate.champion").outcome == Outcome::pass);
  CHECK(find(same, "gate.canary").score == 0);
  CHECK(same.passed());
}

TEST_CASE("slices are judged one by one") {
  const auto holdout = sample_rows(600, 2, 0, 10000);
  // Labels of one country turned round: good overall enough, bad there.
  auto labels = holdout.column("genuine");
  for (std::size_t i = 0; i < holdout.rows(); ++i)
    if (holdout.column("country").codes[i] == 1) labels.codes[i] = 1 - labels.codes[i];
  const auto turned = holdout.with_column(labels).seal();
  const auto model = sample_model(sample_rows(1000, 1));
  const Goal goal{.target = "genuine", .metric = "accuracy", .threshold = 0.1, .slices = {"country"}, .min_slice = 0.7};
  const auto report = gate(model, Model(), turned, goal);
  const auto& slices = find(report, "gate.slices");
  CHECK(slices.blocks());
  REQUIRE(slices.findings.size() == 1);
  CHECK(slices.findings[0].evidence.find("country = \"fr\"") == 0);
  CHECK(gate(model, Model(), holdout.seal(), goal).passed());
  auto unknown = goal;
  unknown.slices = {"planet"};
  CHECK(find(gate(model, Model(), holdout.seal(), unknown), "gate.slices").blocks());
}

TEST_CASE("checks that abstain or block stop the gate") {
  const auto holdout = sample_rows(300, 2, 0, 10000).seal();
  const auto model = sample_model(sample_rows(500, 1));
  const Goal goal{.target = "genuine", .metric = "accuracy", .threshold = 0.5};
  CHECK_FALSE(gate(model, Model(), holdout, goal, {.checks = {SayCheck{.outcome = Outcome::block}}}).passed());
  const auto abstained = gate(model, Model(), holdout, goal, {.checks = {NeedsTimes{}}});
  CHECK(find(abstained, "needs_times").outcome == Outcome::abstain);
  CHECK_FALSE(abstained.passed());
  CHECK(gate(model, Model(), holdout, goal, {.checks = {SayCheck{.outcome = Outcome::warn}}}).passed());
}

TEST_CASE("the latency budget is measured") {
  const auto holdout = sample_rows(300, 2, 0, 10000).seal();
  const auto model = sample_model(sample_rows(500, 1));
  Goal goal{.target = "genuine", .metric = "accuracy", .threshold = 0.5, .latency_budget_us = 1e9};
  CHECK(gate(model, Model(), holdout, goal).passed());
  goal.latency_budget_us = 1e-6;
  CHECK(find(gate(model, Model(), holdout, goal), "gate.latency").blocks());
}

TEST_CASE("a missing goal file fails the gate, a broken one is an error") {
  test::TempDir dir;
  const auto holdout = sample_rows(300, 2, 0, 10000).seal();
  const auto model = sample_model(sample_rows(500, 1));
  const auto report = gate(model, Model(), holdout, dir / "goal.json");
  CHECK_FALSE(report.passed());
  CHECK(find(report, "gate.goal").blocks());
  CHECK(find(report, "gate.goal").summary.find("goal.json") != std::string::npos);
  std::ofstream(dir / "goal.json") << "{";
  CHECK_THROWS_AS(gate(model, Model(), holdout, dir / "goal.json"), Error);
  std::ofstream(dir / "goal.json") << R"({"target": "genuine", "metric": "accuracy", "threshold": 0.6})";
  CHECK(gate(model, Model(), holdout, dir / "goal.json").passed());
}
