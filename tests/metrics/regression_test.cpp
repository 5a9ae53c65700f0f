#include "redoubt/metrics/regression.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>

#include "metrics/golden_inputs.hpp"
#include "redoubt/core/error.hpp"

using namespace redoubt;

TEST_CASE("regression metrics equal scikit-learn's to 1e-9", "[regression]") {
  const test::GoldenInputs inputs;
  for (const bool weighted : {false, true}) {
    const std::span<const double> w = weighted ? std::span<const double>(inputs.weights) : std::span<const double>();
    const std::string tag = weighted ? ".weighted" : "";
    const auto golden = [&](const std::string& name) {
      return Approx(test::golden(name + tag)).margin(1e-9).epsilon(0);
    };
    CHECK(rmse(inputs.values, inputs.predicted, w) == golden("rmse"));
    CHECK(mae(inputs.values, inputs.predicted, w) == golden("mae"));
    CHECK(r2(inputs.values, inputs.predicted, w) == golden("r2"));
  }
}

TEST_CASE("r2 is 1 for perfect, 0 for the mean, NaN for a constant truth", "[regression]") {
  const std::array<double, 4> truth{1, 2, 3, 6}, mean{3, 3, 3, 3};
  CHECK(r2(truth, truth) == 1.0);
  CHECK(r2(truth, mean) == 0.0);
  CHECK(std::isnan(r2(mean, truth)));
  CHECK(rmse(mean, mean) == 0.0);
}

TEST_CASE("regression metrics refuse what does not fit", "[regression]") {
  const std::array<double, 2> truth{1, 2}, nan{1, std::nan("")};
  CHECK_THROWS_WITH(rmse(truth, std::array{1.0}), "1 predictions for 2 true values");
  CHECK_THROWS_WITH(mae(truth, nan), "row 1: truth 2 or prediction nan is not a number");
  CHECK_THROWS_AS(r2(truth, truth, std::array{0.0, 0.0}), Error);
  CHECK_THROWS_AS(rmse(std::span<const double>(), std::span<const double>()), Error);
}
