#include "redoubt/lifecycle/goal.hpp"

#include <catch2/catch.hpp>
#include <fstream>

#include "redoubt/core/error.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {
std::string message_of(const std::string& text) {
  try {
    Goal::from_json(text, "goal.json");
  } catch (const Error& error) {
    CHECK(error.code() == errc::parse_error);
    return error.what();
  }
  return "";
}
}  // namespace

TEST_CASE("a goal is read with its defaults and written back") {
  const auto goal = Goal::from_json(R"({"target": "genuine", "metric": "roc_auc", "threshold": 0.9})");
  CHECK(goal.target == "genuine");
  CHECK(goal.threshold == 0.9);
  CHECK(goal.latency_budget_us == 0);
  CHECK(goal.max_canary_flips < 0);
  CHECK(Goal::from_json(goal.to_json()) == goal);

  const auto full = Goal::from_json(R"({"target": "y", "metric": "rmse", "threshold": 2, "latency_budget_us": 500,
    "max_regression": 0.1, "max_canary_flips": 0.02, "slices": ["country"], "min_slice": 3, "min_slice_rows": 10})");
  CHECK(full.slices == std::vector<std::string>{"country"});
  CHECK(Goal::from_json(full.to_json()) == full);
  CHECK(lower_is_better(full.metric));
  CHECK_FALSE(lower_is_better("roc_auc"));
}

TEST_CASE("a broken goal is refused with its place") {
  CHECK(message_of("{\"target\": \"y\",\n \"metric\": }").find("goal.json:2:") == 0);
  CHECK(message_of("").find("goal.json:1:1") == 0);
  CHECK(message_of("[]").find("must be a JSON object") != std::string::npos);
  CHECK(message_of(R"({"target": "y", "metric": "f1"})").find("\"threshold\" is missing") != std::string::npos);
  CHECK(message_of("{\"target\": \"y\", \"metric\": \"f1\",\n\"threshold\": 1,\n  \"treshold\": 2}")
            .find("goal.json:3:3: key \"treshold\" is unknown") == 0);
  CHECK(message_of(R"({"target": "y", "target": "z", "metric": "f1", "threshold": 1})").find("given twice") !=
        std::string::npos);
  CHECK(message_of(R"({"target": "y", "metric": "f1", "threshold": "high"})").find("must be a number") !=
        std::string::npos);
  CHECK(message_of(R"({"target": "", "metric": "f1", "threshold": 1})").find("non-empty") != std::string::npos);
  CHECK(message_of(R"({"target": "y", "metric": "f1", "threshold": 1, "latency_budget_us": -1})").find("outside") !=
        std::string::npos);
  CHECK(message_of(R"({"target": "y", "metric": "f1", "threshold": 1, "slices": ["a"]})")
            .find("\"min_slice\" is missing") != std::string::npos);
}

TEST_CASE("a goal file is read, a missing one is not found") {
  test::TempDir dir;
  std::ofstream(dir / "goal.json") << R"({"target": "y", "metric": "r2", "threshold": 0.5})";
  CHECK(Goal::read(dir / "goal.json").metric == "r2");
  try {
    Goal::read(dir / "none.json");
    FAIL("a missing file was read");
  } catch (const Error& error) {
    CHECK(error.code() == errc::not_found);
  }
}
