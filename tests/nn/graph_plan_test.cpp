// Graph::compile: the plan that serves predictions, against the passes op by op.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <thread>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/sequential.hpp"
#include "support/allocations.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

Tensor<float> random_rows(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  Random random(seed, 3);
  Tensor<float> x{rows, cols};
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  return x;
}

/// Every parameter random, running statistics included.
Graph started(Graph graph) {
  graph.initialise(3);
  Random random(5);
  for (const GraphParameter& entry : graph.parameter_table()) {
    if (entry.decay) continue;
    for (float& v : graph.parameters().subspan(entry.offset, entry.size)) {
      v = static_cast<float>(entry.name.ends_with("variance") ? random.uniform(0.5, 2) : random.normal());
    }
  }
  return graph;
}

/// Predictions of a compiled copy, row by row and in batches, which must have the same bits.
Tensor<float> served(const Graph& graph, const Tensor<float>& x,
                     kernels::Precision precision = kernels::Precision::fp32) {
  Graph compiled = graph;
  compiled.compile(precision, x);
  REQUIRE(compiled.compiled());
  Tensor<float> single{x.rows(), graph.outputs()};
  std::vector<float> scratch(compiled.scratch_size(), std::nanf(""));
  for (std::size_t r = 0; r < x.rows(); ++r) compiled.predict(x.row(r), single.row(r), scratch);
  for (const int threads : {1, 2, 4}) {
    Arena arena(threads);
    for (const std::size_t rows : {x.rows(), std::size_t{9}, std::size_t{1}, std::size_t{1}}) {
      Tensor<float> batch{rows, graph.outputs()};
      compiled.predict_batch(MatrixView<const float>(x).slice(0, rows), batch, &arena);
      CHECK(std::equal(batch.flat().begin(), batch.flat().end(), single.data()));
    }
  }
  return single;
}

Tensor<float> plain(const Graph& graph, const Tensor<float>& x) {
  Tensor<float> out{x.rows(), graph.outputs()};
  graph.predict_batch(x, out, nullptr);
  return out;
}

void same_bits(const Graph& graph) {
  const Tensor<float> x = random_rows(150, graph.inputs(), 1);
  CHECK(served(graph, x) == plain(graph, x));
}

/// A box of one point leaves no room but for rounding.
void check_bounds(const Graph& graph, const Tensor<float>& x, const Tensor<float>& got, std::size_t rows) {
  Graph compiled = graph;
  compiled.compile();
  std::vector<float> lower(graph.outputs()), upper(graph.outputs());
  for (const GraphBounds method : {GraphBounds::interval, GraphBounds::crown}) {
    for (std::size_t r = 0; r < rows; ++r) {
      compiled.bounds(x.row(r), x.row(r), lower, upper, method);
      for (std::size_t k = 0; k < graph.outputs(); ++k) {
        CHECK(lower[k] <= got(r, k));
        CHECK(got(r, k) <= upper[k]);
      }
    }
  }
}

}  // namespace

TEST_CASE("compile: networks without batch norm predict the same bits", "[compile][threads]") {
  SECTION("one layer") { same_bits(started(Graph({5}, {{"dense", {0}, {3}}}))); }
  SECTION("no layer that is fused") { same_bits(started(Graph({5}, {{"softmax", {0}}}))); }
  SECTION("dropout and reshape as the last nodes") {
    same_bits(started(Graph({12}, {{"dense", {0}, {6}}, {"relu", {1}}, {"dropout", {2}, {0.5}}})));
  }
  SECTION("a tensor that several nodes use, a residual, a branch that nothing uses") {
    same_bits(started(Graph({12}, {{"dense", {0}, {20}},
                                   {"relu", {1}},
                                   {"dropout", {2}, {0.25}},
                                   {"dense", {3}, {20}},
                                   {"tanh", {1}},
                                   {"layer_norm", {4}},
                                   {"sigmoid", {6}},
                                   {"add", {7, 3}},
                                   {"dense", {8}, {4}},
                                   {"softmax", {9}}})));
  }
  SECTION("the last node is fused into a step that is not the last") {
    same_bits(started(Graph({4}, {{"dense", {0}, {6}}, {"tanh", {0}}, {"relu", {1}}})));
  }
  SECTION("wide layers, whose columns threads share") {
    same_bits(started(Sequential{Dense{400}, ReLU{}, Dense{300}, Sigmoid{}, Dense{10}}.graph({300}, 10, true)));
  }
  SECTION("layers per position") {
    same_bits(started(Sequential{Reshape{{6, 4}}, Dense{7, true}, Tanh{}, Dense{5, true}, Dense{3}}.graph({24})));
  }
  SECTION("images: padding, stride, pools, dilation, groups") {
    same_bits(started(Sequential{
        Reshape{{12, 10, 2}}, Conv2d{20, 3, 1, 1}, ReLU{}, MaxPool2d{}, Conv2d{8, 3, 2, 1}, Tanh{},
        Conv2d{8, 3, 1, 2, 2}, Conv2d{8, 3, 1, 1, 1, 4}, MaxPool2d{2, 1, 1}, Flatten{},
        Dense{5}}.graph({240})));
  }
  SECTION("images: depthwise and grouped convolutions, pools inside and beside the step of a convolution") {
    same_bits(started(Sequential{
        Reshape{{13, 12, 6}}, Conv2d{6, 3, 1, 1, 1, 6}, ReLU{}, Conv2d{24, 3, 1, 1, 1, 3}, Tanh{}, MaxPool2d{3, 2},
        Conv2d{24, 3, 2, 2, 2, 24}, Sigmoid{}, Conv2d{30, 2, 1, 0, 1, 6}, ReLU{}, Conv2d{20, 2, 1, 1}, ReLU{},
        MaxPool2d{2, 3}, Flatten{},
        Dense{5}}.graph({936})));
  }
  SECTION("a reshape between a convolution and a pool") {
    same_bits(started(Sequential{
        Reshape{{8, 6, 3}}, Conv2d{16, 3, 1, 1}, Reshape{{6, 8, 16}}, MaxPool2d{}, Flatten{},
        Dense{3}}.graph({144})));
  }
  SECTION("weights so large that threads which are awake share their columns for one row") {
    same_bits(started(Sequential{Dense{260}, ReLU{}, Dense{520}, ReLU{}, Dense{3}}.graph({520})));
  }
  SECTION("an image branch and its residual stay alive for all rows") {
    same_bits(started(Sequential{
        Reshape{{20, 20, 1}}, Conv2d{12, 3, 1, 1}, Residual{{Conv2d{12, 3, 1, 1}, ReLU{}, Conv2d{12, 1}}}, LeakyReLU{},
        MaxPool2d{}, GlobalAveragePool{},
        Dense{4}}.graph({400})));
  }
  SECTION("sequences") {
    same_bits(started(Sequential{
        Reshape{{6, 8}}, MultiHeadAttention{2, true}, LayerNorm{}, Gru{5}, Flatten{},
        Dense{3}}.graph({48})));
  }
}

TEST_CASE("compile: batch norms are folded, and bounds hold for what is served", "[compile]") {
  const Graph graph = started(Sequential{
      Reshape{{6, 6, 2}}, Conv2d{9, 3, 1, 1}, BatchNorm{}, ReLU{}, MaxPool2d{}, Flatten{}, Dropout{0.5}, Dense{16},
      BatchNorm{}, Tanh{},
      Dense{3}}.graph({72}));
  const Tensor<float> x = random_rows(150, 72, 2);
  const Tensor<float> got = served(graph, x), want = plain(graph, x);
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got.data()[i] == Approx(want.data()[i]).margin(2e-5));
  CHECK(!(got == want));  // folding rounds differently: were it not done, this test would compare nothing
  check_bounds(graph, x, got, 20);
}

TEST_CASE("compile: Winograd convolutions stay near, also odd and pooled ones, and bounds hold for what is served",
          "[compile]") {
  const Graph graph = started(Sequential{
      Reshape{{10, 14, 16}}, Conv2d{20, 3, 1, 1}, BatchNorm{}, ReLU{}, MaxPool2d{}, Conv2d{24, 3, 1, 1}, ReLU{},
      MaxPool2d{}, Conv2d{32, 3, 1, 2}, Residual{{Conv2d{32, 3, 1, 1}}}, Conv2d{16, 3}, Flatten{},
      Dense{3}}.graph({10 * 14 * 16}));
  const Tensor<float> x = random_rows(40, graph.inputs(), 2);
  const Tensor<float> got = served(graph, x), want = plain(graph, x);
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got.data()[i] == Approx(want.data()[i]).margin(1e-4));
  CHECK(!(got == want));
  check_bounds(graph, x, got, 3);
}

TEST_CASE("compile: an image large enough for several blocks of tiles", "[compile][threads]") {
  const Graph graph = started(Sequential{
      Reshape{{45, 60, 16}}, Conv2d{32, 3, 1, 1}, ReLU{}, MaxPool2d{}, GlobalAveragePool{},
      Dense{3}}.graph({45 * 60 * 16}));
  const Tensor<float> x = random_rows(10, graph.inputs(), 4);
  const Tensor<float> got = served(graph, x), want = plain(graph, x);
  for (std::size_t i = 0; i < got.size(); ++i) CHECK(got.data()[i] == Approx(want.data()[i]).margin(1e-4));
  CHECK(!(got == want));
}

TEST_CASE("compile: asking for parameters undoes it", "[compile]") {
  Graph graph = started(Sequential{Dense{8}, ReLU{}, Dense{2}}.graph({4}));
  const Tensor<float> x = random_rows(3, 4, 3);
  graph.compile();
  graph.parameters()[0] += 1;
  CHECK(!graph.compiled());
  const Tensor<float> moved = plain(graph, x);
  graph.compile();
  CHECK(plain(graph, x) == moved);
  graph.initialise(1);
  CHECK(!graph.compiled());
}

TEST_CASE("compile: fewer bits stay near fp32, in one row and in batches", "[compile][threads]") {
  const Graph networks[] = {
      started(Sequential{Dense{70}, ReLU{}, Dense{33}, Tanh{}, Dense{4}}.graph({29}, 4, true)),
      started(Sequential{Reshape{{6, 4}}, Dense{7, true}, ReLU{}, Dense{5, true}, Flatten{}, Dense{3}}.graph({24}, 3,
                                                                                                             true)),
      // A convolution of one channel stays fp32, one of eight does not; with and without margins, with a batch norm.
      started(Sequential{Reshape{{12, 10, 1}}, Conv2d{8, 3, 1, 1}, ReLU{}, MaxPool2d{}, Conv2d{12, 3, 2, 1},
                         BatchNorm{}, ReLU{}, Conv2d{50, 2}, Flatten{}, Dense{3}}
                  .graph({120}, 3, true)),
  };
  for (const Graph& graph : networks) {
    const Tensor<float> x = random_rows(150, graph.inputs(), 1);
    const Tensor<float> exact = served(graph, x);
    for (const auto precision : {kernels::Precision::bf16, kernels::Precision::int8}) {
      INFO(to_string(precision) << ", " << graph.inputs() << " inputs");
      const Tensor<float> got = served(graph, x, precision);
      double sum = 0, size = 0;
      for (std::size_t i = 0; i < got.size(); ++i) {
        sum += std::abs(got.data()[i] - exact.data()[i]);
        size += exact.data()[i];
      }
      CHECK(sum / size < (precision == kernels::Precision::bf16 ? 0.02 : 0.06));
      CHECK(!(got == exact));
    }
  }
}

TEST_CASE("compile: the precision is kept in files, ends with the parameters, and has no bounds", "[compile]") {
  Graph graph = started(Sequential{Dense{20}, ReLU{}, Dense{3}}.graph({6}, 3, true));
  const Tensor<float> x = random_rows(40, 6, 2);
  for (const auto precision : {kernels::Precision::bf16, kernels::Precision::int8}) {
    Graph narrow = graph;
    narrow.compile(precision, x);
    CHECK(narrow.precision() == precision);
    Archive archive;
    narrow.save(archive);
    Graph again = graph;
    again.read_precision(archive);
    again.compile();
    CHECK(again.precision() == precision);
    CHECK(plain(again, x) == plain(narrow, x));
    std::vector<float> lower(3), upper(3);
    CHECK_THROWS_WITH(narrow.bounds(x.row(0), x.row(0), lower, upper), Catch::Contains(to_string(precision)));
    narrow.parameters()[0] += 1;
    CHECK(narrow.precision() == kernels::Precision::fp32);
  }
  CHECK_THROWS_WITH(graph.compile(kernels::Precision::int8), Catch::Contains("calibrate"));
  const Tensor<float> narrow_rows = random_rows(3, 5, 1);
  CHECK_THROWS_WITH(graph.compile(kernels::Precision::int8, narrow_rows), Catch::Contains("5 columns"));
  Tensor<float> broken = x;
  broken(7, 2) = std::nanf("");
  CHECK_THROWS_WITH(graph.compile(kernels::Precision::int8, broken), Catch::Contains("nan"));
  Archive archive;
  archive.set("graph.precision", "int4");
  CHECK_THROWS_WITH(graph.read_precision(archive), Catch::Contains("int4"));
  Archive short_ranges;
  short_ranges.set("graph.precision", "int8");
  const std::vector<float> two{-1, 1};
  short_ranges.put<float>("graph.ranges", two, std::vector<std::size_t>{1, 2});
  CHECK_THROWS_WITH(graph.read_precision(short_ranges), Catch::Contains("graph.ranges"));
}

namespace {

const Sequential served_mlp{Dense{96}, ReLU{}, Dense{64}, GELU{}, Dense{7}, Softmax{}};
const Sequential served_image{Reshape{{8, 8, 1}},
                              Conv2d{.filters = 8, .pad = 1},
                              BatchNorm{},
                              ReLU{},
                              MaxPool2d{},
                              Conv2d{.filters = 16, .pad = 1},
                              ReLU{},
                              Flatten{},
                              Dense{7},
                              Softmax{}};
constexpr kernels::Precision precisions[] = {kernels::Precision::fp32, kernels::Precision::bf16,
                                             kernels::Precision::int8};

Graph made(const Sequential& layers) { return started(layers.graph({64})); }

}  // namespace

TEST_CASE("compile: predictions allocate nothing after the first", "[compile]") {
#if defined(REDOUBT_SANITIZED)
  SUCCEED("not counted under sanitizers");
#else
  const Tensor<float> x = random_rows(300, 64, 4);
  Arena one(1), two(2);
  for (const Sequential* layers : {&served_mlp, &served_image}) {
    for (const auto precision : precisions) {
      INFO(to_string(precision) << (layers == &served_image ? " image" : " mlp"));
      Graph graph = made(*layers);
      graph.compile(precision, x);
      Tensor<float> out{x.rows(), graph.outputs()};
      std::vector<float> scratch(graph.scratch_size());
      const auto calls = [&](Arena* arena) {
        const std::size_t before = test::allocations;
        graph.predict(x.row(0), out.row(0), scratch);
        for (const std::size_t rows : {std::size_t{300}, std::size_t{33}, std::size_t{8}, std::size_t{1}}) {
          graph.predict_batch(MatrixView<const float>(x).slice(0, rows), MatrixView<float>(out).slice(0, rows), arena);
        }
        return test::allocations - before;
      };
      calls(&one);
      CHECK(calls(&one) + calls(&one) == 0);
      // A worker that joins later than the others serves its first batch then: a quiet round must come.
      std::size_t found = 1;
      for (int round = 0; round < 20 && found > 0; ++round) {
        found = 0;
        for (int call = 0; call < 10; ++call) found += calls(&two);
      }
      CHECK(found == 0);
    }
  }
#endif
}

TEST_CASE("compile: threads share one graph", "[compile][threads]") {
  const Tensor<float> x = random_rows(64, 64, 6);
  for (const Sequential* layers : {&served_mlp, &served_image}) {
    for (const auto precision : precisions) {
      INFO(to_string(precision));
      const Graph graph = [&] {
        Graph g = made(*layers);
        g.compile(precision, x);
        return g;
      }();
      const Tensor<float> expected = plain(graph, x);
      std::atomic<int> wrong{0};
      const auto serve = [&](std::size_t first) {
        Arena arena(2);
        std::vector<float> scratch(graph.scratch_size()), row(graph.outputs());
        Tensor<float> out{x.rows(), graph.outputs()};
        for (std::size_t i = 0; i < 40; ++i) {
          const std::size_t r = (first + i) % x.rows();
          graph.predict(x.row(r), row, scratch);
          wrong += !std::equal(row.begin(), row.end(), expected.row(r).begin());
          if (i % 8 != 0) continue;
          graph.predict_batch(x, out, i % 16 ? &arena : nullptr);
          wrong += !std::equal(out.flat().begin(), out.flat().end(), expected.data());
        }
      };
      std::vector<std::thread> threads;
      for (std::size_t t = 0; t < 3; ++t) threads.emplace_back(serve, 20 * t);
      for (std::thread& thread : threads) thread.join();
      CHECK(wrong == 0);
    }
  }
}
