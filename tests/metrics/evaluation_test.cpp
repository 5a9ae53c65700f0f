#include "redoubt/metrics/evaluation.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "metrics/golden_inputs.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/metrics/regression.hpp"

using namespace redoubt;

namespace {

const test::GoldenInputs inputs;
const std::vector<std::string> five{"a", "b", "c", "d", "e"};

Tensor<float> floats(const Tensor<double>& values) {
  Tensor<float> result(values.shape());
  std::copy(values.flat().begin(), values.flat().end(), result.flat().begin());
  return result;
}

/// Two columns of probabilities from the tied scores, which are exact in float.
Tensor<float> two_columns() {
  Tensor<float> result{test::golden_rows, 2};
  for (std::size_t i = 0; i < test::golden_rows; ++i) {
    result(i, 1) = static_cast<float>(inputs.ties[i]);
    result(i, 0) = 1 - result(i, 1);
  }
  return result;
}

const Tensor<float> binary_probabilities = two_columns();

}  // namespace

TEST_CASE("a binary evaluation holds every metric, about the last class", "[evaluation]") {
  for (const bool weighted : {false, true}) {
    const std::span<const double> w = weighted ? std::span<const double>(inputs.weights) : std::span<const double>();
    const std::string tag = weighted ? ".ties.weighted" : ".ties";
    const auto evaluation =
        Evaluation::classification({"honest", "bought"}, inputs.binary_truth, binary_probabilities, w);
    for (const char* name : {"roc_auc", "pr_auc", "brier", "log_loss"})
      CHECK(evaluation.value(name) == Approx(test::golden(name + tag)).margin(1e-9).epsilon(0));
    CHECK(evaluation.value("recall") == evaluation.value("recall.bought"));
    CHECK(evaluation.value("accuracy") == evaluation.confusion().accuracy());
    CHECK(evaluation.value("precision.honest") == evaluation.confusion().precision(0));
    CHECK(evaluation.value("calibration_error") == calibration_error(evaluation.reliability()));
    CHECK(evaluation.reliability().size() == 15);
    CHECK(evaluation.roc() == roc_curve(inputs.binary_truth, inputs.ties, w));
    CHECK(evaluation.rows() == test::golden_rows);
    CHECK(evaluation.task() == Task::classification);
    for (const std::string& name : evaluation.names()) {
      INFO(name);
      REQUIRE(evaluation.has_interval(name));
      const Interval interval = evaluation.interval(name);
      // A value of exactly 0 or 1 (no false alarm here) is the same in every resample.
      const bool settled = evaluation.value(name) == 0 || evaluation.value(name) == 1;
      CHECK((interval.low < interval.high) == !settled);
      if (name != "calibration_error") {  // resampling adds noise, which this metric counts as error
        CHECK(interval.low <= evaluation.value(name));
        CHECK(interval.high >= evaluation.value(name));
      }
    }
  }
}

TEST_CASE("an evaluation of several classes averages one against the rest", "[evaluation]") {
  const Tensor<float> probabilities = floats(inputs.probabilities);
  const auto evaluation = Evaluation::classification(five, inputs.truth, probabilities);
  for (const char* name : {"roc_auc", "pr_auc", "brier", "log_loss"})
    CHECK(evaluation.value(name) == Approx(test::golden(name + std::string(".multi"))).margin(1e-6));
  CHECK(evaluation.value("accuracy") == test::golden("accuracy"));
  CHECK(evaluation.value("f1.c") == Approx(test::golden("f1.2")));
  CHECK_FALSE(evaluation.has("recall"));
  CHECK(evaluation.roc().empty());
  CHECK(evaluation.confusion().total() == test::golden_rows);
}

TEST_CASE("a regression evaluation", "[evaluation]") {
  const auto evaluation = Evaluation::regression(inputs.values, inputs.predicted, inputs.weights);
  CHECK(evaluation.names() == std::vector<std::string>{"mae", "r2", "rmse"});
  CHECK(evaluation.value("rmse") == rmse(inputs.values, inputs.predicted, inputs.weights));
  CHECK(evaluation.interval("r2").low < evaluation.value("r2"));
  CHECK(evaluation.confusion().classes == 0);
  CHECK(evaluation.task() == Task::regression);
}

TEST_CASE("an evaluation is the same at any thread count, and without intervals when told so",
          "[evaluation][threads]") {
  Arena one(1), four(4);
  const auto first =
      Evaluation::classification({"n", "p"}, inputs.binary_truth, binary_probabilities, inputs.weights, {}, &one);
  const auto second =
      Evaluation::classification({"n", "p"}, inputs.binary_truth, binary_probabilities, inputs.weights, {}, &four);
  CHECK(first.to_json() == second.to_json());
  const EvaluationOptions bare{.bootstrap = {.resamples = 0}};
  const auto third = Evaluation::classification({"n", "p"}, inputs.binary_truth, binary_probabilities, {}, bare);
  CHECK_FALSE(third.has_interval("roc_auc"));
  CHECK_THROWS_AS(third.interval("roc_auc"), Error);
}

TEST_CASE("a holdout with one class alone is evaluated as far as it goes", "[evaluation]") {
  const std::array<std::int32_t, 3> truth{0, 0, 0};
  Tensor<float> p{3, 2};
  for (std::size_t i = 0; i < 3; ++i) p(i, 0) = 1;
  const auto evaluation = Evaluation::classification({"n", "p"}, truth, p);
  CHECK(evaluation.value("accuracy") == 1.0);
  CHECK(std::isnan(evaluation.value("roc_auc")));
  CHECK(evaluation.roc().empty());
  const auto json = nlohmann::json::parse(evaluation.to_json());
  CHECK(json["metrics"]["roc_auc"]["value"].is_null());
}

TEST_CASE("an evaluation reads well as text and as JSON", "[evaluation]") {
  const auto evaluation =
      Evaluation::classification({"honest", "bought \xff"}, inputs.binary_truth, binary_probabilities);
  std::ostringstream text;
  text << evaluation;
  CHECK(text.str().find("classification on 500 rows") == 0);
  CHECK(text.str().find("roc_auc") != std::string::npos);
  CHECK(text.str().find("true \\ predicted") != std::string::npos);
  const auto json = nlohmann::json::parse(evaluation.to_json());
  CHECK(json["rows"] == 500);
  CHECK(json["metrics"]["roc_auc"]["value"] == evaluation.value("roc_auc"));
  CHECK(json["metrics"]["roc_auc"]["interval"][0] == evaluation.interval("roc_auc").low);
  CHECK(json["confusion"][1][0] == evaluation.confusion()(1, 0));
  CHECK(json["reliability"].size() == 15);
  std::ostringstream empty;
  empty << Evaluation();
  CHECK(empty.str() == "none on 0 rows");
}

TEST_CASE("evaluations refuse what does not fit and name what exists", "[evaluation]") {
  const auto& p = binary_probabilities;
  CHECK_THROWS_WITH(Evaluation::classification({"one"}, inputs.binary_truth, p),
                    "classification needs at least 2 classes, got 1");
  CHECK_THROWS_WITH(Evaluation::classification(five, inputs.truth, p), "2 columns of probabilities for 5 classes");
  CHECK_THROWS_WITH(Evaluation::classification({"n", "p"}, std::span(inputs.binary_truth).first(9), p),
                    "500 rows of probabilities for 9 true values");
  const auto evaluation = Evaluation::regression(inputs.values, inputs.predicted);
  CHECK_THROWS_WITH(evaluation.value("auc"), "there is no metric \"auc\"; there are: mae, r2, rmse");
}
