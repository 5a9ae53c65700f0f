#include "redoubt/robustness/certify/certified_accuracy.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/nn/mlp.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "redoubt/trees/random_forest.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

TEST_CASE("certified accuracy falls from the clean accuracy, for every form", "[certified_accuracy][threads]") {
  const Dataset data = generate_blobs({.rows = 300, .features = 5, .classes = 3, .spread = 1.3, .seed = 8});
  Arena one(1), two(2);
  const auto check = [&](const Model& model, const std::string& method) {
    CAPTURE(method);
    CertificationOptions options{.radii = {0, 0.02, 0.2, 1.0}, .max_rows = 0, .max_states = 3000, .arena = &one};
    const CertifiedAccuracy report = certify(model, data, options);
    options.arena = &two;
    CHECK(certify(model, data, options) == report);
    CHECK(report.method == method);
    CHECK(report.rows == 300);
    REQUIRE(report.points.size() == 4);
    CHECK(report.points[0].certified == Approx(model.evaluate(data).value("accuracy")));
    CHECK(report.points[0].certified + report.points[0].broken == Approx(1));
    for (std::size_t i = 1; i < 4; ++i) {
      CHECK(report.points[i].certified <= report.points[i - 1].certified);
      CHECK(report.points[i].broken >= report.points[i - 1].broken);
      CHECK(report.points[i].certified + report.points[i].broken <= 1 + 1e-12);
    }
    CHECK(report.points[1].certified > 0.5);
    CHECK(report.points[3].broken > 0.3);
    CHECK(report.verdict(0.02, 0.01).outcome == Outcome::pass);
    CHECK(report.verdict(1.0, 0.99).outcome == Outcome::block);
    CHECK(report.verdict(-1, 0.5).outcome == Outcome::abstain);
    std::ostringstream text;
    text << report;
    CHECK(text.str().find("proved") != std::string::npos);
    CHECK(nlohmann::json::parse(report.to_json())["rows"] == 300);
    return report;
  };
  check(GradientBoosting{{.trees = 15, .max_leaves = 8}}.fit(data), "search over the trees");
  check(RandomForest{{.trees = 10, .max_leaves = 16}}.fit(data), "search over the trees");
  const auto linear = check(LogisticRegression{}.fit(data), "exact");
  for (const auto& p : linear.points) CHECK(p.certified + p.broken == Approx(1));
  const Model mlp = Mlp{{.hidden = {16, 16}, .epochs = 10, .batch = 32, .patience = 0}}.fit(data);
  const auto network = check(mlp, "linear bounds");
  const CertificationOptions fast{.radii = {0, 0.02, 0.2, 1.0}, .max_rows = 0, .crown = false, .attack_steps = 0};
  const auto quick = certify(mlp, data, fast);
  for (std::size_t i = 0; i < 4; ++i) CHECK(quick.points[i].certified <= network.points[i].certified);
  CHECK(quick.points[2].certified < network.points[2].certified);
  // What intervals do not settle at a large radius, the attack mostly does.
  CHECK(network.points[3].certified < network.points[3].broken);
}

TEST_CASE("whole numbers, ranges and categories limit the attacker", "[certified_accuracy]") {
  // The label is n > 2; n is whole, so that a move of less than 1 changes nothing.
  std::string text = "n,c,y\n";
  for (int i = 0; i < 200; ++i)
    text += std::to_string(i % 6) + "," + (i % 2 ? "a" : "b") + "," + (i % 6 > 2 ? "yes" : "no") + "\n";
  const Dataset data = read_csv_text(text, {.target = "y"});
  const double deviation = std::sqrt(35.0 / 12);
  for (const Model& model : {GradientBoosting{{.trees = 10}}.fit(data), LogisticRegression{{.l2 = 1e-3}}.fit(data)}) {
    const auto report = certify(model, data, {.radii = {0, 0.9 / deviation, 1.1 / deviation}});
    CHECK(report.points[0].certified == 1);
    CHECK(report.points[1].certified == 1);
    CHECK(report.points[2].broken == Approx(1.0 / 3).margin(0.02));
  }
}

TEST_CASE("what cannot be certified is an error", "[certified_accuracy]") {
  const Dataset data = generate_blobs({.rows = 60, .seed = 1});
  const Model model = GradientBoosting{{.trees = 2}}.fit(data);
  CHECK_THROWS_AS(certify(model, data, {.radii = {0.2, 0.1}}), Error);
  CHECK_THROWS_AS(certify(model, data, {.radii = {}}), Error);
  CHECK_THROWS_AS(certify(model, data, {.attack_steps = -1}), Error);
  const Dataset values = read_csv_text("a,y\n1,0.5\n2,1.5\n3,2.5\n4,1\n", {.target = "y", .task = Task::regression});
  CHECK_THROWS_AS(certify(GradientBoosting{{.trees = 2}}.fit(values), data), Error);
  CHECK_THROWS_AS(certify(model, values), Error);
}

TEST_CASE("robust splits lower the verified error on real mail at little cost", "[certified_accuracy]") {
  REDOUBT_NEED_DATA(path, "uci_arff/spambase.arff");
  const auto [train, test] = read_arff(path, {.target = "class"}).split(0.3, 1);
  const CertificationOptions options{.radii = {0, 0.1, 0.2}, .max_rows = 300};
  const auto of = [&](double radius) {
    const GradientBoosting trees{{.trees = 20, .max_leaves = 8, .robust_radius = radius}};
    return certify(trees.fit(train), test, options).points;
  };
  const auto plain = of(0), robust = of(0.3);
  CHECK(robust[0].certified > plain[0].certified - 0.03);
  CHECK(1 - robust[1].certified < 0.5 * (1 - plain[1].certified));
  CHECK(1 - robust[2].certified < 0.4);
  CHECK(1 - plain[2].certified > 0.8);
}
