#include "redoubt/linear/ridge.hpp"

#include <cmath>
#include <limits>
#include <vector>

#include "linear/golden.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using namespace redoubt::test;

namespace {

/// y = x w + b + noise on random rows.
Dataset linear_data(std::size_t rows, std::size_t cols, double noise, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> x{rows, cols};
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  std::vector<double> y(rows, 4.0);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < cols; ++c) y[r] += (static_cast<double>(c % 7) - 3) * x(r, c);
    y[r] += noise * random.normal();
  }
  return Dataset::from_matrix(x, std::span<const double>(y));
}

}  // namespace

TEST_CASE("Ridge: coefficients equal scikit-learn's", "[ridge]") {
  REDOUBT_NEED_DATA(path, "uci_arff/cal.housing.arff");
  const Dataset housing = read_arff(path);
  require_golden(Ridge{{.l2 = 1.0}}.fit(housing), "housing_standardised");
  require_golden(Ridge{{.l2 = 1.0, .encoder = raw_numbers()}}.fit(housing), "housing_raw");
  require_golden(Ridge{{.l2 = 0.0}}.fit(housing), "housing_none");
  require_golden(Ridge{{.l2 = 100.0}}.fit(with_weights(housing)), "housing_weighted");
}

TEST_CASE("Ridge: recovers what made the data, and evaluates", "[ridge]") {
  const Dataset data = linear_data(500, 5, 0.0, 1);
  const Model model = Ridge{{.l2 = 0.0, .encoder = raw_numbers()}}.fit(data);
  const auto& form = dynamic_cast<const LinearForm&>(model.predictor());
  for (std::size_t c = 0; c < 5; ++c) CHECK(form.weights()(c, 0) == Approx(static_cast<double>(c) - 3).margin(1e-5));
  CHECK(form.bias()[0] == Approx(4).margin(1e-5));
  CHECK(model.task() == Task::regression);
  CHECK(model.info().algorithm == "ridge");
  CHECK(model.evaluate(data).value("r2") == Approx(1).margin(1e-9));
}

TEST_CASE("Ridge: the solver for wide inputs reaches the minimum", "[ridge]") {
  // 2100 columns go to L-BFGS.
  const Dataset wide = linear_data(60, 2100, 0.5, 2);
  const Model model = Ridge{{.l2 = 50.0, .encoder = raw_numbers()}}.fit(wide);
  const auto& form = dynamic_cast<const LinearForm&>(model.predictor());
  // At the minimum the gradient vanishes: X'(y - Xw - b) = l2 w, sum of residuals 0.
  const Tensor<float> x = model.encoder().apply(wide);
  std::vector<double> residuals(60);
  double sum = 0;
  for (std::size_t r = 0; r < 60; ++r) {
    float score = 0;
    form.scores(x.row(r), {&score, 1});
    residuals[r] = wide.targets()[r] - score;
    sum += residuals[r];
  }
  CHECK(sum == Approx(0).margin(1e-3));
  for (std::size_t c = 0; c < 2100; c += 37) {
    double gradient = 0;
    for (std::size_t r = 0; r < 60; ++r) gradient += residuals[r] * x(r, c);
    CHECK(gradient == Approx(50.0 * form.weights()(c, 0)).margin(2e-3));
  }
}

TEST_CASE("Ridge: collinear and constant columns have finite, equal shares", "[ridge]") {
  const Dataset base = linear_data(100, 1, 0.0, 3);
  Tensor<float> x{std::size_t{100}, std::size_t{3}};
  for (std::size_t r = 0; r < 100; ++r) {
    x(r, 0) = x(r, 1) = static_cast<float>(base.column(0).numbers[r]);
    x(r, 2) = 5.0f;
  }
  const Dataset data = Dataset::from_matrix(x, base.targets());
  const Model model = Ridge{{.l2 = 0.0, .encoder = raw_numbers()}}.fit(data);
  const auto& form = dynamic_cast<const LinearForm&>(model.predictor());
  CHECK(form.weights()(0, 0) == Approx(-1.5).margin(1e-4));
  CHECK(form.weights()(1, 0) == Approx(-1.5).margin(1e-4));
  CHECK(form.weights()(2, 0) == Approx(0).margin(1e-6));
}

TEST_CASE("Ridge: equal bytes at any thread count", "[ridge][threads]") {
  const Dataset data = linear_data(3000, 150, 1.0, 4);
  Arena one(1), four(4);
  CHECK(Ridge{{.arena = &one}}.fit(data).to_bytes() == Ridge{{.arena = &four}}.fit(data).to_bytes());
}

TEST_CASE("Ridge: bad input is refused with its place", "[ridge]") {
  const Dataset data = linear_data(20, 2, 0.1, 5);
  CHECK_THROWS_WITH(Ridge{{.l2 = -1}}.fit(data), Catch::Contains("l2 is -1"));
  CHECK_THROWS_WITH(Ridge{{.l2 = std::nan("")}}.fit(data), Catch::Contains("l2"));
  try {
    Ridge{}.fit(data.seal());
    FAIL("sealed data was accepted");
  } catch (const Error& error) {
    CHECK(error.code() == errc::refused);
  }
  Column missing = data.column(1);
  missing.numbers[7] = std::numeric_limits<double>::quiet_NaN();
  EncoderOptions raw;
  CHECK_THROWS_WITH((Ridge{{.encoder = raw}}.fit(data.with_column(missing))),
                    Catch::Contains("row id 7") && Catch::Contains("f1"));
  CHECK_NOTHROW(Ridge{}.fit(data.with_column(missing)));  // imputed by default
  const std::vector<std::int32_t> labels(20, 0);
  Tensor<float> x{std::size_t{20}, std::size_t{1}};
  CHECK_THROWS_AS(Ridge{}.fit(Dataset::from_matrix(x, std::span<const std::int32_t>(labels))), Error);
}
