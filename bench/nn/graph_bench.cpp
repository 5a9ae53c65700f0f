// Passes over a 784-128-10 and a 32-64-64-2 network: one row, a batch, an attack gradient, bounds of a box.
#include "redoubt/nn/graph.hpp"

#include <benchmark/benchmark.h>

#include <vector>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;

namespace {

Graph network(bool images) {
  const std::vector<double> widths = images ? std::vector<double>{128, 10} : std::vector<double>{64, 64, 2};
  std::vector<GraphNode> nodes;
  for (const double width : widths) {
    const auto tensor = static_cast<std::uint32_t>(nodes.size());
    nodes.push_back({"dense", {tensor}, {width}});
    nodes.push_back({nodes.size() + 1 == 2 * widths.size() ? "softmax" : "relu", {tensor + 1}});
  }
  Graph graph({images ? 784u : 32u}, std::move(nodes));
  graph.initialise(1);
  return graph;
}

Tensor<float> rows(std::size_t count, std::size_t width) {
  Random random(2);
  Tensor<float> x{count, width};
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  return x;
}

void predict_row(benchmark::State& state) {
  const Graph graph = network(state.range(0) == 1);
  const Tensor<float> x = rows(1, graph.inputs());
  std::vector<float> out(graph.outputs()), scratch(graph.scratch_size());
  for (auto _ : state) {
    graph.predict(x.row(0), out, scratch);
    benchmark::DoNotOptimize(out.data());
  }
}
BENCHMARK(predict_row)->ArgName("images")->Arg(0)->Arg(1);

void predict_batch(benchmark::State& state) {
  const Graph graph = network(state.range(0) == 1);
  const Tensor<float> x = rows(4096, graph.inputs());
  Tensor<float> out{std::size_t{4096}, graph.outputs()};
  Arena arena(static_cast<int>(state.range(1)));
  for (auto _ : state) graph.predict_batch(x, out, &arena);
  state.SetItemsProcessed(state.iterations() * 4096);
}
BENCHMARK(predict_batch)->ArgNames({"images", "threads"})->ArgsProduct({{0, 1}, {1, 2}})->UseRealTime();

void loss_gradient(benchmark::State& state) {
  const Graph graph = network(state.range(0) == 1);
  const Tensor<float> x = rows(1, graph.inputs());
  GraphWorkspace workspace(graph, 1);
  std::vector<float> gradient(graph.inputs());
  for (auto _ : state) benchmark::DoNotOptimize(graph.loss_gradient(x.row(0), 1, gradient, workspace));
}
BENCHMARK(loss_gradient)->ArgName("images")->Arg(0)->Arg(1);

void margin_bounds(benchmark::State& state) {
  const Graph graph = network(state.range(0) == 1);
  const Tensor<float> lower = rows(1, graph.inputs());
  Tensor<float> upper = lower;
  for (float& v : upper.flat()) v += 0.1f;
  std::vector<float> margins(graph.score_count());
  for (auto _ : state) graph.margin_bounds(lower.row(0), upper.row(0), 0, margins);
}
BENCHMARK(margin_bounds)->ArgName("images")->Arg(0)->Arg(1);

}  // namespace
