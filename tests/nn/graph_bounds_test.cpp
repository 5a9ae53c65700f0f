// Graph::bounds and margin_bounds by linear functions; intervals are tested in graph_test.cpp and op_test.cpp.
#include "nn/graph_bounds.hpp"

#include <algorithm>
#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <string>

#include "redoubt/core/random.hpp"
#include "redoubt/nn/graph.hpp"

using namespace redoubt;

namespace {

constexpr std::array methods{GraphBounds::interval, GraphBounds::crown_ibp, GraphBounds::crown};

/// Every parameter moves, so that biases, scales and running statistics count.
Graph randomised(Graph graph, std::uint64_t seed) {
  graph.initialise(seed);
  Random random(seed, 77);
  const auto values = graph.parameters();
  for (const GraphParameter& entry : graph.parameter_table()) {
    for (float& v : values.subspan(entry.offset, entry.size)) {
      if (entry.decay) continue;
      v = entry.name.ends_with("variance") ? static_cast<float>(random.uniform(0.3, 3))
                                           : v + static_cast<float>(0.3 * random.normal());
    }
  }
  return graph;
}

Graph mlp(const std::string& activation, std::uint64_t seed) {
  return randomised(Graph({6}, {{"dense", {0}, {14}},
                                {activation, {1}},
                                {"dense", {2}, {14}},
                                {activation, {3}},
                                {"add", {4, 2}},
                                {"dense", {5}, {4}},
                                {"softmax", {6}}}),
                    seed);
}

Graph image(bool max_pool, std::uint64_t seed) {
  return randomised(Graph({72}, {{"reshape", {0}, {6, 6, 2}},
                                 {"conv2d", {1}, {4, 3, 3, 1, 1}},
                                 {"batch_norm", {2}},
                                 {"relu", {3}},
                                 {max_pool ? "max_pool2d" : "average_pool2d", {4}},
                                 {"conv2d", {5}, {6, 2, 2, 1, 0}},
                                 {"leaky_relu", {6}, {0.1}},
                                 {"reduce_mean", {7}, {3}},
                                 {"dense", {8}, {3}}}),
                    seed);
}

/// Random layers of random widths, with skips.
Graph any(std::uint64_t seed) {
  Random random(seed, 5);
  std::vector<GraphNode> nodes;
  std::uint32_t at = 0;
  const std::array<std::string, 5> activations{"relu", "relu", "tanh", "sigmoid", "gelu"};
  for (std::size_t layer = 0; layer < 1 + seed % 4; ++layer) {
    nodes.push_back({"dense", {at}, {static_cast<double>(3 + random.below(8))}});
    nodes.push_back({activations[random.below(5)], {++at}});
    ++at;
    if (random.below(2)) {
      nodes.push_back({random.below(2) ? "sub" : "concat", {at, at - 1}});
      ++at;
    }
  }
  nodes.push_back({"dense", {at}, {3}});
  return randomised(Graph({5}, std::move(nodes)), seed);
}

struct Found {
  std::vector<float> low, high, margins;
};

Found bounds(const Graph& graph, std::span<const float> lower, std::span<const float> upper, GraphBounds method) {
  const std::size_t count = graph.score_count();
  Found f{std::vector<float>(count), std::vector<float>(count), std::vector<float>(count)};
  graph.bounds(lower, upper, f.low, f.high, method);
  graph.margin_bounds(lower, upper, 0, f.margins, method);
  return f;
}

std::vector<float> predict(const Graph& graph, std::span<const float> row) {
  std::vector<float> out(graph.outputs()), scratch(graph.scratch_size());
  graph.predict(row, out, scratch);
  return out;
}

/// Points of the box that may be extreme: corners, random ones, and the end of steps against each score and margin.
template <class Visit>
void explore(const Graph& graph, std::span<const float> lower, std::span<const float> upper, Random& random,
             Visit visit) {
  const std::size_t n = lower.size(), count = graph.score_count();
  std::vector<float> point(n), gradient(n);
  for (int trial = 0; trial < 100; ++trial) {
    for (std::size_t i = 0; i < n; ++i) {
      const double t = trial % 2 ? random.uniform() : static_cast<double>(random.below(2));
      point[i] = std::clamp(static_cast<float>(lower[i] + t * (upper[i] - lower[i])), lower[i], upper[i]);
    }
    visit(point);
  }
  GraphWorkspace workspace(graph, 1);
  for (std::size_t goal = 0; goal < 3 * count; ++goal) {
    std::vector<float> seed(count, 0.0f);
    seed[goal % count] = goal < count ? 1.0f : -1.0f;
    if (goal >= 2 * count) seed[0] += 1.0f;
    for (std::size_t i = 0; i < n; ++i) point[i] = (lower[i] + upper[i]) / 2;
    for (int step = 0; step < 20; ++step) {
      graph.input_gradient(point, seed, gradient, workspace);
      for (std::size_t i = 0; i < n; ++i) {
        const float by = (upper[i] - lower[i]) / (step < 10 ? 4.0f : 20.0f);
        point[i] = std::clamp(point[i] - (gradient[i] > 0 ? by : -by), lower[i], upper[i]);
      }
      visit(point);
    }
  }
}

void check_sound(Graph graph, std::uint64_t seed) {
  for (const bool compiled : {false, true}) {
    if (compiled) graph.compile();
    const bool softmax = graph.nodes().back().op == "softmax";
    GraphWorkspace workspace(graph, 1, false);
    Random random(seed, 9);
    for (const double radius : {0.0, 1e-3, 0.05, 0.6}) {
      std::vector<float> lower(graph.inputs()), upper(graph.inputs());
      for (std::size_t i = 0; i < lower.size(); ++i) {
        const double x = random.normal();
        lower[i] = static_cast<float>(x - radius);
        upper[i] = std::max(lower[i], static_cast<float>(x + radius));
      }
      std::vector<Found> found;
      for (const auto method : methods) found.push_back(bounds(graph, lower, upper, method));
      for (std::size_t k = 0; k < graph.score_count(); ++k) {
        for (std::size_t m = 1; m < methods.size(); ++m) {  // never looser than intervals
          REQUIRE(found[m].low[k] >= found[0].low[k]);
          REQUIRE(found[m].high[k] <= found[0].high[k]);
          REQUIRE(found[m].margins[k] >= found[0].margins[k]);
        }
        if (radius <= 1e-3) CHECK(found[2].high[k] - found[2].low[k] < 0.5f);
      }
      std::vector<float> scores(graph.score_count());
      explore(graph, lower, upper, random, [&](const std::vector<float>& point) {
        if (compiled && !softmax) {
          scores = predict(graph, point);
        } else {
          graph.scores(point, scores, workspace);
        }
        for (const Found& f : found) {
          for (std::size_t k = 0; k < scores.size(); ++k) {
            REQUIRE(f.low[k] <= scores[k]);
            REQUIRE(scores[k] <= f.high[k]);
            REQUIRE(f.margins[k] <= scores[0] - scores[k]);
          }
        }
      });
    }
  }
}

}  // namespace

TEST_CASE("linear bounds: no sample and no attack crosses them", "[graph_bounds]") {
  for (const std::uint64_t seed : {1, 2}) {
    for (const char* activation : {"relu", "leaky_relu", "tanh", "sigmoid", "gelu"}) {
      CAPTURE(activation, seed);
      check_sound(mlp(activation, seed), seed);
    }
    for (const bool max_pool : {false, true}) check_sound(image(max_pool, seed), seed);
  }
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    CAPTURE(seed);
    check_sound(any(seed), seed);
  }
}

TEST_CASE("linear bounds of an affine network are exact, intervals are not", "[graph_bounds]") {
  const Graph graph = randomised(Graph({32}, {{"reshape", {0}, {4, 4, 2}},
                                              {"conv2d", {1}, {3, 3, 3, 1, 1}},
                                              {"batch_norm", {2}},
                                              {"average_pool2d", {3}},
                                              {"dense", {4}, {8}},
                                              {"dropout", {5}},
                                              {"dense", {6}, {8}},
                                              {"add", {7, 5}},
                                              {"dense", {8}, {3}}}),
                                 3);
  const double rounding = 1e-3;  // the bounds leave room for that of each layer
  std::vector<float> lower(32, -0.5f), upper(32, 0.7f), gradient(32), corner(32), scores(3), seed(3);
  GraphWorkspace workspace(graph, 1);
  const Found interval = bounds(graph, lower, upper, GraphBounds::interval);
  for (const auto method : {GraphBounds::crown_ibp, GraphBounds::crown}) {
    const Found found = bounds(graph, lower, upper, method);
    for (std::size_t k = 0; k < 3; ++k) {
      const auto lowest = [&](float own, float first) {
        std::fill(seed.begin(), seed.end(), 0.0f);
        seed[k] += own;
        seed[0] += first;
        graph.input_gradient(lower, seed, gradient, workspace);
        for (std::size_t i = 0; i < 32; ++i) corner[i] = gradient[i] > 0 ? lower[i] : upper[i];
        graph.scores(corner, scores, workspace);
        double value = 0;
        for (std::size_t j = 0; j < 3; ++j) value += static_cast<double>(seed[j]) * scores[j];
        return value;
      };
      CHECK(found.low[k] == Approx(lowest(1, 0)).margin(rounding));
      CHECK(found.high[k] == Approx(-lowest(-1, 0)).margin(rounding));
      CHECK(found.low[k] > interval.low[k] + 0.1f);
      if (k > 0) CHECK(found.margins[k] == Approx(lowest(-1, 1)).margin(rounding));
      if (k > 0) CHECK(found.margins[k] > interval.margins[k] + 0.1f);
    }
  }
}

namespace {

/// The lower bound of one score of dense-ReLU-dense by the definition, in doubles.
double triangle(const Graph& graph, std::span<const float> lower, std::span<const float> upper, std::size_t score) {
  const auto value = [&](std::size_t p, std::size_t row, std::size_t column) {
    const GraphParameter& entry = graph.parameter_table()[p];
    return static_cast<double>(graph.parameters()[entry.offset + row * entry.shape.back() + column]);
  };
  const std::size_t inputs = lower.size(), hidden = graph.parameter_table()[0].shape[1];
  std::vector<double> slope(inputs, 0.0);
  double bound = value(3, 0, score);
  for (std::size_t h = 0; h < hidden; ++h) {
    double low = value(1, 0, h), high = low;
    for (std::size_t i = 0; i < inputs; ++i) {
      const double w = value(0, i, h);
      low += w * (w > 0 ? lower[i] : upper[i]);
      high += w * (w > 0 ? upper[i] : lower[i]);
    }
    const double a = value(2, h, score);
    double s = low >= 0 ? 1 : 0, offset = 0;
    if (low < 0 && high > 0) {
      s = a < 0 ? high / (high - low) : high > -low ? 1 : 0;
      if (a < 0) offset = -s * low;
    }
    bound += a * (offset + s * value(1, 0, h));
    for (std::size_t i = 0; i < inputs; ++i) slope[i] += a * s * value(0, i, h);
  }
  for (std::size_t i = 0; i < inputs; ++i) bound += slope[i] * (slope[i] > 0 ? lower[i] : upper[i]);
  return bound;
}

}  // namespace

TEST_CASE("linear bounds of a small ReLU network are those of the definition", "[graph_bounds]") {
  int tighter = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Graph graph = randomised(Graph({2}, {{"dense", {0}, {6}}, {"relu", {1}}, {"dense", {2}, {2}}}), seed);
    const std::vector<float> lower{-0.4f, 0.1f}, upper{0.5f, 0.9f};
    const Found interval = bounds(graph, lower, upper, GraphBounds::interval);
    std::vector<float> scores(2), least(2, 1e9f);
    GraphWorkspace workspace(graph, 1);
    for (int a = 0; a <= 40; ++a) {
      for (int b = 0; b <= 40; ++b) {
        const std::vector<float> x{std::min(lower[0] + 0.0225f * static_cast<float>(a), upper[0]),
                                   std::min(lower[1] + 0.02f * static_cast<float>(b), upper[1])};
        graph.scores(x, scores, workspace);
        for (std::size_t k = 0; k < 2; ++k) least[k] = std::min(least[k], scores[k]);
      }
    }
    for (const auto method : {GraphBounds::crown_ibp, GraphBounds::crown}) {
      const Found found = bounds(graph, lower, upper, method);
      for (std::size_t k = 0; k < 2; ++k) {
        const double naive = triangle(graph, lower, upper, k);
        CHECK(found.low[k] >= naive - 1e-4);
        CHECK(found.low[k] == Approx(std::max<double>(naive, interval.low[k])).margin(1e-4));
        CHECK(found.low[k] <= least[k]);
        tighter += found.low[k] > interval.low[k] + 1e-3f;
      }
    }
  }
  CHECK(tighter > 80);  // of 160
}

TEST_CASE("tighter boxes of inner layers give tighter bounds", "[graph_bounds]") {
  double gain = 0;
  int better = 0;
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Graph graph = randomised(Graph({8}, {{"dense", {0}, {16}},
                                               {"relu", {1}},
                                               {"dense", {2}, {16}},
                                               {"relu", {3}},
                                               {"dense", {4}, {16}},
                                               {"relu", {5}},
                                               {"dense", {6}, {2}}}),
                                   seed);
    const std::vector<float> lower(8, 0.0f), upper(8, 0.2f);
    const Found one = bounds(graph, lower, upper, GraphBounds::crown_ibp);
    const Found all = bounds(graph, lower, upper, GraphBounds::crown);
    better += all.margins[1] > one.margins[1];
    gain += static_cast<double>(all.margins[1]) - one.margins[1];
  }
  CHECK(better >= 18);
  CHECK(gain > 1);
}
