#include "redoubt/robustness/evasion/sensitivity.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <sstream>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

using namespace redoubt;

namespace {

struct Fitted {
  Dataset test = generate_blobs({.rows = 300, .features = 4, .classes = 3, .seed = 4});
  Model model = GradientBoosting{{.trees = 20}}.fit(test.take([] {
    std::vector<std::size_t> rows;
    for (std::size_t r = 0; r < 150; ++r) rows.push_back(r);
    return rows;
  }()));
};

const SensitivityCurve& curve(const SensitivityReport& report, Perturbation kind) {
  for (const auto& c : report.curves)
    if (c.perturbation == kind) return c;
  throw std::runtime_error("no such curve");
}

}  // namespace

TEST_CASE("size zero is the clean score exactly and large sizes hurt", "[sensitivity]") {
  const Fitted f;
  const auto report = sensitivity(f.model, f.test, {.sizes = {0, 0.3, 3}, .max_rows = 0});
  CHECK(report.metric == "accuracy");
  CHECK(report.rows == 300);
  CHECK(report.clean == f.model.evaluate(f.test).value("accuracy"));
  REQUIRE(report.curves.size() == 3);
  for (const auto& c : report.curves) {
    CAPTURE(to_string(c.perturbation));
    CHECK(c.points[0].metric == report.clean);
    CHECK(c.points[0].changed == 0);
    CHECK(c.points[2].metric < report.clean - 0.1);
    CHECK(c.points[2].changed > 0.1);
  }
}

TEST_CASE("the search never gets weaker as the box grows and beats noise", "[sensitivity]") {
  const Fitted f;
  const auto report = sensitivity(f.model, f.test, {.sizes = {0.1, 0.2, 0.4, 0.8}, .tries = 15});
  const auto& search = curve(report, Perturbation::search).points;
  const auto& noise = curve(report, Perturbation::noise).points;
  for (std::size_t i = 1; i < search.size(); ++i) CHECK(search[i].metric <= search[i - 1].metric);
  CHECK(search.back().metric < noise.back().metric);
}

TEST_CASE("curves are equal for equal seeds at any thread count", "[sensitivity][threads]") {
  const Fitted f;
  Arena one(1), two(2);
  const auto a = sensitivity(f.model, f.test, {.max_rows = 100, .seed = 3, .arena = &one});
  const auto b = sensitivity(f.model, f.test, {.max_rows = 100, .seed = 3, .arena = &two});
  const auto c = sensitivity(f.model, f.test, {.max_rows = 100, .seed = 4, .arena = &two});
  CHECK(a == b);
  CHECK_FALSE(a == c);
  CHECK(a.rows == 100);
}

TEST_CASE("regression is measured by its error, which grows", "[sensitivity]") {
  std::vector<double> x, y;
  for (int i = 0; i < 300; ++i) x.push_back(i % 60), y.push_back(2.0 * (i % 60));
  const Dataset data({Column{{"x", ColumnType::numeric, ColumnRole::feature, {}}, x, {}, {}, {}},
                      Column{{"y", ColumnType::numeric, ColumnRole::target, {}}, y, {}, {}, {}}});
  const Model model = GradientBoosting{{.trees = 50}}.fit(data);
  const auto report = sensitivity(model, data, {.sizes = {0, 1}});
  CHECK(report.metric == "rmse");
  for (const auto& c : report.curves) {
    CHECK(c.points[0].metric == report.clean);
    CHECK(c.points[1].metric > report.clean + 5);
  }
  CHECK(report.verdict(1, 0.1).outcome == Outcome::block);
  CHECK(report.verdict(0, 0.1).outcome == Outcome::pass);
}

TEST_CASE("the verdict blocks on what is lost up to a size", "[sensitivity]") {
  const Fitted f;
  const auto report = sensitivity(f.model, f.test, {.sizes = {0, 3}});
  CHECK(report.verdict(0, 0.0).outcome == Outcome::pass);
  CHECK(report.verdict(3, 0.05).outcome == Outcome::block);
  CHECK(report.verdict(3, 1.0).outcome == Outcome::pass);
  CHECK(SensitivityReport{}.verdict(1, 0.1).outcome == Outcome::abstain);
  std::ostringstream text;
  text << report;
  CHECK_THAT(text.str(), Catch::Contains("search") && Catch::Contains("clean"));
  CHECK_THAT(report.to_json(), Catch::Contains("\"perturbation\":\"noise\""));
}

TEST_CASE("bad options and data without targets are errors", "[sensitivity]") {
  const Fitted f;
  CHECK_THROWS_WITH(sensitivity(f.model, f.test, {.sizes = {}}), Catch::Contains("sizes"));
  CHECK_THROWS_WITH(sensitivity(f.model, f.test, {.sizes = {1, 0.5}}), Catch::Contains("sizes[1]"));
  CHECK_THROWS_WITH(sensitivity(f.model, f.test, {.sizes = {-1}}), Catch::Contains("sizes[0]"));
  CHECK_THROWS_WITH(sensitivity(f.model, f.test, {.perturbations = {}}), Catch::Contains("perturbations"));
  CHECK_THROWS_WITH(sensitivity(f.model, f.test, {.tries = 0}), Catch::Contains("tries"));
  CHECK_THROWS_WITH(sensitivity(f.model, f.test, {.metric = "no"}), Catch::Contains("no"));
  CHECK_THROWS_AS(sensitivity(f.model, Dataset()), Error);
}
