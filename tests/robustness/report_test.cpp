#include "redoubt/robustness/report.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sstream>

#include "redoubt/robustness/screen.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;
using namespace redoubt::test;

namespace {

std::string text_of(const RobustnessReport& report) {
  std::ostringstream text;
  text << report;
  return text.str();
}

Verdict measured(const std::string& check, double recall) {
  Verdict verdict;
  verdict.check = check;
  verdict.outcome = Outcome::warn;
  verdict.summary = "3 rows look odd";
  verdict.findings = {{7, "", 0.9, "label 'a', but 0.99 for 'b'"}, {no_row, "account 3", 0.5, "5 of 6 rows"}};
  verdict.calibration = {{"random label flips", 40, recall, 0.0125}, {"clean-label pattern", 20, 0.05, 0.0125}};
  return verdict;
}

bool has_limit(const RobustnessReport& report, const std::string& part) {
  for (const std::string& limit : report.limits())
    if (limit.find(part) != std::string::npos) return true;
  return false;
}

}  // namespace

TEST_CASE("an empty report claims nothing", "[report]") {
  const RobustnessReport nothing;
  CHECK(nothing.outcome() == Outcome::abstain);
  CHECK(has_limit(nothing, "No check ran"));
  CHECK(has_limit(nothing, "No robustness curve"));
  CHECK(has_limit(nothing, "No prediction was certified against changed inputs"));
  CHECK(has_limit(nothing, "No prediction was certified against poisoned"));
  CHECK(has_limit(nothing, "which rows were trained on was not measured"));
  CHECK_THAT(text_of(nothing), Catch::Contains("Detection was not measured"));
}

TEST_CASE("a report says what was found, what abstained, what was measured and what it does not say", "[report]") {
  RobustnessReport report;
  report.subject = "reviews of May";
  report.origins = {{"data hash", "a3f1"}};
  report.verdicts = {measured("confident_learning", 0.9), measured("outliers", 0.2),
                     Verdict::abstain("bursts", Stage::pre_train, "needs times, which is not available here")};
  report.verdicts[1].calibration.clear();
  SensitivityReport curves;
  curves.metric = "accuracy";
  curves.rows = 100;
  curves.clean = 0.9;
  curves.curves = {{Perturbation::noise, {{0, 0.9, 0}, {0.5, 0.6, 0.3}}}};
  report.curves = {curves};
  CertifiedAccuracy certified;
  certified.method = "exact";
  certified.rows = 50;
  certified.points = {{0.1, 0.625, 0.25}};
  report.certificates = {certified};
  PartitionEvaluation votes;
  votes.rows = 80;
  votes.accuracy = 0.85;
  votes.certified = {0.85, 0.7};
  report.poisoning_certificates = {votes};
  MembershipReport membership;
  membership.auc = 0.8125;
  report.memberships = {membership};
  report.remarks = {"the data ends in May"};

  CHECK(report.outcome() == Outcome::warn);
  REQUIRE(report.abstained().size() == 1);
  CHECK(report.abstained()[0]->check == "bursts");
  CHECK(has_limit(report, "1 of 3 checks could not look"));
  CHECK(has_limit(report, "not measured: outliers."));
  CHECK(has_limit(report, "\"clean-label pattern\" no check named more than 5.0 %"));
  CHECK(!has_limit(report, "\"random label flips\""));
  CHECK(!has_limit(report, "No robustness curve"));
  CHECK(has_limit(report, "tried with one attack"));
  CHECK(report.limits().back() == "the data ends in May");

  const std::string text = text_of(report);
  for (const char* part : {"reviews of May", "data hash: a3f1", "What could not be checked", "needs times",
                           "Measured detection", "random label flips", "0.900", "0.0125", "row 7: label 'a'",
                           "source account 3: 5 of 6 rows", "0.6250", "verified by exact", "noise", "AUC 0.812"})
    CHECK_THAT(text, Catch::Contains(part));

  const auto json = nlohmann::json::parse(report.to_json());
  CHECK(json["outcome"] == "warn");
  CHECK(json["verdicts"].size() == 3);
  CHECK(json["verdicts"][0]["calibration"][0]["recall"] == 0.9);
  CHECK(json["certificates"][0]["points"].size() == 1);
  CHECK(json["poisoning_certificates"][0]["certified"][1] == 0.7);
  CHECK(json["curves"][0]["metric"] == "accuracy");
  CHECK(json["memberships"][0]["auc"] == 0.8125);
  CHECK(json["limits"].size() == report.limits().size());
}

TEST_CASE("a screen adds its verdicts, sources and counts", "[report]") {
  std::vector<std::string> names;
  std::vector<std::int32_t> source, label;
  std::vector<double> x;
  for (int i = 0; i < 200; ++i) {
    if (i < 10) names.push_back("s" + std::to_string(i));
    source.push_back(i % 10);
    x.push_back(i % 2 ? 1 + 0.001 * i : -1 - 0.001 * i);
    label.push_back(i % 2);
  }
  const ScreenReport screened = screen(Dataset({numeric("x", x), categorical("who", names, source, ColumnRole::source),
                                                categorical("y", {"n", "p"}, label, ColumnRole::target)}));
  RobustnessReport report;
  report.verdicts = {measured("drift", 1)};
  report.add(screened);
  CHECK(report.verdicts.size() == screened.verdicts().size() + 1);
  CHECK(report.verdicts.front() == screened.verdicts().front());
  CHECK(report.sources.size() == 10);
  REQUIRE(report.origins.size() == 3);
  CHECK(report.origins[0] == std::pair<std::string, std::string>("rows screened", "200"));
}

TEST_CASE("names from data cannot write to the terminal", "[report]") {
  const std::string evil = "col\x1b[2J\nWhat was checked\r\x07\xc2\x9b";
  RobustnessReport report;
  report.subject = evil;
  report.origins = {{evil, evil}};
  report.verdicts = {measured(evil, 1), Verdict::abstain(evil, Stage::gate, evil)};
  report.verdicts[0].findings = {{no_row, evil, 1, evil}};
  report.verdicts[0].calibration[0].planted = evil;
  report.sources.push_back({evil, 3, 2, 1, 0.5, 0.5, 0.3});
  report.remarks = {evil};
  const std::string text = text_of(report);
  for (const char c : {'\x1b', '\r', '\x07', '\x9b'}) CHECK(text.find(c) == std::string::npos);
  CHECK(text.find("\nWhat was checked\n") != std::string::npos);
  CHECK(text.find("\nWhat was checked") == text.rfind("\nWhat was checked"));
  CHECK(nlohmann::json::parse(report.to_json())["subject"].get<std::string>().substr(0, 3) == "col");
}
