#include "redoubt/nn/training_debugger.hpp"

#include <algorithm>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/nn/neural_network.hpp"
#include "redoubt/nn/trainer.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

Dataset noise(std::size_t rows, std::size_t cols, bool learnable) {
  Random random(1);
  Tensor<float> x{rows, cols};
  std::vector<std::int32_t> y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    for (float& v : x.row(r)) v = static_cast<float>(random.normal());
    y[r] = learnable ? x(r, 0) + x(r, 1) > 0 : static_cast<std::int32_t>(random.below(2));
  }
  return Dataset::from_matrix(x, std::span<const std::int32_t>(y));
}

bool found(const TrainingDebugger& debugger, TrainingProblem problem) {
  return std::any_of(debugger.findings().begin(), debugger.findings().end(),
                     [&](const TrainingFinding& f) { return f.problem == problem; });
}

}  // namespace

TEST_CASE("TrainingDebugger: a healthy training has no findings", "[training_debugger]") {
  TrainingDebugger debugger;
  NeuralNetwork({Dense{32}, ReLU{}, Dense{32}, ReLU{}, Output{}},
                {.epochs = 15, .batch = 32, .validation_fraction = 0.2, .callback = &debugger})
      .fit(noise(500, 5, true));
  INFO(debugger.report());
  CHECK(debugger.findings().empty());
}

TEST_CASE("TrainingDebugger: names over-fitting, with the epoch", "[training_debugger]") {
  TrainingHistory history;
  TrainingDebugger debugger({.next = &history});
  NeuralNetwork({Dense{128}, ReLU{}, Output{}}, {.epochs = 25,
                                                 .batch = 16,
                                                 .optimizer = {.learning_rate = 1e-2},
                                                 .validation_fraction = 0.3,
                                                 .callback = &debugger})
      .fit(noise(150, 20, false));
  REQUIRE(found(debugger, TrainingProblem::over_fitting));
  CHECK(debugger.findings()[0].where == "held-out rows");
  CHECK_THAT(debugger.report(), Catch::Contains("over_fitting") && Catch::Contains("epoch"));
  CHECK(history.epochs.size() == 25);
  // Named once, not in every epoch.
  CHECK(std::count_if(debugger.findings().begin(), debugger.findings().end(),
                      [](const auto& f) { return f.problem == TrainingProblem::over_fitting; }) <= 3);
}

TEST_CASE("TrainingDebugger: names vanishing gradients by their parameter", "[training_debugger]") {
  TrainingDebugger debugger;
  Sequential layers;
  for (int i = 0; i < 10; ++i) {
    layers.layers.push_back(Dense{16});
    layers.layers.push_back(Sigmoid{});
  }
  layers.layers.push_back(Output{});
  NeuralNetwork(layers, {.epochs = 1, .batch = 50, .callback = &debugger}).fit(noise(200, 5, true));
  REQUIRE(found(debugger, TrainingProblem::vanishing_gradient));
  CHECK(debugger.findings()[0].where == "graph.0.weight");
  CHECK(debugger.findings()[0].value < 1e-4);
}

TEST_CASE("TrainingDebugger: names dead units by their node", "[training_debugger]") {
  TrainingDebugger debugger;
  Graph graph = Sequential{Dense{32}, ReLU{}, Dense{1}}.graph({4});
  graph.initialise(1);
  const std::size_t bias = graph.parameter_table()[1].offset;
  Trainer trainer(graph, NetworkLoss{.kind = LossKind::mse}, {.batch = 16, .callback = &debugger});
  Random random(2);
  Tensor<float> rows{std::size_t{16}, std::size_t{4}}, targets{std::size_t{16}, std::size_t{1}};
  for (int epoch = 1; epoch <= 3; ++epoch) {
    if (epoch == 2) {
      for (std::size_t i = 0; i < 20; ++i) graph.parameters()[bias + i] = -1000;
    }
    for (int step = 0; step < 5; ++step) {
      for (float& v : rows.flat()) v = static_cast<float>(random.normal());
      trainer.step(rows, targets);
    }
    debugger.after_epoch({.epoch = epoch, .epochs = 3, .validation_loss = std::nan("")});
  }
  REQUIRE(debugger.findings().size() == 1);  // once, although it goes on
  const TrainingFinding& f = debugger.findings()[0];
  CHECK(f.problem == TrainingProblem::dead_units);
  CHECK(f.where == "node 1 (relu)");
  CHECK(f.epoch == 2);
  CHECK(f.value >= 20.0 / 32);
}

TEST_CASE("TrainingDebugger: names exploding and non-finite gradients by step", "[training_debugger]") {
  TrainingDebugger debugger;
  Graph graph = Sequential{Dense{8}, Tanh{}, Dense{1}}.graph({4});
  graph.initialise(1);
  Trainer trainer(graph, NetworkLoss{.kind = LossKind::mse},
                  {.batch = 16, .optimizer = {.learning_rate = 1e-4}, .callback = &debugger});
  Random random(2);
  Tensor<float> rows{std::size_t{16}, std::size_t{4}}, targets{std::size_t{16}, std::size_t{1}};
  for (int step = 1; step <= 31; ++step) {
    for (float& v : rows.flat()) v = static_cast<float>(random.normal());
    for (float& v : targets.flat()) v = static_cast<float>(random.normal());
    if (step == 30) targets(3, 0) = 1e5f;
    if (step == 31) targets(3, 0) = 3e18f;  // its square is finite in double precision, its gradient's is not small
    trainer.step(rows, targets);
  }
  REQUIRE(debugger.findings().size() >= 1);
  CHECK(debugger.findings()[0].problem == TrainingProblem::exploding_gradient);
  CHECK(debugger.findings()[0].step == 30);
  CHECK_THAT(debugger.findings()[0].where, Catch::Contains("graph."));
  CHECK_FALSE(found(debugger, TrainingProblem::not_finite));
  for (float& v : targets.flat()) v = 3e38f;  // the gradient overflows, the loss in double precision does not
  CHECK_THROWS_WITH(trainer.step(rows, targets), Catch::Contains("gradient of graph."));
  CHECK(found(debugger, TrainingProblem::not_finite));
}
