#include "redoubt/nn/compression.hpp"

#include <catch2/catch.hpp>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/neural_network.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

/// Two classes inside and outside of a ring in the first two of 8 columns. The first row may be all 0.
Dataset ring(std::size_t rows, std::uint64_t seed, bool first_at_zero = false) {
  Random random(seed);
  Tensor<float> x({rows, 8});
  std::vector<std::int32_t> y(rows);
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  if (first_at_zero) std::fill_n(x.data(), 8, 0.0f);
  for (std::size_t r = 0; r < rows; ++r) y[r] = x(r, 0) * x(r, 0) + x(r, 1) * x(r, 1) > 1.4f;
  return Dataset::from_matrix(x, std::span<const std::int32_t>(y));
}

Model trained(const Dataset& data, std::uint32_t units) {
  NeuralNetworkOptions options;
  options.epochs = 60;
  options.batch = 32;
  options.seed = 3;
  return NeuralNetwork(Sequential{Dense{units}, ReLU{}, Dense{units}, ReLU{}, Output{}}, options).fit(data);
}

}  // namespace

TEST_CASE("compress keeps what a network knows, also in its file", "[compression]") {
  const Dataset data = ring(800, 1), fresh = ring(600, 2);
  const Model model = trained(data, 48);
  for (const auto precision : {kernels::Precision::bf16, kernels::Precision::int8}) {
    INFO(to_string(precision));
    Compression found;
    const Model small = compress(model, fresh, {.precision = precision, .most_loss = 0.01, .least_speedup = 0}, &found);
    CHECK(found.metric == "accuracy");
    CHECK(found.before > 0.85);
    CHECK(found.after > found.before - 0.01);
    CHECK(found.speedup == 0);
    CHECK(dynamic_cast<const Graph&>(small.predictor()).precision() == precision);
    CHECK(small.info().algorithm == model.info().algorithm);
    const Model again = Model::from_bytes(small.to_bytes());
    CHECK(dynamic_cast<const Graph&>(again.predictor()).precision() == precision);
    CHECK(again.predict_proba(fresh) == small.predict_proba(fresh));
    CHECK(!(small.predict_proba(fresh) == model.predict_proba(fresh)));
  }
}

TEST_CASE("compress refuses what is worse or not faster, with the figures", "[compression]") {
  const Dataset data = ring(400, 1);
  const Model model = trained(data, 16);
  CHECK_THROWS_WITH(compress(model, data, {.most_loss = 1, .least_speedup = 1e6}),
                    Catch::Contains("int8 one row is") && Catch::Contains("times as fast"));
  // Calibrated on a row near 0, all that is far from it is clamped to nearly the same values.
  Compression found;
  try {
    compress(model, ring(400, 1, true), {.most_loss = 0.05, .least_speedup = 0, .calibration_rows = 1}, &found);
    FAIL("not refused");
  } catch (const Error& error) {
    CHECK(error.code() == errc::refused);
    CHECK(found.after < found.before - 0.05);
    CHECK_THAT(error.what(), Catch::Contains("accuracy falls"));
  }
  CHECK_THROWS_WITH(compress(LogisticRegression().fit(data), data), Catch::Contains("not a network"));
  CHECK_THROWS_WITH(compress(model, data, {.most_loss = -1}), Catch::Contains("most_loss"));
  CHECK_THROWS_WITH(compress(model, data, {.calibration_rows = 0}), Catch::Contains("calibration_rows"));
}
