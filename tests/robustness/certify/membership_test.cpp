#include "redoubt/robustness/certify/membership.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/robustness/calibrate.hpp"
#include "redoubt/robustness/certify/partition_ensemble.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;

namespace {

/// Two overlapping classes; a model can only be sure of single rows by heart.
Dataset overlapping(std::uint64_t seed, std::size_t rows, double apart = 0.5) {
  Random random(seed, 0);
  std::vector<std::vector<double>> x(4);
  std::vector<std::int32_t> label;
  for (std::size_t r = 0; r < rows; ++r) {
    label.push_back(static_cast<std::int32_t>(random.below(2)));
    for (auto& column : x) column.push_back(random.normal() + apart * label.back());
  }
  return Dataset({test::numeric("a", x[0]), test::numeric("b", x[1]), test::numeric("c", x[2]),
                  test::numeric("d", x[3]), test::categorical("class", {"no", "yes"}, label, ColumnRole::target)});
}

const GradientBoosting by_heart{{.trees = 60, .learning_rate = 0.3, .max_leaves = 31, .min_leaf_rows = 1, .l2 = 0}};
const GradientBoosting regularised{{.trees = 5, .learning_rate = 0.1, .max_leaves = 2, .min_leaf_rows = 80, .l2 = 10}};

}  // namespace

TEST_CASE("models that learn by heart give their rows away, regularised ones hardly do", "[membership]") {
  const Dataset data = overlapping(1, 2400);
  const PartitionOptions partitions{.partitions = 12};
  const auto leaks = membership_inference(PartitionEnsemble::fit(data, by_heart, partitions), data);
  CHECK(leaks.models == 12);
  CHECK(leaks.members == 2400);
  CHECK(leaks.others == 11 * 2400);
  CHECK(leaks.auc > 0.75);
  CHECK(leaks.tpr_at_1 > 0.05);
  CHECK(leaks.tpr_at_1 >= leaks.tpr_at_01);
  const auto quiet = membership_inference(PartitionEnsemble::fit(data, regularised, partitions), data);
  CHECK(quiet.auc < 0.56);
  CHECK(quiet.tpr_at_1 < 0.03);
  MembershipReport told;
  told.tpr_at_01 = 0.02;
  CHECK(told.verdict(0.01).outcome == Outcome::warn);
  CHECK(told.verdict(0.03).outcome == Outcome::pass);
  CHECK(quiet.verdict(0.01).outcome == Outcome::pass);

  CHECK(leaks.curve.size() <= 200);
  CHECK(leaks.curve.back() == std::pair<double, double>(1, 1));
  CHECK(std::is_sorted(leaks.curve.begin(), leaks.curve.end()));
  const auto json = nlohmann::json::parse(leaks.to_json());
  CHECK(json["auc"] == leaks.auc);
  CHECK(json["exposed"].size() == leaks.exposed.size());
  std::ostringstream text;
  text << leaks;
  CHECK_THAT(text.str(), Catch::Contains("12 models") && Catch::Contains("AUC"));
}

TEST_CASE("rows that no model was trained on are not told from others", "[membership]") {
  const auto ensemble = PartitionEnsemble::fit(overlapping(1, 2400), by_heart, {.partitions = 12});
  for (const std::uint64_t seed : {2, 3, 4}) {
    const auto report = membership_inference(ensemble, overlapping(seed, 2400));
    CHECK(report.auc == Approx(0.5).margin(0.025));  // four standard errors of the AUC with 2400 members
    CHECK(report.tpr_at_01 <= 0.005);
    CHECK(report.verdict().outcome == Outcome::pass);
  }
}

TEST_CASE("rows with a wrong label are the ones given away", "[membership]") {
  const Dataset clear = overlapping(5, 1500, 3);
  const PlantedFlips planted = plant_flips(clear, {.flip_rate = 0.02});
  const std::set<RowId> wrong(planted.random.begin(), planted.random.end());
  const auto ensemble = PartitionEnsemble::fit(planted.data, by_heart, {.partitions = 10});
  const auto report = membership_inference(ensemble, planted.data, {.max_exposed = 10});
  REQUIRE(report.exposed.size() >= 5);
  std::size_t hits = 0;
  for (const ExposedRow& e : report.exposed) hits += wrong.contains(e.row);
  CHECK(10 * hits >= 7 * report.exposed.size());  // they are 2 % of the rows
  CHECK(report.verdict().findings.size() == report.exposed.size());
}

TEST_CASE("membership is equal at any thread count, and says what it cannot look at", "[membership][threads]") {
  const Dataset data = overlapping(7, 300);
  const auto ensemble = PartitionEnsemble::fit(data, regularised, {.partitions = 6});
  Arena one(1), four(4);
  const auto report = membership_inference(ensemble, data, {.arena = &one});
  CHECK(report == membership_inference(ensemble, data, {.arena = &four}));
  CHECK(membership_inference(ensemble, data, {.max_rows = 50}).members == 50);
  CHECK_THROWS_AS(membership_inference(ensemble, Dataset()), Error);
  CHECK_THROWS_WITH(membership_inference(PartitionEnsemble::fit(data, regularised, {.partitions = 3}), data),
                    Catch::Contains("4 are needed"));
  CHECK_THROWS_AS(report.verdict(2), Error);
}
