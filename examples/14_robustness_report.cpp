// A robustness report for somebody who answers for the risk: a screen, drift and a gate with measured detection,
// robustness curves and certificates, as text here and as a page in a file.
#include <iostream>
#include <redoubt/data/dataset.hpp>
#include <redoubt/data/generators.hpp>
#include <redoubt/lifecycle/html_report.hpp>
#include <redoubt/model/model.hpp>
#include <redoubt/robustness/calibrate.hpp>
#include <redoubt/robustness/gate_checks.hpp>
#include <redoubt/robustness/report.hpp>
#include <redoubt/robustness/screen.hpp>
#include <redoubt/trees/gradient_boosting.hpp>

int main(int argc, char** argv) {
  const auto market =
      redoubt::generate_marketplace({.rows = 3000}).data.with_role("review", redoubt::ColumnRole::ignore);
  const auto [train, test] = market.split(0.25, /*seed=*/7);
  auto screened = redoubt::screen(train);
  redoubt::calibrate(screened, train);
  const auto clean = train.without(screened.blocked());
  const redoubt::GradientBoosting trees{{.trees = 30, .max_leaves = 8}};
  const auto model = trees.fit(clean);

  redoubt::Drift drift;
  drift.options.reference = train;
  auto moved = redoubt::run_check(drift, {.data = &test});
  redoubt::calibrate_drift(moved, drift, test.rows(), {.trials = 4});
  const std::vector<redoubt::AnyCheck> checks{redoubt::ChampionChallenger{}, redoubt::CanaryFlips{}};
  const auto fit = [&](const redoubt::Dataset& rows) { return trees.fit(rows); };
  const auto champion = fit(clean.split(0.2, /*seed=*/8).first);
  auto gated = redoubt::run_gate_checks(model, &champion, test, checks);
  redoubt::calibrate_gate(gated, clean, test, fit, checks, {.trials = 4});

  redoubt::RobustnessReport report;
  report.subject = "marketplace reviews";
  report.origins = {{"data hash", train.hash()}, {"model hash", model.hash()}};
  report.verdicts = gated;
  report.verdicts.push_back(moved);
  report.add(screened);
  report.curves = {redoubt::sensitivity(model, test)};
  report.certificates = {redoubt::certify(model, test, {.radii = {0, 0.01, 0.05, 0.1}, .max_rows = 200})};
  const auto votes = redoubt::PartitionEnsemble::fit(clean, trees, {.partitions = 25, .by_source = true});
  report.poisoning_certificates = {votes.evaluate(test)};
  report.memberships = {redoubt::membership_inference(votes, clean)};
  report.remarks = {"The reviews are simulated."};
  std::cout << report;
  if (argc > 1) redoubt::HtmlReport("Robustness report", report.subject).robustness(report).write(argv[1]);
}
