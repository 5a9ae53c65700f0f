#include "robustness/certify/interval_pass.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/nn/graph.hpp"

using namespace redoubt;

namespace {

struct Case {
  Graph graph;
  Tensor<float> lower, upper;
  std::vector<std::size_t> labels;

  Case(Graph g, std::size_t rows, double radius) : graph(std::move(g)) {
    graph.initialise(3);
    Random random(4);
    for (const GraphParameter& entry : graph.parameter_table()) {
      if (entry.decay) continue;
      for (float& v : graph.parameters().subspan(entry.offset, entry.size)) v = static_cast<float>(random.normal());
    }
    lower = upper = Tensor<float>{rows, graph.inputs()};
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t i = 0; i < graph.inputs(); ++i) {
        const double x = random.normal();
        lower(r, i) = static_cast<float>(x - radius);
        upper(r, i) = static_cast<float>(x + radius);
      }
      labels.push_back(static_cast<std::size_t>(random.below(graph.score_count())));
    }
  }
};

std::vector<Case> cases() {
  std::vector<Case> list;
  list.emplace_back(Graph({5}, {{"dense", {0}, {7}},
                                {"relu", {1}},
                                {"dense", {2}, {7}},
                                {"tanh", {3}},
                                {"add", {4, 2}},
                                {"dropout", {5}},
                                {"dense", {6}, {3}},
                                {"softmax", {7}}}),
                    6, 0.1);
  list.emplace_back(Graph({50}, {{"reshape", {0}, {5, 5, 2}},
                                 {"conv2d", {1}, {4, 3, 3, 2, 1}},
                                 {"leaky_relu", {2}, {0.1}},
                                 {"average_pool2d", {3}, {2, 2, 1, 0}},
                                 {"conv2d", {4}, {3, 2, 2, 1, 0}},
                                 {"reshape", {5}, {3}}}),  // the margins are not folded
                    4, 0.05);
  return list;
}

}  // namespace

TEST_CASE("IntervalPass: the margins of Graph::margin_bounds", "[interval_pass]") {
  for (Case& c : cases()) {
    detail::IntervalPass pass(c.graph, 8);
    const std::size_t rows = c.lower.rows(), scores = c.graph.score_count();
    Arena arena(2);
    pass.forward(c.lower, c.upper, c.labels, &arena);
    std::vector<float> margins(scores);
    for (std::size_t r = 0; r < rows; ++r) {
      c.graph.margin_bounds(c.lower.row(r), c.upper.row(r), c.labels[r], margins);
      for (std::size_t k = 0; k < scores; ++k)
        CHECK(pass.worst(rows)(r, k) == Approx(-margins[k]).margin(2e-4).epsilon(1e-4));
    }
  }
}

TEST_CASE("IntervalPass: gradients agree with differences", "[interval_pass]") {
  for (Case& c : cases()) {
    detail::IntervalPass pass(c.graph, 8);
    const std::size_t rows = c.lower.rows(), scores = c.graph.score_count();
    Arena arena(1);
    Random random(6);
    Tensor<float> seeds{rows, scores};
    for (float& v : seeds.flat()) v = static_cast<float>(random.normal());
    for (std::size_t r = 0; r < rows; ++r) seeds(r, c.labels[r]) = 0;
    const auto value = [&] {
      pass.forward(c.lower, c.upper, c.labels, &arena);
      double sum = 0;
      for (std::size_t r = 0; r < rows; ++r)
        for (std::size_t k = 0; k < scores; ++k) sum += static_cast<double>(seeds(r, k)) * pass.worst(rows)(r, k);
      return sum;
    };
    value();
    for (std::size_t r = 0; r < rows; ++r) std::copy_n(seeds.row(r).begin(), scores, pass.seeds(rows).row(r).begin());
    std::vector<float> gradient(c.graph.parameters().size(), 1.0f);  // is added to
    pass.backward(c.lower, c.upper, c.labels, gradient, &arena);
    for (const GraphParameter& entry : c.graph.parameter_table()) {
      for (std::size_t k = entry.offset; k < entry.offset + entry.size; ++k) {
        CAPTURE(entry.name, k - entry.offset);
        const float was = c.graph.parameters()[k];
        if (entry.decay && std::abs(was) < 2e-3f) continue;  // at the kink of |w|
        const float h = 1e-3f;
        c.graph.parameters()[k] = was + h;
        const double up = value();
        c.graph.parameters()[k] = was - h;
        const double slope = (up - value()) / (2 * static_cast<double>(h));
        c.graph.parameters()[k] = was;
        CHECK(gradient[k] - 1 == Approx(slope).margin(0.02).epsilon(0.01));
      }
    }
  }
}

TEST_CASE("IntervalPass: what it cannot train is refused by name", "[interval_pass]") {
  const auto refused = [](std::vector<GraphNode> nodes) {
    const Graph graph({4}, std::move(nodes));
    CHECK_THROWS_WITH(detail::IntervalPass(graph, 2), Catch::Contains("node 0 (" + graph.nodes()[0].op + ")"));
  };
  refused({{"batch_norm", {0}}, {"dense", {1}, {2}}});
  refused({{"gelu", {0}}, {"dense", {1}, {2}}});
  refused({{"sub", {0, 0}}, {"dense", {1}, {2}}});
}
