#include "robustness/certify/crown_pass.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/nn/graph.hpp"

using namespace redoubt;

namespace {

std::vector<Graph> graphs() {
  std::vector<Graph> list;
  list.emplace_back(OpShape{5}, std::vector<GraphNode>{{"dense", {0}, {7}},
                                                       {"relu", {1}},
                                                       {"dense", {2}, {7}},
                                                       {"leaky_relu", {3}, {0.1}},
                                                       {"add", {4, 2}},
                                                       {"dropout", {5}},
                                                       {"dense", {6}, {3}},
                                                       {"softmax", {7}}});
  list.emplace_back(OpShape{5}, std::vector<GraphNode>{{"dense", {0}, {6}},
                                                       {"relu", {1}},
                                                       {"dense", {2}, {6}},
                                                       {"tanh", {3}},  // ends at its box
                                                       {"dense", {4}, {3}}});
  list.emplace_back(OpShape{50}, std::vector<GraphNode>{{"reshape", {0}, {5, 5, 2}},
                                                        {"conv2d", {1}, {4, 3, 3, 2, 1}},
                                                        {"relu", {2}},
                                                        {"average_pool2d", {3}, {2, 2, 1, 0}},
                                                        {"conv2d", {4}, {3, 2, 2, 1, 0}},
                                                        {"reshape", {5}, {3}}});
  for (Graph& graph : list) {
    graph.initialise(3);
    Random random(4);
    for (const GraphParameter& entry : graph.parameter_table()) {
      if (entry.decay) continue;
      for (float& v : graph.parameters().subspan(entry.offset, entry.size)) v = static_cast<float>(random.normal());
    }
  }
  return list;
}

}  // namespace

TEST_CASE("CrownPass: margins are those of CROWN-IBP, and gradients agree with differences", "[crown_pass]") {
  for (Graph& graph : graphs()) {
    constexpr std::size_t rows = 4;
    const std::size_t scores = graph.score_count();
    Random random(8);
    Tensor<float> lower{rows, graph.inputs()}, upper{rows, graph.inputs()}, seeds{rows, scores},
        margin_seeds{rows, scores};
    std::vector<std::size_t> labels;
    for (std::size_t r = 0; r < rows; ++r) {
      for (std::size_t i = 0; i < graph.inputs(); ++i) {
        const double x = random.normal();
        lower(r, i) = static_cast<float>(x - 0.1);
        upper(r, i) = static_cast<float>(x + 0.1);
      }
      labels.push_back(static_cast<std::size_t>(random.below(scores)));
    }
    for (float& v : seeds.flat()) v = static_cast<float>(random.normal());
    for (float& v : margin_seeds.flat()) v = static_cast<float>(random.normal());
    detail::IntervalPass pass(graph, 6);
    detail::CrownPass crown(graph, pass, 6);
    Arena arena(2);
    const auto value = [&] {
      pass.forward(lower, upper, labels, &arena);
      crown.forward(lower, upper, labels, &arena);
      double sum = 0;
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t k = 0; k < scores; ++k) {
          if (k == labels[r]) continue;
          sum += static_cast<double>(seeds(r, k)) * crown.worst(rows)(r, k);
          sum += static_cast<double>(margin_seeds(r, k)) * pass.worst(rows)(r, k);
        }
      }
      return sum;
    };
    value();
    std::vector<float> margins(scores);
    for (std::size_t r = 0; r < rows; ++r) {
      graph.margin_bounds(lower.row(r), upper.row(r), labels[r], margins, GraphBounds::crown_ibp);
      for (std::size_t k = 0; k < scores; ++k) {
        if (k == labels[r]) continue;
        const float both = std::min(crown.worst(rows)(r, k), pass.worst(rows)(r, k));  // the graph takes the better
        if (graph.nodes()[3].op != "tanh") CHECK(both == Approx(-margins[k]).margin(5e-4));
        CHECK(crown.worst(rows)(r, k) >= -margins[k] - 5e-4f);
      }
      std::copy_n(seeds.row(r).begin(), scores, crown.seeds(rows).row(r).begin());
      std::copy_n(margin_seeds.row(r).begin(), scores, pass.seeds(rows).row(r).begin());
    }
    std::vector<float> gradient(graph.parameters().size(), 1.0f);
    pass.backward(lower, upper, labels, gradient, &arena, &crown);
    std::size_t checked = 0, off = 0;
    for (const GraphParameter& entry : graph.parameter_table()) {
      for (std::size_t k = entry.offset; k < entry.offset + entry.size; ++k) {
        const float was = graph.parameters()[k];
        if (entry.decay && std::abs(was) < 2e-3f) continue;
        const float h = 2e-4f;
        graph.parameters()[k] = was + h;
        const double up = value();
        graph.parameters()[k] = was - h;
        const double slope = (up - value()) / (2 * static_cast<double>(h));
        graph.parameters()[k] = was;
        ++checked;
        off += !(gradient[k] - 1 == Approx(slope).margin(0.05).epsilon(0.02));
      }
    }
    // A step over a kink (a slope that jumps from 0 to 1, a sign) is no derivative; few parameters meet one.
    INFO(off << " of " << checked);
    CHECK(off <= checked / 50);
    CHECK(checked > 70);
  }
}
