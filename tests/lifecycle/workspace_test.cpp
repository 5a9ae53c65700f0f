#include "redoubt/lifecycle/workspace.hpp"

#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>

#include "lifecycle/sample.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/lifecycle/registry.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using redoubt::test::sample_model;
using redoubt::test::sample_rows;

namespace {

class FixedClock final : public Clock {
 public:
  std::int64_t now_ms() const override { return 1'700'000'000'000; }
};

/// Every row of a query, columns joined by '|'.
std::vector<std::string> sql(const std::string& directory, const std::string& text) {
  sqlite3* db = nullptr;
  REQUIRE(sqlite3_open((directory + "/redoubt.db").c_str(), &db) == SQLITE_OK);
  std::vector<std::string> rows;
  char* message = nullptr;
  const int code = sqlite3_exec(
      db, text.c_str(),
      [](void* out, int n, char** values, char**) {
        std::string row;
        for (int i = 0; i < n; ++i) {
          if (i) row += '|';
          row += values[i] ? values[i] : "NULL";
        }
        static_cast<std::vector<std::string>*>(out)->push_back(row);
        return 0;
      },
      &rows, &message);
  INFO((message ? message : ""));
  CHECK(code == SQLITE_OK);
  sqlite3_free(message);
  sqlite3_close(db);
  return rows;
}

struct Recorded {
  Model model;
  std::string run;
};

/// One run: train on `train`, evaluate on `holdout`.
Recorded record_run(Workspace workspace, const Dataset& train, const Dataset& holdout, const std::string& origin) {
  auto run = workspace.begin_run("reviews", {.parent_model = "", .code_commit = "abc123"});
  Model model;
  {
    auto stage = run.begin_stage("train", {{"trees", 300}, {"rate", 0.5}, {"note", "first"}, {"fast", true}});
    stage.input(train, {.name = "train", .origin = origin});
    model = stage.output(sample_model(train), "logistic");
    stage.complete();
  }
  auto stage = run.begin_stage("evaluate");
  stage.input(model);
  stage.input(holdout.seal(), {.name = "holdout", .origin = origin});
  stage.metric("roc_auc", 0.875);
  stage.verdict("confident_learning", R"({"outcome":"pass"})");
  stage.complete();
  run.complete();
  return {model, run.id()};
}

errc code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  return errc::ok;
}

}  // namespace

TEST_CASE("a workspace has the tables, columns and indices of ML Metadata 10") {
  test::TempDir dir;
  Workspace::open(dir / "w");
  CHECK(sql(dir / "w", "SELECT schema_version FROM MLMDEnv") == std::vector<std::string>{"10"});
  const std::set<std::string> expected{
      "Type",      "ParentType",        "TypeProperty", "Artifact",        "ArtifactProperty",
      "Execution", "ExecutionProperty", "Context",      "ContextProperty", "ParentContext",
      "Event",     "EventPath",         "Association",  "Attribution",     "MLMDEnv"};
  const auto tables = sql(dir / "w",
                          "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'redoubt%' AND "
                          "name NOT LIKE 'sqlite%'");
  CHECK(std::set<std::string>(tables.begin(), tables.end()) == expected);
  const auto columns = [&](const std::string& table) {
    return sql(dir / "w", "SELECT group_concat(name, ',') FROM pragma_table_info('" + table + "')").at(0);
  };
  CHECK(columns("Type") == "id,name,version,type_kind,description,input_type,output_type,external_id");
  CHECK(columns("Artifact") ==
        "id,type_id,uri,state,name,external_id,create_time_since_epoch,last_update_time_since_epoch");
  CHECK(columns("Execution") ==
        "id,type_id,last_known_state,name,external_id,create_time_since_epoch,last_update_time_since_epoch");
  CHECK(columns("ContextProperty") ==
        "context_id,name,is_custom_property,int_value,double_value,string_value,byte_value,proto_value,bool_value");
  CHECK(columns("Event") == "id,artifact_id,execution_id,type,milliseconds_since_epoch");
  CHECK(columns("EventPath") == "event_id,is_index_step,step_index,step_key");
  CHECK(sql(dir / "w", "SELECT COUNT(*) FROM sqlite_master WHERE type='index' AND name LIKE 'idx_%'").at(0) == "24");
  CHECK(sql(dir / "w", "PRAGMA journal_mode").at(0) == "wal");
}

TEST_CASE("opening refuses what is not a workspace of this version") {
  test::TempDir dir;
  std::filesystem::create_directories(dir / "garbage");
  std::ofstream(dir / "garbage/redoubt.db") << std::string(5000, 'x');
  CHECK(code_of([&] { Workspace::open(dir / "garbage"); }) == errc::corrupt);
  Workspace::open(dir / "w");
  sql(dir / "w", "UPDATE MLMDEnv SET schema_version = 11");
  CHECK(code_of([&] { Workspace::open(dir / "w"); }) == errc::unsupported);
  CHECK(code_of([&] { Workspace::open("/proc/nowhere"); }) == errc::io_error);
}

TEST_CASE("artifacts are named by their content and refused when a byte changed") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w");
  const std::string text = "some bytes";
  const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
  const auto hash = workspace.store(bytes);
  CHECK(hash == sha256_hex(text));
  CHECK(workspace.store(bytes) == hash);
  const auto back = workspace.fetch(hash);
  CHECK(std::equal(back.begin(), back.end(), bytes.begin(), bytes.end()));
  const auto path = dir / ("w/artifacts/" + hash.substr(0, 2) + "/" + hash.substr(2));
  std::fstream(path, std::ios::in | std::ios::out) << "S";
  CHECK(code_of([&] { workspace.fetch(hash); }) == errc::corrupt);
  CHECK(code_of([&] { workspace.fetch(std::string(64, '0')); }) == errc::not_found);
  CHECK(code_of([&] { workspace.fetch("../../etc/passwd"); }) == errc::invalid_argument);
}

TEST_CASE("a run remembers stages, typed properties, inputs, outputs, metrics and verdicts") {
  test::TempDir dir;
  const FixedClock clock;
  auto workspace = Workspace::open(dir / "w", {.actor = "anna", .id_seed = 7, .clock = &clock});
  const auto train = sample_rows(300, 1), holdout = sample_rows(100, 2, 0, 1000);
  const auto recorded = record_run(workspace, train, holdout, "reviews.csv");

  CHECK(recorded.run.size() == 36);
  CHECK(recorded.run[14] == '4');
  CHECK(recorded.model.info().lineage_id == recorded.run);
  CHECK(workspace.load_model(recorded.model.hash()).hash() == recorded.model.hash());
  CHECK(
      sql(dir / "w",
          "SELECT int_value, double_value, string_value, bool_value FROM ExecutionProperty WHERE name IN "
          "('trees','rate','note','fast') ORDER BY name") ==
      std::vector<std::string>{"NULL|NULL|NULL|1", "NULL|NULL|first|NULL", "NULL|0.5|NULL|NULL", "300|NULL|NULL|NULL"});
  REQUIRE(workspace.runs().size() == 1);
  CHECK(workspace.runs()[0].state == "complete");
  CHECK(workspace.runs()[0].started_ms == clock.now_ms());
  CHECK(workspace.verdicts(recorded.run) == std::vector<std::string>{R"({"outcome":"pass"})"});

  const auto manifest = workspace.manifest(recorded.run);
  CHECK(manifest.missing().empty());
  CHECK(manifest.code_commit == "abc123");
  REQUIRE(manifest.datasets.size() == 2);
  CHECK(manifest.datasets[0].role == "train");
  CHECK(manifest.datasets[0].hash == train.hash());
  CHECK(manifest.datasets[0].rows == 300);
  CHECK(manifest.datasets[1].role == "holdout");
  REQUIRE(manifest.models.size() == 1);
  CHECK(manifest.models[0].data_hash == train.hash());
  CHECK(manifest.metrics.at("evaluate.roc_auc") == 0.875);
  CHECK(manifest.compiler_flags.find("-O") != std::string::npos);

  SECTION("run ids and models are the same when seed and clock are") {
    auto again = Workspace::open(dir / "again", {.actor = "anna", .id_seed = 7, .clock = &clock});
    const auto second = record_run(again, train, holdout, "reviews.csv");
    CHECK(second.run == recorded.run);
    CHECK(again.log_head() == workspace.log_head());
  }
  SECTION("ids of the system's random source differ") {
    auto other = Workspace::open(dir / "other");
    auto a = other.begin_run("a"), b = other.begin_run("b");
    CHECK(a.id() != b.id());
  }
}

TEST_CASE("lineage answers backward and forward questions") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w");
  const auto first = sample_rows(300, 1), second = sample_rows(300, 3, 0, 200), holdout = sample_rows(50, 2, 0, 5000);
  const auto one = record_run(workspace, first, holdout, "a.csv");
  const auto two = record_run(workspace, second, holdout, "a.csv");

  const auto origin = workspace.origin(one.model.hash());
  CHECK(origin.run_id == one.run);
  REQUIRE(origin.trained_on.size() == 1);
  CHECK(origin.trained_on[0].hash == first.hash());
  const auto rows = workspace.rows_of(origin.trained_on[0].hash);
  REQUIRE(rows.ids.size() == 300);
  for (std::size_t i = 0; i < rows.ids.size(); ++i) {
    REQUIRE(rows.ids[i] == first.row_ids()[i]);
    REQUIRE(rows.source_names[static_cast<std::size_t>(rows.sources[i])] ==
            first.source_names()[static_cast<std::size_t>(first.sources()[i])]);
  }

  const auto hashes = [](const DataImpact& impact) {
    std::set<std::string> set;
    for (const auto& model : impact.models) set.insert(model.hash);
    return set;
  };
  CHECK(hashes(workspace.impact_of_row(10)) == std::set{one.model.hash()});
  CHECK(hashes(workspace.impact_of_row(250)) == std::set{one.model.hash(), two.model.hash()});
  CHECK(hashes(workspace.impact_of_row(450)) == std::set{two.model.hash()});
  CHECK(workspace.impact_of_row(450, "b.csv").datasets.empty());
  CHECK(workspace.impact_of_row(99999).datasets.empty());
  // A holdout row is in a dataset but trained no model.
  CHECK(workspace.impact_of_row(5000).datasets.size() == 1);
  CHECK(workspace.impact_of_row(5000).models.empty());
  CHECK(hashes(workspace.impact_of_source("account3")) == std::set{one.model.hash(), two.model.hash()});
  CHECK(workspace.impact_of_source("nobody").datasets.empty());

  const auto graph = workspace.lineage_graph();
  CHECK(graph.nodes.size() == 4 + 3 + 2 + 2);  // stages, datasets (one shared holdout), models, verdicts
  const auto only = workspace.lineage_graph(one.run);
  std::size_t model = only.nodes.size();
  for (std::size_t i = 0; i < only.nodes.size(); ++i)
    if (only.nodes[i].kind == LineageKind::model) model = i;
  REQUIRE(model < only.nodes.size());
  const auto upstream = only.upstream(model);
  CHECK(upstream.nodes.size() == 3);  // dataset -> train -> model
  CHECK(upstream.edges.size() == 2);
  CHECK(code_of([&] { workspace.origin(std::string(64, 'a')); }) == errc::not_found);
}

TEST_CASE("the log detects any edit") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w");
  for (int i = 0; i < 20; ++i) workspace.append_log("note", std::to_string(i), "detail");
  const auto head = workspace.log_head();
  REQUIRE(workspace.verify_log(head).intact);
  CHECK(workspace.verify_log().entries == 20);

  const auto damage = GENERATE(std::string("UPDATE redoubt_log SET detail = 'other' WHERE sequence = 7"),
                               std::string("UPDATE redoubt_log SET actor = 'bob' WHERE sequence = 7"),
                               std::string("UPDATE redoubt_log SET time_ms = time_ms + 1 WHERE sequence = 7"),
                               std::string("UPDATE redoubt_log SET hash = 'x' WHERE sequence = 7"),
                               std::string("DELETE FROM redoubt_log WHERE sequence = 7"));
  sql(dir / "w", damage);
  const auto check = workspace.verify_log();
  INFO(check.reason);
  CHECK_FALSE(check.intact);
  CHECK((check.first_bad == 7 || check.first_bad == 8));
}

TEST_CASE("a cut end of the log is found with a head that was kept elsewhere") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w");
  for (int i = 0; i < 5; ++i) workspace.append_log("note", std::to_string(i));
  const auto head = workspace.log_head();
  sql(dir / "w", "DELETE FROM redoubt_log WHERE sequence = 5");
  CHECK(workspace.verify_log().intact);
  CHECK_FALSE(workspace.verify_log(head).intact);
}

TEST_CASE("runs and stages that are dropped are recorded as failed") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w");
  {
    auto run = workspace.begin_run("dropped");
    auto stage = run.begin_stage("train");
  }
  CHECK(workspace.runs().at(0).state == "failed");
  CHECK(workspace.lineage_graph().nodes.at(0).detail == "failed");
  auto run = workspace.begin_run("twice");
  CHECK(run.complete().missing().size() >= 3);  // no data, no model, no metrics
  CHECK(code_of([&] { run.complete(); }) == errc::invalid_argument);
  CHECK(code_of([&] { run.begin_stage("late"); }) == errc::invalid_argument);
}

TEST_CASE("bad input to a stage is refused and changes nothing") {
  test::TempDir dir;
  auto workspace = Workspace::open(dir / "w");
  auto run = workspace.begin_run("bad");
  auto stage = run.begin_stage("train");
  const auto head = workspace.log_head();
  CHECK(code_of([&] { stage.verdict("v", "{not json"); }) == errc::parse_error);
  CHECK(code_of([&] { stage.input(sample_model(sample_rows(100, 1))); }) == errc::not_found);
  CHECK(workspace.log_head() == head);
  CHECK(sql(dir / "w", "SELECT COUNT(*) FROM Event").at(0) == "0");
  stage.metric("undefined", std::nan(""));
  stage.complete();
  const auto manifest = run.complete();
  CHECK(std::isnan(manifest.metrics.at("train.undefined")));
  CHECK(std::isnan(workspace.manifest(run.id()).metrics.at("train.undefined")));
}

TEST_CASE("a process killed while writing leaves a consistent workspace") {
  test::TempDir dir;
  Workspace::open(dir / "w");
  const auto data = sample_rows(200, 1);
  for (int round = 0; round < 3; ++round) {
    const pid_t child = ::fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      auto workspace = Workspace::open(dir / "w");
      for (int i = 0;; ++i) {
        auto run = workspace.begin_run("victim");
        auto stage = run.begin_stage("read");
        stage.input(sample_rows(50, static_cast<std::uint64_t>(i)), {.name = "d", .origin = "x"});
        stage.metric("m", i);
        stage.complete();
        run.complete();
      }
    }
    ::usleep(60'000 + 35'000 * round);
    ::kill(child, SIGKILL);
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    REQUIRE(WIFSIGNALED(status));
  }
  auto workspace = Workspace::open(dir / "w");
  const auto check = workspace.verify_log();
  INFO(check.reason);
  CHECK(check.intact);
  CHECK(check.entries > 10);
  CHECK(sql(dir / "w", "PRAGMA integrity_check").at(0) == "ok");
  // Every event has its artifact, stage and path; every complete run has a readable manifest.
  CHECK(sql(dir / "w",
            "SELECT COUNT(*) FROM Event WHERE artifact_id NOT IN (SELECT id FROM Artifact) OR execution_id NOT "
            "IN (SELECT id FROM Execution) OR id NOT IN (SELECT event_id FROM EventPath)")
            .at(0) == "0");
  std::size_t complete = 0;
  for (const auto& run : workspace.runs())
    if (run.state == "complete") {
      ++complete;
      CHECK(workspace.manifest(run.id).datasets.size() == 1);
      CHECK_FALSE(workspace.rows_of(workspace.manifest(run.id).datasets[0].hash).ids.empty());
    }
  CHECK(complete > 0);
  CHECK_NOTHROW(record_run(workspace, data, sample_rows(50, 9, 0, 1000), "after.csv"));
}
