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

TEST_CASE("compress removes hidden units: smaller matrices, also in the file", "[compression]") {
  const Dataset data = ring(800, 1), fresh = ring(600, 2);
  const Model model = trained(data, 96);
  const auto& before = dynamic_cast<const Graph&>(model.predictor());
  Compression found;
  const CompressionOptions third{
      .precision = kernels::Precision::fp32, .prune = 0.35, .most_loss = 0.03, .least_speedup = 0};
  const Model small = compress(model, fresh, third, &found);
  const auto& after = dynamic_cast<const Graph&>(small.predictor());
  CHECK(after.nodes()[0].attributes[0] == 64);
  CHECK(after.nodes()[2].attributes[0] == 64);
  CHECK(after.parameters().size() < before.parameters().size() / 2);
  CHECK(found.after > found.before - 0.03);
  CHECK(Model::from_bytes(small.to_bytes()).predict_proba(fresh) == small.predict_proba(fresh));
  CHECK(compress(model, fresh, {.prune = 0.5, .most_loss = 0.05, .least_speedup = 0}).info().algorithm ==
        model.info().algorithm);  // int8 of what is left
  // Nearly all of it is too much.
  CHECK_THROWS_WITH(
      compress(model, fresh,
               {.precision = kernels::Precision::fp32, .prune = 0.99, .most_loss = 0, .least_speedup = 0}),
      Catch::Contains("pruned accuracy falls"));
  CHECK_THROWS_WITH(compress(trained(data, 16), fresh, third), Catch::Contains("no dense layer"));
  CHECK_THROWS_WITH(compress(model, fresh, {.prune = 1}), Catch::Contains("prune"));
}

TEST_CASE("compress: units that never move go without a change", "[compression]") {
  // Of 32 units, the odd ones have the same value for every row.
  Graph graph({4}, {{"dense", {0}, {32}}, {"relu", {1}}, {"dense", {2}, {2}}, {"softmax", {3}}});
  graph.initialise(5);
  const auto weight = graph.parameters();
  for (std::size_t u = 1; u < 32; u += 2) {
    for (std::size_t i = 0; i < 4; ++i) weight[i * 32 + u] = 0;
    weight[graph.parameter_table()[1].offset + u] = 0.25f * static_cast<float>(u);
  }
  Random random(9);
  Tensor<float> x({std::size_t{200}, std::size_t{4}});
  std::vector<std::int32_t> y(200);
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  for (std::size_t r = 0; r < 200; ++r) y[r] = static_cast<std::int32_t>(r % 2);
  const Dataset data = Dataset::from_matrix(x, std::span<const std::int32_t>(y));
  const Model model = network_model(graph, data);
  const Model small =
      compress(model, data, {.precision = kernels::Precision::fp32, .prune = 0.5, .most_loss = 0, .least_speedup = 0});
  CHECK(dynamic_cast<const Graph&>(small.predictor()).nodes()[0].attributes[0] == 16);
  const auto a = model.predict_proba(data), b = small.predict_proba(data);
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(a.data()[i] == Approx(b.data()[i]).margin(1e-5));
}
