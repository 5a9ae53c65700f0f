#include "redoubt/robustness/evasion/adversarial_training.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/sequential.hpp"
#include "redoubt/nn/trainer.hpp"
#include "redoubt/nn/training_callback.hpp"
#include "redoubt/robustness/evasion/attack.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

constexpr std::size_t columns = 20;

/// One column tells the class with a wide margin but now and then lies; the others tell it weakly together: what plain
/// training leans on and an attacker moves.
struct Rows {
  Tensor<float> x, y;
  std::vector<std::int32_t> labels;
  Rows(std::size_t count, std::uint64_t seed) : x{count, columns}, y{count, std::size_t{1}} {
    Random random(seed);
    for (std::size_t r = 0; r < count; ++r) {
      const bool up = random.below(2) == 1;
      const double sign = up ? 1 : -1;
      labels.push_back(up);
      y(r, 0) = up;
      x(r, 0) = static_cast<float>(random.uniform() < 0.9 ? sign : -sign);
      for (std::size_t i = 1; i < columns; ++i) x(r, i) = static_cast<float>(0.25 * sign + 0.5 * random.normal());
    }
  }
};

Graph train(const Rows& rows, TrainingObjective* objective, Arena& arena, const Sequential& layers) {
  Graph graph = layers.graph({columns}, 0, true);
  graph.initialise(1);
  constexpr std::size_t batch = 64;
  const std::size_t per_epoch = rows.labels.size() / batch;
  Trainer trainer(graph, NetworkLoss{},
                  {.batch = batch,
                   .optimizer = {.learning_rate = 5e-3},
                   .steps = 8 * per_epoch,
                   .seed = 3,
                   .objective = objective,
                   .arena = &arena});
  for (std::size_t step = 0; step < 8 * per_epoch; ++step) {
    const std::size_t first = step % per_epoch * batch;
    trainer.step(MatrixView<const float>(rows.x).slice(first, first + batch),
                 MatrixView<const float>(rows.y).slice(first, first + batch));
  }
  return graph;
}

struct Measured {
  double clean, robust;
};

Measured measure(const Graph& graph, const Rows& rows) {
  const auto under = [&](double radius) {
    return attack(graph, rows.x, rows.labels, {.radius = radius, .steps = 20}).robust_accuracy();
  };
  return {under(0), under(0.3)};
}

const Sequential plain_layers{Dense{16}, ReLU{}, Dense{2}};

}  // namespace

TEST_CASE("AdversarialTraining: more accuracy under attack, at a stated clean cost",
          "[adversarial_training][threads]") {
  const Rows rows(1024, 1), test(500, 2);
  Arena one(1), two(2);
  const Measured plain = measure(train(rows, nullptr, one, plain_layers), test);
  CHECK(plain.clean > 0.97);
  for (const auto method : {AdversarialMethod::pgd, AdversarialMethod::trades}) {
    const AdversarialTrainingOptions options{.method = method, .epsilon = 0.3, .steps = 5, .warmup = 0.3};
    AdversarialTraining objective(options), again(options);
    const Graph graph = train(rows, &objective, one, plain_layers);
    const Measured robust = measure(graph, test);
    INFO(objective.name() << ": clean " << robust.clean << " against " << plain.clean << ", attacked " << robust.robust
                          << " against " << plain.robust);
    CHECK(robust.robust > plain.robust + 0.1);
    CHECK(robust.clean > plain.clean - 0.12);
    const Graph same = train(rows, &again, two, plain_layers);
    CHECK(std::equal(graph.parameters().begin(), graph.parameters().end(), same.parameters().begin()));
  }
}

namespace {

struct Gradient final : TrainingCallback {
  std::vector<float> values;
  void after_step(const TrainingStep& step) override { values.assign(step.gradient.begin(), step.gradient.end()); }
  bool after_epoch(const TrainingEpoch&) override { return true; }
};

}  // namespace

TEST_CASE("AdversarialTraining: the gradient is that of the objective", "[adversarial_training]") {
  const Rows rows(16, 5);
  std::vector<float> weights(16);
  for (std::size_t r = 0; r < 16; ++r) weights[r] = 0.5f + 0.1f * static_cast<float>(r);
  std::vector<FeatureRule> rules(columns, {.lower = -0.5f, .upper = 0.6f});
  rules[0].fixed = true;
  for (const auto method : {AdversarialMethod::pgd, AdversarialMethod::trades}) {
    // Steps this long end in a corner of the box, which on an affine network small moves of the weights do not change.
    const AdversarialTrainingOptions options{
        .method = method, .epsilon = 0.2, .rules = rules, .steps = 2, .step = 50, .clean = 0.25, .beta = 3};
    Gradient gradient;
    const auto value = [&](std::size_t parameter, float by) {
      Graph graph = Sequential{Dense{2}}.graph({columns}, 0, true);
      graph.initialise(7);
      graph.parameters()[parameter] += by;
      AdversarialTraining objective(options);
      Trainer trainer(graph, NetworkLoss{}, {.batch = 16, .callback = &gradient, .objective = &objective});
      return trainer.step(rows.x, rows.y, weights);
    };
    value(0, 0);
    const std::vector<float> found = gradient.values;
    const Graph graph = Sequential{Dense{2}}.graph({columns}, 0, true);
    for (const GraphParameter& entry : graph.parameter_table()) {
      for (std::size_t k = entry.offset; k < entry.offset + entry.size; ++k) {
        CAPTURE(static_cast<int>(method), entry.name, k - entry.offset);
        const double slope = (value(k, 2e-3f) - value(k, -2e-3f)) / 4e-3;
        CHECK(found[k] == Approx(slope).margin(3e-3).epsilon(0.01));
      }
    }
  }
}

TEST_CASE("AdversarialTraining: bad options are errors", "[adversarial_training]") {
  CHECK_THROWS_WITH(AdversarialTraining({.epsilon = -1}), Catch::Contains("epsilon is -1"));
  CHECK_THROWS_WITH(AdversarialTraining({.steps = 0}), Catch::Contains("steps is 0"));
  CHECK_THROWS_WITH(AdversarialTraining({.clean = 1}), Catch::Contains("clean is 1"));
  CHECK_THROWS_WITH(AdversarialTraining({.beta = 0}), Catch::Contains("beta is 0"));
  CHECK_THROWS_WITH(AdversarialTraining({.warmup = 2}), Catch::Contains("warmup is 2"));
  Graph graph = Sequential{Dense{1}}.graph({3});
  AdversarialTraining objective({});
  CHECK_THROWS_WITH(Trainer(graph, NetworkLoss{.kind = LossKind::mse}, {.objective = &objective}),
                    Catch::Contains("one head of labels"));
}
