#include "redoubt/nn/full_batch.hpp"

#include <cmath>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/nn/neural_network.hpp"
#include "redoubt/nn/trainer.hpp"
#include "redoubt/nn/training_callback.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

struct Curve {
  Tensor<float> x{std::size_t{150}, std::size_t{2}}, y{std::size_t{150}, std::size_t{1}};
  Curve() {
    Random random(3);
    for (std::size_t r = 0; r < x.rows(); ++r) {
      for (float& v : x.row(r)) v = static_cast<float>(random.normal());
      y(r, 0) = std::sin(2 * x(r, 0)) + 0.5f * x(r, 1);
    }
  }
};

Graph tanh_network() {
  Graph graph = Sequential{Dense{12}, Tanh{}, Dense{1}}.graph({2});
  graph.initialise(2);
  return graph;
}

LbfgsResult train(Graph& graph, const Curve& curve, std::uint32_t batch, Arena* arena, int iterations = 150) {
  Trainer trainer(graph, NetworkLoss{.kind = LossKind::mse},
                  {.batch = batch, .optimizer = {.kind = OptimizerKind::lbfgs}, .arena = arena});
  return train_full_batch(trainer, graph, curve.x, curve.y, {}, {.iterations = iterations, .tolerance = 1e-4});
}

}  // namespace

TEST_CASE("Full batch: a linear network with decay ends at the solution of ridge regression", "[full_batch]") {
  Random random(1);
  Tensor<float> x({std::size_t{40}, std::size_t{1}}), y({std::size_t{40}, std::size_t{1}});
  std::vector<float> weights(40);
  for (std::size_t r = 0; r < 40; ++r) {
    x(r, 0) = static_cast<float>(random.normal());
    y(r, 0) = static_cast<float>(3 * x(r, 0) - 1 + 0.3 * random.normal());
    weights[r] = static_cast<float>(0.5 + random.uniform());
  }
  // Minimum of sum w (a x + b - y)^2 / n + decay / 2 a^2.
  const double decay = 0.4;
  double w1 = 0, wx = 0, wy = 0, wxx = 0, wxy = 0;
  for (std::size_t r = 0; r < 40; ++r) {
    const double w = weights[r] / 40.0;
    w1 += w, wx += w * x(r, 0), wy += w * y(r, 0), wxx += w * x(r, 0) * x(r, 0), wxy += w * x(r, 0) * y(r, 0);
  }
  const double slope = (wxy - wx * wy / w1) / (wxx + decay / 2 - wx * wx / w1), offset = (wy - slope * wx) / w1;
  Graph graph = Sequential{Dense{1}}.graph({1});
  graph.initialise(1);
  Trainer trainer(graph, NetworkLoss{.kind = LossKind::mse}, {.batch = 7});
  const LbfgsResult result =
      train_full_batch(trainer, graph, x, y, weights, {.tolerance = 1e-6, .weight_decay = decay});
  CHECK(result.converged);
  CHECK(result.evaluations < 20);
  CHECK(std::as_const(graph).parameters()[0] == Approx(slope).epsilon(1e-5));
  CHECK(std::as_const(graph).parameters()[graph.parameter_table().back().offset] == Approx(offset).epsilon(1e-5));
}

TEST_CASE("Full batch: a curve is learned, with the same bits at any number of threads", "[full_batch][threads]") {
  const Curve curve;
  Arena one(1), two(2);
  Graph first = tanh_network(), second = tanh_network();
  const LbfgsResult result = train(first, curve, 64, &one);
  CHECK(result.value < 0.01);  // the variance is about 0.7
  const LbfgsResult again = train(second, curve, 64, &two);
  CHECK(again.evaluations == result.evaluations);
  const auto a = std::as_const(first).parameters(), b = std::as_const(second).parameters();
  CHECK(std::vector<float>(a.begin(), a.end()) == std::vector<float>(b.begin(), b.end()));
}

TEST_CASE("Full batch: the hook sees falling losses and can end the training", "[full_batch]") {
  const Curve curve;
  Graph graph = tanh_network();
  Trainer trainer(graph, NetworkLoss{.kind = LossKind::mse}, {.batch = 256});
  double last = 1e9;
  const auto look = [&](const LbfgsResult& result) {
    CHECK(result.value <= last);
    last = result.value;
    CHECK(trainer.loss(curve.x, curve.y) / 150 == Approx(result.value).epsilon(1e-5));
    return result.iterations < 4;
  };
  const function_ref<bool(const LbfgsResult&)> after(look);
  CHECK(train_full_batch(trainer, graph, curve.x, curve.y, {}, {}, &after).iterations == 4);
}

TEST_CASE("Full batch: an estimator takes it as its optimizer", "[full_batch]") {
  const Curve curve;
  Tensor<double> target({std::size_t{150}});
  std::vector<double> y;
  for (std::size_t r = 0; r < 150; ++r) y.push_back(curve.y(r, 0));
  const Dataset data = Dataset::from_matrix(curve.x, std::span<const double>(y));
  TrainingHistory history;
  NeuralNetworkOptions options{.epochs = 60, .optimizer = {.kind = OptimizerKind::lbfgs}};
  options.validation_fraction = 0.2;
  options.callback = &history;
  const Model model = NeuralNetwork(Sequential{Dense{12}, Tanh{}, Output{}}, options).fit(data);
  CHECK(model.evaluate(data).value("r2") > 0.95);
  REQUIRE(history.epochs.size() > 5);
  CHECK(history.epochs.back().loss < history.epochs.front().loss);
  CHECK(std::isfinite(history.epochs.back().validation_loss));
  CHECK_THAT(model.info().options, Catch::Contains("optimizer=lbfgs") && Catch::Contains("history=10"));
  options.accumulate = 2;
  CHECK_THROWS_WITH(NeuralNetwork(Sequential{Dense{2}, Output{}}, options).fit(data), Catch::Contains("accumulate"));
  options.accumulate = 1, options.checkpoint = "x";
  CHECK_THROWS_WITH(NeuralNetwork(Sequential{Dense{2}, Output{}}, options).fit(data), Catch::Contains("checkpoint"));
}

TEST_CASE("Full batch: what is no function of the weights is refused, and nothing changes", "[full_batch]") {
  const Curve curve;
  Graph random = Sequential{Dense{4}, Dropout{}, Dense{1}}.graph({2});
  Trainer trainer(random, NetworkLoss{.kind = LossKind::mse}, {.batch = 256});
  CHECK_THROWS_WITH(train_full_batch(trainer, random, curve.x, curve.y), Catch::Contains("node 1 (dropout) is random"));
  Graph normed = Sequential{Dense{4}, BatchNorm{}, Dense{1}}.graph({2});
  Trainer second(normed, NetworkLoss{.kind = LossKind::mse}, {.batch = 256});
  CHECK_THROWS_WITH(train_full_batch(second, normed, curve.x, curve.y), Catch::Contains("batch_norm"));

  Graph graph = tanh_network();
  const std::vector<float> before(std::as_const(graph).parameters().begin(), std::as_const(graph).parameters().end());
  Trainer third(graph, NetworkLoss{.kind = LossKind::mse}, {.batch = 100, .optimizer = {.kind = OptimizerKind::lbfgs}});
  CHECK_THROWS_WITH(
      third.step(MatrixView<const float>(curve.x).slice(0, 9), MatrixView<const float>(curve.y).slice(0, 9)),
      Catch::Contains("train_full_batch"));
  Tensor<float> broken = curve.x;
  broken(120, 1) = std::nanf("");
  CHECK_THROWS_WITH(train_full_batch(third, graph, broken, curve.y), Catch::Contains("rows must be finite"));
  CHECK_THROWS_WITH(train_full_batch(third, graph, curve.x, curve.y, {}, {.weight_decay = -1}),
                    Catch::Contains("weight_decay"));
  CHECK_THROWS_AS(train_full_batch(third, graph, curve.x, MatrixView<const float>(curve.y).slice(0, 9)), Error);
  CHECK(std::vector<float>(std::as_const(graph).parameters().begin(), std::as_const(graph).parameters().end()) ==
        before);
}
