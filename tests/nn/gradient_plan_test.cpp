// What attacks run, against the passes op by op.
#include "nn/gradient_plan.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/nn/sequential.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

void check(Graph graph, kernels::ProductPrecision precision) {
  graph.initialise(3);
  Random random(5);
  for (const GraphParameter& entry : graph.parameter_table()) {
    if (entry.decay) continue;
    for (float& v : graph.parameters().subspan(entry.offset, entry.size))
      v = static_cast<float>(entry.name.ends_with("variance") ? random.uniform(0.5, 2) : random.normal());
  }
  const detail::GradientPlan plan(graph, precision);
  detail::GradientPass pass(plan);
  REQUIRE(plan.rows() >= 1);
  const std::size_t classes = graph.score_count();
  // Twice, so that what a pass leaves behind shows; one row takes other ways through the kernels.
  for (const std::size_t n : {plan.rows(), std::size_t{1}, std::min<std::size_t>(plan.rows(), 5)}) {
    Tensor<float> x({n, graph.inputs()}), upstream({n, classes}), scores({n, classes}), found({n, graph.inputs()});
    for (float& v : x.flat()) v = static_cast<float>(random.normal());
    for (float& v : upstream.flat()) v = static_cast<float>(random.normal());
    pass.scores(x, scores);
    pass.backward(x, upstream, found);
    GraphWorkspace workspace(graph, n);
    graph.forward(x, workspace);
    const auto right = graph.value(workspace, graph.score_tensor(), n);
    if (precision == kernels::ProductPrecision::fp32) {
      CHECK(std::equal(scores.flat().begin(), scores.flat().end(), right.data()));
    } else {
      double highest = 0, apart = 0;
      for (std::size_t i = 0; i < scores.size(); ++i) {
        highest = std::max(highest, std::abs(double(right.data()[i])));
        apart = std::max(apart, std::abs(double(right.data()[i]) - scores.data()[i]));
      }
      CHECK(apart <= 3e-5 * highest);
    }
    std::copy(upstream.flat().begin(), upstream.flat().end(),
              graph.gradient(workspace, graph.score_tensor(), n).data());
    graph.backward(x, workspace, {}, true);
    const auto slopes = graph.gradient(workspace, 0, n);
    double largest = 0, furthest = 0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      largest = std::max(largest, std::abs(double(slopes.data()[i])));
      furthest = std::max(furthest, std::abs(double(slopes.data()[i]) - found.data()[i]));
    }
    CHECK(largest > 0);
    CHECK(furthest <= (precision == kernels::ProductPrecision::fp32 ? 1e-5 : 1e-4) * largest);
    if (n == 1) continue;
    // A row has the same bits whatever rows are beside it: attacks look for rows that come back.
    Tensor<float> alone({1, graph.inputs()}), score({1, classes});
    const MatrixView<const float> row = MatrixView<const float>(x).slice(n - 1, n);
    pass.scores(row, score);
    pass.backward(row, MatrixView<const float>(upstream).slice(n - 1, n), alone);
    CHECK(std::equal(alone.flat().begin(), alone.flat().end(), found.row(n - 1).begin()));
  }
}

void check(const Graph& graph) {
  check(graph, kernels::ProductPrecision::fp32);
  check(graph, kernels::ProductPrecision::fp32x3);
}

}  // namespace

TEST_CASE("gradients of rows are those of the graph, and of a row alone the same bits", "[gradients]") {
  SECTION("dense layers") {
    check(Sequential{Dense{50}, ReLU{}, Dropout{0.5}, Dense{70}, ReLU{}, Dense{10}}.graph({30}, 10, true));
  }
  SECTION("one layer, scores out of a ReLU, and per position") {
    check(Graph({5}, {{"dense", {0}, {3}}}));
    check(Graph({5}, {{"dense", {0}, {3}}, {"relu", {1}}}));
    check(Sequential{Reshape{{6, 4}}, Dense{7, true}, Tanh{}, Dense{3}}.graph({24}));
  }
  SECTION("scores are a dense layer that is used again, and a name of it") {
    check(Graph({5}, {{"dense", {0}, {6}}, {"relu", {1}}, {"reshape", {1}, {2, 3, 1, 0}}}));
  }
  SECTION("a tensor that several nodes use, a residual, a branch that nothing uses") {
    check(Graph({12}, {{"dense", {0}, {20}},
                       {"relu", {1}},
                       {"dense", {2}, {20}},
                       {"tanh", {1}},
                       {"layer_norm", {3}},
                       {"dense", {2}, {7}},
                       {"add", {5, 2}},
                       {"dense", {7}, {4}},
                       {"softmax", {8}}}));
  }
  SECTION("images: padding, pools that leave a margin or overlap, stride, dilation, groups") {
    check(Sequential{Reshape{{13, 11, 2}}, Conv2d{20, 3, 1, 1}, ReLU{}, MaxPool2d{}, Conv2d{8, 3, 1, 1}, BatchNorm{},
                     ReLU{}, Conv2d{8, 3}, MaxPool2d{2, 1}, Conv2d{9, 3, 2, 1}, ReLU{}, Flatten{}, Dense{5}}
              .graph({286}));
    check(Sequential{Reshape{{12, 10, 16}}, Conv2d{16, 3, 1, 1}, ReLU{}, Conv2d{8, 3, 1, 2, 2},
                     Conv2d{8, 3, 1, 1, 1, 4}, Conv2d{10, 5, 1, 2}, MaxPool2d{2, 3}, Dense{5}}
              .graph({1920}));
  }
  SECTION("an image of one channel and a residual") {
    check(Sequential{Reshape{{20, 20, 1}}, Conv2d{12, 5, 1, 1}, ReLU{},
                     Residual{{Conv2d{12, 3, 1, 1}, ReLU{}, Conv2d{12, 1}}}, MaxPool2d{}, GlobalAveragePool{}, Dense{4}}
              .graph({400}));
  }
}
