#include "redoubt/lifecycle/manifest.hpp"

#include <catch2/catch.hpp>
#include <limits>

#include "redoubt/core/error.hpp"

using namespace redoubt;

namespace {
Manifest sample() {
  return {.run_id = "id",
          .run_name = "reviews",
          .state = "complete",
          .library_version = "0.1.0",
          .compiler = "gcc",
          .compiler_flags = "-O3",
          .isa = "avx2",
          .cpu = "some CPU",
          .code_commit = "abc",
          .parent_model = "",
          .datasets = {{"hash", "train", "a.csv", "train", "[]", 7}},
          .models = {{"mh", "gbt", "gradient_boosting", "trees=3", "hash", std::numeric_limits<std::uint64_t>::max()}},
          .metrics = {{"evaluate.auc", 0.1}, {"evaluate.rmse", std::numeric_limits<double>::infinity()}}};
}
}  // namespace

TEST_CASE("a manifest survives JSON bit for bit") {
  const auto before = sample();
  const auto after = Manifest::from_json(before.to_json());
  CHECK(after.to_json() == before.to_json());
  CHECK(after.models == before.models);
  CHECK(after.datasets == before.datasets);
  CHECK(after.metrics == before.metrics);
  CHECK(before.missing().empty());
}

TEST_CASE("a manifest names what is missing") {
  auto manifest = sample();
  manifest.code_commit.clear();
  manifest.datasets[0].origin.clear();
  manifest.metrics.clear();
  CHECK(manifest.missing() == std::vector<std::string>{"code_commit", "metrics", "datasets.train.origin"});
}

TEST_CASE("a broken manifest is refused with the field") {
  CHECK_THROWS_WITH(Manifest::from_json("[]"), Catch::Contains("not a JSON object"));
  CHECK_THROWS_WITH(Manifest::from_json("{}"), Catch::Contains("\"run_id\" is absent"));
  auto text = sample().to_json();
  text.replace(text.find("\"some CPU\""), 10, "5");
  CHECK_THROWS_WITH(Manifest::from_json(text), Catch::Contains("\"cpu\""));
}

TEST_CASE("diff lists every field that changed and nothing else") {
  const auto before = sample();
  auto after = sample();
  after.run_id = "other";
  after.metrics["evaluate.auc"] = 0.2;
  after.metrics["evaluate.new"] = 1;
  after.datasets.push_back({"hash2", "train", "b.csv", "train", "[]", 8});
  CHECK(diff(before, before).empty());
  const auto changes = diff(before, after);
  REQUIRE(changes.size() == 7);
  CHECK(changes[0].field == "datasets.train#2.hash");
  CHECK(changes[0].before.empty());
  CHECK(changes[5].field == "metrics.evaluate.auc");
  CHECK(changes[5].before == "0.1");
  CHECK(changes[5].after == "0.2");
}
