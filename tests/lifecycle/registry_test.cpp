#include "redoubt/lifecycle/registry.hpp"

#include <sqlite3.h>

#include <catch2/catch.hpp>

#include "lifecycle/sample.hpp"
#include "redoubt/lifecycle/gate.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using redoubt::test::sample_model;
using redoubt::test::sample_rows;

namespace {

GateReport report_for(const Model& model, Outcome outcome = Outcome::pass) {
  GateReport report;
  report.candidate = model.hash();
  Verdict verdict;
  verdict.check = "gate.metric";
  verdict.stage = Stage::gate;
  verdict.outcome = outcome;
  verdict.summary = "roc_auc 0.5";
  report.verdicts.push_back(verdict);
  return report;
}

Model train(Workspace workspace, std::uint64_t seed) {
  const auto data = sample_rows(200, seed);
  auto run = workspace.begin_run("reviews", {.code_commit = std::to_string(seed)});
  auto stage = run.begin_stage("train");
  stage.input(data, {.name = "train", .origin = "a.csv"});
  auto model = stage.output(sample_model(data), "m");
  stage.complete();
  run.complete();
  return model;
}

template <class F>
Error error_of(F&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  return Error(errc::ok, "nothing was thrown");
}

}  // namespace

TEST_CASE("publish, load, roll back") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w", {.actor = "anna"});
  auto registry = workspace.registry();
  const auto a = train(workspace, 1), b = train(workspace, 2), c = train(workspace, 3);

  CHECK(registry.publish("reviews", a, report_for(a)).version == 1);
  CHECK(registry.publish("reviews", b, report_for(b)).version == 2);
  CHECK(registry.publish("reviews", c, report_for(c), {.alias = "candidate"}).version == 3);
  CHECK(registry.load("reviews@production").hash() == b.hash());
  CHECK(registry.load("reviews").hash() == b.hash());
  CHECK(registry.load("reviews@1").hash() == a.hash());
  CHECK(registry.load("reviews@candidate").hash() == c.hash());
  CHECK(registry.names() == std::vector<std::string>{"reviews"});
  CHECK(registry.resolve("reviews@2").data_hash == b.info().data_hash);

  registry.set_alias("reviews", "production", 3);
  CHECK(registry.versions("reviews")[2].aliases == std::vector<std::string>{"candidate", "production"});
  CHECK(registry.rollback("reviews@production").version == 2);
  const auto back = registry.rollback("reviews@production", "bad reviews came through");
  CHECK(back.version == 1);
  CHECK(back.data_hash == a.info().data_hash);
  CHECK(registry.load("reviews@production").hash() == a.hash());
  CHECK(error_of([&] { registry.rollback("reviews@production"); }).code() == errc::not_found);
  CHECK(registry.load("reviews@production").hash() == a.hash());
  CHECK(registry.load("reviews@candidate").hash() == c.hash());
  CHECK(workspace.verify_log().intact);
  CHECK(workspace.log().back().action == "rollback");
  CHECK(workspace.log().back().detail.find("bad reviews came through") != std::string::npos);

  SECTION("the workspace outlives the process") {
    auto again = Workspace::open(dir / "w").registry();
    CHECK(again.load("reviews@production").hash() == a.hash());
    const auto d = train(workspace, 4);
    CHECK(again.publish("reviews", d, report_for(d)).version == 4);
    CHECK(again.rollback("reviews@production").version == 1);
  }
  SECTION("two releases are compared by their manifests") {
    const auto changes = registry.compare("reviews@1", "reviews@2");
    const auto find = [&](const std::string& field) {
      for (const auto& change : changes)
        if (change.field == field) return change.before + " -> " + change.after;
      return std::string();
    };
    CHECK(find("code_commit") == "1 -> 2");
    CHECK(find("datasets.train.hash") == a.info().data_hash + " -> " + b.info().data_hash);
    CHECK(find("models.m.hash") == a.hash() + " -> " + b.hash());
    CHECK(find("cpu").empty());
  }
  SECTION("a source is followed into the releases") {
    const auto impact = workspace.impact_of_source("account1");
    CHECK(impact.releases == std::vector<std::string>{"reviews@1 (production)", "reviews@2", "reviews@3 (candidate)"});
  }
  SECTION("published versions cannot be edited in place") {
    sqlite3* db = nullptr;
    REQUIRE(sqlite3_open((dir / "w/redoubt.db").c_str(), &db) == SQLITE_OK);
    CHECK(sqlite3_exec(db, "UPDATE redoubt_version SET model_hash = 'x'", nullptr, nullptr, nullptr) != SQLITE_OK);
    CHECK(sqlite3_exec(db, "DELETE FROM redoubt_version", nullptr, nullptr, nullptr) != SQLITE_OK);
    sqlite3_close(db);
  }
}

TEST_CASE("only what passed the gate is published, unless forced with a reason and an actor") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w");
  auto registry = workspace.registry();
  const auto model = train(workspace, 1), other = train(workspace, 2);
  const auto bad = GENERATE(Outcome::block, Outcome::abstain);
  const auto report = report_for(model, bad);
  CHECK_FALSE(report.passed());

  const auto refused = error_of([&] { registry.publish("reviews", model, report); });
  CHECK(refused.code() == errc::refused);
  CHECK(std::string(refused.what()).find("roc_auc 0.5") != std::string::npos);
  CHECK(registry.versions("reviews").empty());
  CHECK(workspace.log().back().action == "publish.refused");

  CHECK(error_of([&] { registry.publish("reviews", model, GateReport{.candidate = model.hash()}); }).code() ==
        errc::refused);  // nothing was judged
  CHECK(error_of([&] { registry.publish("reviews", model, report_for(other)); }).code() == errc::refused);
  CHECK(error_of([&] { registry.publish("reviews", model, report, {.force = true}); }).code() == errc::refused);
  CHECK(error_of([&] { registry.publish("reviews", model, report, {.actor = "bob", .force = true}); }).code() ==
        errc::refused);
  CHECK(registry.versions("reviews").empty());

  const auto forced =
      registry.publish("reviews", model, report, {.actor = "bob", .force = true, .reason = "launch day"});
  CHECK(forced.forced);
  CHECK(workspace.log().back().action == "publish.forced");
  CHECK(workspace.log().back().actor == "bob");
  CHECK(workspace.log().back().detail.find("launch day") != std::string::npos);
  CHECK(registry.versions("reviews").at(0).reason == "launch day");
}

TEST_CASE("bad references and names are refused with what there is") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w");
  auto registry = workspace.registry();
  const auto model = train(workspace, 1);
  registry.publish("reviews", model, report_for(model));
  const auto missing = error_of([&] { registry.load("reviews@staging"); });
  CHECK(missing.code() == errc::not_found);
  CHECK(std::string(missing.what()).find("production") != std::string::npos);
  CHECK(error_of([&] { registry.load("other"); }).code() == errc::not_found);
  CHECK(error_of([&] { registry.publish("a b", model, report_for(model)); }).code() == errc::invalid_argument);
  CHECK(error_of([&] { registry.publish("x", model, report_for(model), {.alias = "12"}); }).code() ==
        errc::invalid_argument);
  CHECK(error_of([&] { registry.set_alias("reviews", "production", 9); }).code() == errc::not_found);
  const auto stranger = sample_model(sample_rows(100, 5));
  CHECK(error_of([&] { registry.publish("reviews", stranger, report_for(stranger)); }).code() == errc::not_found);
  CHECK(registry.versions("reviews").size() == 1);
}
