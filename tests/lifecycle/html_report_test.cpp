#include "redoubt/lifecycle/html_report.hpp"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <fstream>
#include <iterator>

#include "lifecycle/sample.hpp"
#include "redoubt/lifecycle/gate.hpp"
#include "redoubt/lifecycle/registry.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/robustness/evasion/sensitivity.hpp"
#include "redoubt/robustness/report.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using redoubt::test::sample_model;
using redoubt::test::sample_rows;

namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t n = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

Verdict sample_verdict(const std::string& source) {
  Verdict verdict;
  verdict.check = "source_campaign";
  verdict.outcome = Outcome::block;
  verdict.summary = "3 sources act together";
  for (int i = 0; i < 15; ++i) verdict.findings.push_back({RowId(i), source, 0.9, "same text within a minute"});
  verdict.calibration.push_back({"random label flips, 5 %", 100, 0.83, 0.004});
  return verdict;
}

}  // namespace

TEST_CASE("a report shows every kind of picture in one self-contained file") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w", {.actor = "anna"});
  const auto raw = sample_rows(1500, 1, 0.05), holdout = sample_rows(500, 2, 0.05, 10000).seal();
  auto run = workspace.begin_run("reviews");
  auto read = run.begin_stage("read");
  read.output(raw, {.name = "raw", .origin = "reviews.csv"});
  read.complete();
  auto screen = run.begin_stage("screen");
  screen.input(raw, {.name = "raw", .origin = "reviews.csv", .role = "reference"});
  screen.verdict("source_campaign", sample_verdict("account7").to_json());
  const auto train = raw.without(std::vector<RowId>{1, 2, 3});
  screen.output(train, {.name = "screened", .origin = "reviews.csv"});
  screen.complete();
  auto fit = run.begin_stage("train");
  fit.input(train, {.name = "screened", .origin = "reviews.csv"});
  const auto model = fit.output(sample_model(train), "logistic");
  fit.complete();
  auto judge = run.begin_stage("gate");
  judge.input(model);
  judge.input(holdout, {.name = "holdout", .origin = "reviews.csv"});
  const auto evaluation = model.evaluate(holdout);
  judge.metric("roc_auc", evaluation.value("roc_auc"));
  const auto report = gate(model, Model(), holdout, Goal{.target = "genuine", .metric = "roc_auc", .threshold = 0.9});
  judge.verdict("gate", report.to_json());
  judge.complete();
  run.complete();
  workspace.registry().publish("reviews", model, report);

  HtmlReport page("Marketplace reviews", "Simulated data, one run");
  page.section("Screening", "What was found before training.")
      .verdicts(std::vector{sample_verdict("account7"), Verdict::abstain("bursts", Stage::pre_train, "needs times")})
      .bars("Suspicion per source",
            {{"account7", 0.93, true, "31 rows"}, {"account2", 0.41, false, ""}, {"account1", 0.08, false, ""}});
  page.section("Evaluation").metrics(evaluation).confusion(evaluation).reliability(evaluation).roc(evaluation);
  page.section("Robustness")
      .chart({"Robustness curve",
              "size of the perturbation",
              "accuracy",
              {{"gradient_boosting",
                {0, 0.1, 0.2, 0.4},
                {0.95, 0.9, 0.8, 0.5},
                {0.93, 0.87, 0.76, 0.44},
                {0.97, 0.93, 0.84, 0.56}},
               {"mlp", {0, 0.1, 0.2, 0.4}, {0.94, 0.85, 0.7, 0.3}, {}, {}}}});
  page.section("Gate").gate(report);
  page.section("Lineage").lineage(workspace.lineage_graph(run.id()));
  page.write(dir / "report.html");
  std::ifstream file(dir / "report.html");
  const std::string html((std::istreambuf_iterator<char>(file)), {});
  CHECK(html == page.str());
  if (const char* keep = std::getenv("REDOUBT_KEEP_REPORT")) page.write(keep);  // to look at it

  CHECK(count(html, "<svg") == 6);
  CHECK(count(html, "</svg>") == 6);
  CHECK(count(html, "role=\"img\"") == 6);
  CHECK(count(html, "<desc") == 6);
  CHECK(count(html, "<script") == 0);
  CHECK(count(html, "http://") + count(html, "https://") + count(html, "src=") + count(html, "@import") == 0);
  CHECK(html.find("The gate passed.") != std::string::npos);
  CHECK(html.find("reviews@1") != std::string::npos);
  CHECK(html.find("15 findings, the first 10") != std::string::npos);
  CHECK(count(html, "same text within a minute") == 10);
  CHECK(html.find("nan") == std::string::npos);
}

TEST_CASE("all text is escaped") {
  const std::string evil = "<script>alert('x')</script>\"&";
  auto verdict = sample_verdict(evil);
  verdict.check = verdict.summary = evil;
  verdict.findings[0].evidence = evil;
  LineageGraph graph;
  graph.nodes = {{"a", LineageKind::dataset, evil, evil, evil}, {"b", LineageKind::stage, evil, evil, evil}};
  graph.edges = {{0, 1, evil}};
  const std::vector<std::int32_t> truth{0, 1, 0, 1};
  const Tensor<float> p = [] {
    Tensor<float> t{4, 2};
    for (std::size_t i = 0; i < 4; ++i) t(i, i % 2) = 0.75f, t(i, 1 - i % 2) = 0.25f;
    return t;
  }();
  const auto evaluation = Evaluation::classification({evil, "b"}, truth, p);
  HtmlReport page(evil, evil);
  page.section(evil, evil).table(evil, {evil}, {{evil}}).bars(evil, {{evil, 1, true, evil}}).lineage(graph, evil);
  page.verdicts(std::vector{verdict}, evil)
      .metrics(evaluation, evil)
      .confusion(evaluation, evil)
      .reliability(evaluation, evil);
  page.chart({evil, evil, evil, {{evil, {0, 1}, {0, 1}, {}, {}}, {evil, {0}, {1}, {}, {}}}});
  const auto html = page.str();
  CHECK(html.find("<script") == std::string::npos);
  CHECK(html.find("alert('x')") == std::string::npos);
  CHECK(html.find("&lt;script&gt;") != std::string::npos);
  HtmlReport broken(
      std::string_view("a\xff\x01"
                       "b",
                       4));
  CHECK(broken.str().find("a\xef\xbf\xbd\xef\xbf\xbd"
                          "b") != std::string::npos);
}

TEST_CASE("a robustness report is one page that names what is missing, and hostile names stay text") {
  HtmlReport empty("nothing");
  empty.robustness(RobustnessReport{});
  for (const char* part : {"No check ran", "Not measured.", "Nothing was certified.", "Limits", "banner abstain"})
    CHECK_THAT(empty.str(), Catch::Contains(part));

  const std::string evil = "</td><img onerror=alert('x')>\"&";
  RobustnessReport report;
  report.subject = evil;
  report.origins = {{evil, evil}};
  report.verdicts = {sample_verdict(evil), Verdict::abstain(evil, Stage::pre_train, evil)};
  report.verdicts[0].calibration = {{evil, 30, 0.75, 0.01}, {"clean-label pattern", 30, 0.125, 0.01}};
  report.sources.push_back({evil, 30, 20, 1.5, 1e-9, 1e-8, 0.6});
  report.remarks = {evil};
  SensitivityReport curves;
  curves.metric = evil;
  curves.curves = {{Perturbation::noise, {{0, 0.9, 0}, {0.5, 0.6, 0.3}}}};
  report.curves = {curves};
  CertifiedAccuracy certified;
  certified.method = evil;
  certified.points = {{0, 0.9, 0.1}, {0.1, 0.625, 0.25}};
  report.certificates = {certified};
  PartitionEvaluation votes;
  votes.certified = {0.85, 0.7, 0.4};
  report.poisoning_certificates = {votes};
  HtmlReport page(evil, evil);
  page.robustness(report);
  const std::string html = page.str();
  if (const char* keep = std::getenv("REDOUBT_KEEP_REPORT")) page.write(std::string(keep) + ".robustness.html");
  CHECK(html.find("<img") == std::string::npos);
  CHECK(html.find("alert('x')") == std::string::npos);
  CHECK(count(html, "<svg") == 6);  // two kinds of poison, sources, curve, two certificates
  CHECK(count(html, "</table>") == count(html, "<table>"));
  for (const char* part : {"banner block", "What could not be checked", "Checks that abstained", "0.750", "0.125",
                           "0.6250", "no check named more than 12.5 %"})
    CHECK_THAT(html, Catch::Contains(part));
}

TEST_CASE("pictures of nothing, or of odd values, are still pictures") {
  HtmlReport page("edge");
  page.bars("none", {}).lineage({}).chart({"empty", "x", "y", {}}).verdicts({});
  page.chart({"one", "x", "y", {{"", {1}, {5}, {}, {}}}, false});
  page.chart({"odd", "x", "y", {{"", {0, 1, 2}, {1, std::nan(""), INFINITY}, {}, {}}}, false});
  page.bars("odd", {{"a", std::nan(""), false, ""}, {"b", -1, false, ""}});
  LineageGraph cycle;
  cycle.nodes = {{"a", LineageKind::stage, "a", "", ""}, {"b", LineageKind::stage, "b", "", ""}};
  cycle.edges = {{0, 1, ""}, {1, 0, ""}};
  page.lineage(cycle);
  const auto html = page.str();
  CHECK(count(html, "<svg") == 7);
  CHECK(html.find("=\"nan") == std::string::npos);
  CHECK(html.find("=\"inf") == std::string::npos);
}

TEST_CASE("robustness curves are drawn one line per perturbation, errors on an axis of their own") {
  SensitivityReport report{.metric = "rmse", .rows = 10, .clean = 2, .curves = {}};
  report.curves.push_back({Perturbation::noise, {{0, 2, 0}, {0.5, 3, 0.1}}});
  report.curves.push_back({Perturbation::missing, {{0, 2, 0}, {0.5, 7, 0.2}}});
  const std::string size = "size (standard deviations, or share of missing cells)";
  HtmlReport page("r"), by_hand("r");
  page.robustness(report, "How it bends");
  by_hand.chart({"How it bends",
                 size,
                 "rmse",
                 {{"noise", {0, 0.5}, {2, 3}, {}, {}}, {"missing", {0, 0.5}, {2, 7}, {}, {}}},
                 /*y_from_zero_to_one=*/false});
  CHECK(page.str() == by_hand.str());

  report.metric = "accuracy";
  report.curves = {{Perturbation::noise, {{0, 0.9, 0}, {0.5, 0.6, 0.1}}}};
  HtmlReport share("r"), share_by_hand("r");
  share.robustness(report);
  share_by_hand.chart({"Robustness", size, "accuracy", {{"noise", {0, 0.5}, {0.9, 0.6}, {}, {}}}});
  CHECK(share.str() == share_by_hand.str());
}

TEST_CASE("a report refuses what it cannot draw and a path it cannot write") {
  HtmlReport page("refusals");
  CHECK_THROWS_AS(page.confusion(Evaluation()), Error);
  CHECK_THROWS_AS(page.chart({"c", "x", "y", {{"l", {1, 2}, {1}, {}, {}}}}), Error);
  CHECK_THROWS_AS(page.write("/proc/nowhere/report.html"), Error);
}
