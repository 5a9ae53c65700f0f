#include "redoubt/nn/optimizer.hpp"

#include <cmath>
#include <vector>

#include "nn/golden.hpp"
#include "nn/optimizer_state.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/nn/graph.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

/// The definitions, one number at a time, in double precision.
struct Naive {
  Optimizer o;
  double m = 0, v = 0;
  int t = 0;
  double move(double w, double g) {
    ++t;
    const double rate = o.learning_rate;
    if (o.kind == OptimizerKind::adamw || o.kind == OptimizerKind::lion) {
      w *= 1 - rate * o.weight_decay;
    } else {
      g += o.weight_decay * w;
    }
    switch (o.kind) {
      case OptimizerKind::sgd: m = o.momentum * m + g; return w - rate * (o.nesterov ? g + o.momentum * m : m);
      case OptimizerKind::adam:
      case OptimizerKind::adamw:
        m = o.beta1 * m + (1 - o.beta1) * g;
        v = o.beta2 * v + (1 - o.beta2) * g * g;
        return w - rate * (m / (1 - std::pow(o.beta1, t))) / (std::sqrt(v / (1 - std::pow(o.beta2, t))) + o.epsilon);
      case OptimizerKind::rmsprop:
        v = o.alpha * v + (1 - o.alpha) * g * g;
        m = o.momentum * m + g / (std::sqrt(v) + o.epsilon);
        return w - rate * m;
      case OptimizerKind::lion: {
        const double direction = o.beta1 * m + (1 - o.beta1) * g;
        m = o.beta2 * m + (1 - o.beta2) * g;
        return w - rate * ((direction > 0) - (direction < 0));
      }
      case OptimizerKind::lbfgs: break;  // tests/nn/full_batch_test.cpp
    }
    return w;
  }
};

}  // namespace

TEST_CASE("Optimizer: every kind follows its definition", "[optimizer]") {
  const Optimizer kinds[] = {
      {.kind = OptimizerKind::sgd, .learning_rate = 0.1},
      {.kind = OptimizerKind::sgd, .learning_rate = 0.1, .weight_decay = 0.01, .momentum = 0.9},
      {.kind = OptimizerKind::sgd, .learning_rate = 0.1, .momentum = 0.9, .nesterov = true},
      {.kind = OptimizerKind::adam, .learning_rate = 0.05, .weight_decay = 0.1},
      {.kind = OptimizerKind::adamw, .learning_rate = 0.05, .weight_decay = 0.1},
      {.kind = OptimizerKind::rmsprop, .learning_rate = 0.05},
      {.kind = OptimizerKind::rmsprop, .learning_rate = 0.05, .momentum = 0.5},
      {.kind = OptimizerKind::lion, .learning_rate = 0.03, .weight_decay = 0.1, .beta2 = 0.99},
  };
  for (const Optimizer& o : kinds) {
    INFO("kind " << int(o.kind) << " momentum " << o.momentum << " nesterov " << o.nesterov);
    Graph graph({1}, {{"dense", {0}, {1}}});
    detail::OptimizerState state(graph, o);
    std::vector<float> w(graph.parameters().size(), 0.0f), g(w.size(), 0.0f);
    w[0] = 1;
    Naive naive{o};
    double expected = 1;
    for (std::uint64_t step = 1; step <= 30; ++step) {
      const auto slope = static_cast<float>(std::sin(0.7 * static_cast<double>(step)) + 0.2);
      g[0] = slope / 2;
      state.begin(step, o.learning_rate);
      state.move({0, 1, true}, w, g, 2.0f, nullptr);
      expected = naive.move(expected, slope);
      CHECK(w[0] == Approx(expected).epsilon(1e-5).margin(1e-5));
      CHECK(g[0] == 0.0f);
    }
    CHECK(w[1] == 0.0f);  // outside the range
  }
}

TEST_CASE("Optimizer: the path is that of PyTorch", "[optimizer]") {
  const test::Golden golden;
  REQUIRE(golden.optimizers.size() == 5);
  for (const test::GoldenOptimizer& g : golden.optimizers) {
    INFO(g.name);
    const bool decoupled = static_cast<OptimizerKind>(g.kind) == OptimizerKind::adamw;
    const Optimizer o{.kind = static_cast<OptimizerKind>(g.kind),
                      .learning_rate = g.rate,
                      .weight_decay = g.decay,
                      .momentum = g.momentum,
                      .nesterov = g.nesterov != 0};
    CHECK(decoupled == (g.name == "adamw"));
    Graph graph({1}, {{"dense", {0}, {1}}});
    detail::OptimizerState state(graph, o);
    std::vector<float> w(graph.parameters().size(), 0.0f), slope(w.size(), 0.0f);
    w[0] = 1;
    for (std::size_t t = 1; t <= g.path.size(); ++t) {
      slope[0] = static_cast<float>(std::sin(0.7 * static_cast<double>(t)) + 0.2);
      state.begin(t, o.learning_rate);
      state.move({0, 1, true}, w, slope, 1.0f, nullptr);
      CHECK(w[0] == Approx(g.path[t - 1]).epsilon(2e-6).margin(2e-6));
    }
  }
}

TEST_CASE("Optimizer: bad options are refused by name", "[optimizer]") {
  CHECK_THROWS_WITH(check(Optimizer{.learning_rate = 0}), Catch::Contains("learning_rate is 0"));
  CHECK_THROWS_WITH(check(Optimizer{.learning_rate = std::nan("")}), Catch::Contains("learning_rate"));
  CHECK_THROWS_WITH(check(Optimizer{.weight_decay = -1}), Catch::Contains("weight_decay"));
  CHECK_THROWS_WITH(check(Optimizer{.momentum = 1}), Catch::Contains("momentum"));
  CHECK_THROWS_WITH(check(Optimizer{.nesterov = true}), Catch::Contains("nesterov"));
  CHECK_THROWS_WITH(check(Optimizer{.beta1 = 1}), Catch::Contains("beta1"));
  CHECK_THROWS_WITH(check(Optimizer{.beta2 = -0.1}), Catch::Contains("beta2"));
  CHECK_THROWS_WITH(check(Optimizer{.alpha = 1}), Catch::Contains("alpha"));
  CHECK_THROWS_WITH(check(Optimizer{.epsilon = 0}), Catch::Contains("epsilon"));
  CHECK_NOTHROW(check(Optimizer{}));
}
