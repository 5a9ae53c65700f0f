#include "redoubt/robustness/certify/smoothing.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/linear/linear_form.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

using namespace redoubt;

namespace {

struct Case {
  explicit Case(const Model& m, const Dataset& data)
      : model(m), rows(model.encoder().apply(data)), labels(data.labels().begin(), data.labels().end()) {}
  Model model;
  Tensor<float> rows;
  std::vector<std::int32_t> labels;
};

Case linear_case() {
  const Dataset data = generate_blobs({.rows = 100, .features = 4, .classes = 2, .spread = 1.6, .seed = 5});
  return Case(LogisticRegression{}.fit(data), data);
}

}  // namespace

TEST_CASE("of a linear model the smoothed radius is below the true distance, and not far", "[smoothing]") {
  // The smoothed class of a half space is the half space's, and the exact radius is the distance to its border.
  const Case c = linear_case();
  const auto& model = c.model.predictor();
  // Gradient of the log odds by differences: the model is linear in them.
  const auto log_odds = [&](std::vector<float> x) {
    std::vector<float> p(2), scratch(model.scratch_size());
    model.predict(x, p, scratch);
    return std::log(static_cast<double>(p[1])) - std::log(static_cast<double>(p[0]));
  };
  std::vector<float> zero(model.inputs(), 0.0f);
  double norm = 0;
  for (std::size_t k = 0; k < zero.size(); ++k) {
    auto step = zero;
    step[k] = 1;
    norm += std::pow(log_odds(step) - log_odds(zero), 2);
  }
  norm = std::sqrt(norm);
  const auto predictions = smoothed_predict(model, c.rows, {.sigma = 0.5, .samples = 2000});
  std::size_t certified = 0, near = 0;
  for (std::size_t r = 0; r < predictions.size(); ++r) {
    const auto row = c.rows.row(r);
    const double odds = log_odds({row.begin(), row.end()}), distance = std::abs(odds) / norm;
    const SmoothedPrediction& p = predictions[r];
    CAPTURE(r, distance, p.radius, p.label, p.votes);
    if (p.label < 0) {
      CHECK(p.radius == 0);
      CHECK(distance < 0.1);
      continue;
    }
    ++certified;
    CHECK(p.label == (odds > 0));
    CHECK(p.radius <= distance * 1.02 + 0.01);  // the log odds of floats saturate far out
    if (distance < 0.8) {
      ++near;
      CHECK(p.radius > 0.7 * distance - 0.06);
    } else {
      CHECK(p.radius > 0.6);
    }
  }
  CHECK(certified > 80);
  CHECK(near > 5);
  CHECK(certified_share(predictions, c.labels, 0) >= certified_share(predictions, c.labels, 0.5));
  CHECK(certified_share(predictions, c.labels, 0.5) > 0.5);
}

TEST_CASE("smoothing works for trees, keeps rules, and is equal at any thread count", "[smoothing][threads]") {
  const Dataset data = generate_blobs({.rows = 40, .features = 3, .classes = 3, .spread = 0.8, .seed = 2});
  const Case c(GradientBoosting{{.trees = 10, .min_leaf_rows = 3}}.fit(data), data);
  Arena one(1), two(2);
  SmoothingOptions options{.sigma = 0.3, .samples = 300, .seed = 7, .arena = &one};
  const auto a = smoothed_predict(c.model.predictor(), c.rows, options);
  options.arena = &two;
  const auto b = smoothed_predict(c.model.predictor(), c.rows, options);
  for (std::size_t r = 0; r < a.size(); ++r) {
    CHECK(a[r].label == b[r].label);
    CHECK(a[r].radius == b[r].radius);
    CHECK(a[r].votes == b[r].votes);
  }
  CHECK(certified_share(a, c.labels, 0.1) > 0.4);
  // Without a column that may move, every copy is the row itself.
  options.rules.assign(3, {.fixed = true});
  for (const SmoothedPrediction& p : smoothed_predict(c.model.predictor(), c.rows, options)) CHECK(p.votes == 300);
}

TEST_CASE("smoothing refuses what has no classes or no sense", "[smoothing]") {
  const Case c = linear_case();
  const auto& model = c.model.predictor();
  CHECK_THROWS_AS(smoothed_predict(model, c.rows, {.sigma = 0}), Error);
  CHECK_THROWS_AS(smoothed_predict(model, c.rows, {.samples = 0}), Error);
  CHECK_THROWS_AS(smoothed_predict(model, c.rows, {.alpha = 1}), Error);
  CHECK_THROWS_AS(smoothed_predict(model, c.rows, {.rules = std::vector<FeatureRule>(2)}), Error);
  const Tensor<float> narrow({2, 3});
  CHECK_THROWS_AS(smoothed_predict(model, narrow, {}), Error);
  CHECK_THROWS_AS(certified_share({}, c.labels, 0), Error);
}
