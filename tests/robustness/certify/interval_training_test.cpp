#include "redoubt/robustness/certify/interval_training.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/nn/neural_network.hpp"
#include "redoubt/nn/trainer.hpp"
#include "redoubt/robustness/certify/certified_accuracy.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

const Sequential network{Dense{24}, ReLU{}, Dense{24}, ReLU{}, Output{}};

NeuralNetworkOptions options(TrainingObjective* objective, Arena* arena) {
  return {.epochs = 40,
          .batch = 64,
          .optimizer = {.learning_rate = 3e-3},
          .seed = 2,
          .objective = objective,
          .arena = arena};
}

}  // namespace

TEST_CASE("IntervalTraining: proves what plain training does not, at a stated clean cost",
          "[interval_training][threads]") {
  const Dataset data = generate_blobs({.rows = 600, .features = 8, .classes = 3, .spread = 1.2, .seed = 5});
  Arena one(1), two(2);
  const Model plain = NeuralNetwork{network, options(nullptr, &one)}.fit(data);
  // The dense encoding standardises, so a radius counts standard deviations here as in certify.
  IntervalTraining objective({.epsilon = 0.4, .clean = 0.3, .crown = 0.5});
  const Model robust = NeuralNetwork{network, options(&objective, &one)}.fit(data);
  CHECK(objective.radius() == Approx(0.4));
  CHECK(objective.bound_loss() > objective.clean_loss());
  CHECK(robust.info().options.find("objective={interval epsilon=0.4 clean=0.3 crown=0.5") != std::string::npos);

  IntervalTraining again({.epsilon = 0.4, .clean = 0.3, .crown = 0.5});
  CHECK(NeuralNetwork{network, options(&again, &two)}.fit(data).to_bytes() == robust.to_bytes());

  const CertificationOptions how{.radii = {0.2, 0.4}, .max_rows = 0, .crown = false, .arena = &one};
  const CertifiedAccuracy before = certify(plain, data, how), after = certify(robust, data, how);
  CHECK(after.points[0].certified > before.points[0].certified);
  CHECK(after.points[1].certified > before.points[1].certified + 0.2);
  for (const auto& p : after.points) CHECK(p.certified <= 1 - p.broken + 1e-12);
  const double cost = plain.evaluate(data).value("accuracy") - robust.evaluate(data).value("accuracy");
  CHECK(cost < 0.1);
}

TEST_CASE("IntervalTraining: radius and weight follow the schedule", "[interval_training]") {
  Graph graph = Sequential{Dense{6}, ReLU{}, Dense{2}}.graph({3}, 0, true);
  graph.initialise(1);
  Random random(2);
  Tensor<float> rows{std::size_t{16}, std::size_t{3}}, targets{std::size_t{16}, std::size_t{1}};
  for (float& v : rows.flat()) v = static_cast<float>(random.normal());
  for (std::size_t r = 0; r < 16; ++r) targets(r, 0) = rows(r, 0) > 0;
  std::vector<FeatureRule> rules(3);
  rules[1].fixed = true;
  rules[2] = {.lower = -10, .upper = 10, .unit = 2};
  IntervalTraining objective({.epsilon = 0.2, .rules = rules, .clean = 0.5, .warmup = 0.2, .ramp = 0.5});
  Trainer trainer(graph, NetworkLoss{},
                  {.batch = 16, .optimizer = {.learning_rate = 1e-2}, .steps = 10, .objective = &objective});
  for (int step = 0; step < 10; ++step) {
    const double total = trainer.step(rows, targets);
    const double way = std::clamp((step / 10.0 - 0.2) / 0.5, 0.0, 1.0);
    CHECK(objective.radius() == Approx(0.2 * way));
    CHECK(std::isnan(objective.bound_loss()) == (way == 0));
    const double clean = 1 - 0.5 * way;
    if (way > 0) CHECK(total == Approx(clean * objective.clean_loss() + (1 - clean) * objective.bound_loss()));
  }
}

TEST_CASE("IntervalTraining: bad options and networks are errors", "[interval_training]") {
  CHECK_THROWS_WITH(IntervalTraining({.epsilon = 0}), Catch::Contains("epsilon is 0"));
  CHECK_THROWS_WITH(IntervalTraining({.clean = 2}), Catch::Contains("clean is 2"));
  CHECK_THROWS_WITH(IntervalTraining({.warmup = 0.6, .ramp = 0.6}), Catch::Contains("ramp"));
  CHECK_THROWS_WITH(IntervalTraining({.rules = {{.unit = 0}}}), Catch::Contains("rule 0"));
  Graph graph = Sequential{Dense{6}, ReLU{}, Dense{2}}.graph({3}, 0, true);
  IntervalTraining objective({});
  CHECK_THROWS_WITH(Trainer(graph, NetworkLoss{.kind = LossKind::mse}, {.objective = &objective}),
                    Catch::Contains("one head of labels"));
  IntervalTraining two_rules({.rules = std::vector<FeatureRule>(2)});
  CHECK_THROWS_WITH(Trainer(graph, NetworkLoss{}, {.objective = &two_rules}), Catch::Contains("2 rules for 3"));
  Graph other = Sequential{Dense{6}, BatchNorm{}, Dense{2}}.graph({3}, 0, true);
  CHECK_THROWS_WITH(Trainer(other, NetworkLoss{}, {.objective = &objective}), Catch::Contains("batch_norm"));
}
