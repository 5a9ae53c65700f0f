// Time per row of forest prediction, on a generated binary problem with 28 numeric columns (random data, seed 1): every
// engine, one row and batches, hot and with the caches emptied before each row.
//
// bound_ns is the stated limit of the engine on one row, from the bytes that it must move into the first cache at 32
// per cycle and 3.5 GHz (the L2 of Zen 4) and the coding at 2 cycles a value: the sweep reads 3 bytes a node and a line
// of leaf values a tree, the blocks read 3 bytes for each of 15 upper nodes and two lines a tree, a slice of 512 rows
// reads 64 bytes a select and 8 of program. fraction = bound / measured. ns_per_tree = measured / trees.
#include "redoubt/trees/forest.hpp"

#include <benchmark/benchmark.h>

#include <vector>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

namespace {

using namespace redoubt;

constexpr double hertz = 3.5e9, bytes_per_cycle = 32;

struct Problem {
  Tensor<float> x{{20000, 28}};
  std::vector<std::int32_t> labels;

  Problem() {
    Random random(1);
    for (std::size_t r = 0; r < x.rows(); ++r) {
      for (float& v : x.row(r)) v = static_cast<float>(random.normal());
      labels.push_back(x(r, 0) * x(r, 1) + x(r, 2) + random.normal() > 0);
    }
  }
};

const Problem& problem() {
  static const Problem instance;
  return instance;
}

/// Trained once per size.
const Forest& trained(int trees, int leaves) {
  static std::vector<std::pair<std::pair<int, int>, Shared<const Forest>>> known;
  for (const auto& [key, forest] : known)
    if (key == std::pair(trees, leaves)) return *forest;
  known.push_back({{trees, leaves},
                   GradientBoosting{{.trees = trees, .max_leaves = leaves}}.fit_encoded(
                       problem().x, {}, {.task = Task::classification, .labels = problem().labels, .classes = 2})});
  return *known.back().second;
}

Forest with(const Forest& forest, ForestPath path, bool avx512 = true) {
  return Forest(forest.shape(), forest.arrays(), {.row = path, .batch = path, .avx512 = avx512});
}

void row(benchmark::State& state, ForestPath path, bool cold, bool avx512 = true) {
  const Forest forest = with(trained(static_cast<int>(state.range(0)), static_cast<int>(state.range(1))), path, avx512);
  std::vector<float> out(2);
  std::vector<unsigned char> other(cold ? std::size_t{64} << 20 : 0);
  std::size_t r = 0;
  for (auto _ : state) {
    if (cold) {
      state.PauseTiming();
      for (std::size_t i = 0; i < other.size(); i += 64) ++other[i];
      state.ResumeTiming();
    }
    forest.predict(problem().x.row(r), out, {});
    benchmark::DoNotOptimize(out.data());
    r = (r + 1) % problem().x.rows();
  }
  state.SetItemsProcessed(state.iterations());
  state.SetLabel(forest.engine().row);
  const auto trees = static_cast<double>(forest.trees());
  state.counters["ns_per_tree"] = benchmark::Counter(trees * static_cast<double>(state.iterations()) * 1e-9,
                                                     benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  if ((path == ForestPath::sweep || path == ForestPath::blocks) && !cold) {
    const double bytes = path == ForestPath::sweep
                             ? 3.0 * static_cast<double>(forest.arrays().feature.size()) + 64.0 * trees
                             : (3.0 * 15 + 128) * trees;
    const double bound = (bytes / bytes_per_cycle + 2.0 * static_cast<double>(forest.engine().columns)) / hertz;
    state.counters["bound_ns"] = bound * 1e9;
    state.counters["fraction"] =
        benchmark::Counter(bound * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
  }
}

void batch(benchmark::State& state, ForestPath path, bool avx512) {
  const Forest forest = with(trained(static_cast<int>(state.range(0)), static_cast<int>(state.range(1))), path, avx512);
  const auto rows = static_cast<std::size_t>(state.range(2));
  Arena arena(1);
  Tensor<float> out({rows, 2});
  for (auto _ : state) {
    forest.predict_batch(MatrixView<const float>(problem().x).slice(0, rows), out, &arena);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(2));
  state.SetLabel(forest.engine().batch);
}

void build(benchmark::State& state) {
  const Forest& forest = trained(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  for (auto _ : state) benchmark::DoNotOptimize(with(forest, ForestPath::automatic, true));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(forest.arrays().feature.size()));
}

void rows_of(benchmark::internal::Benchmark* b) { b->Args({500, 31})->Args({500, 255}); }
void batches_of(benchmark::internal::Benchmark* b) {
  for (const int leaves : {31, 255})
    for (const int rows : {64, 10000}) b->Args({500, leaves, rows});
}

BENCHMARK_CAPTURE(row, sweep, ForestPath::sweep, false)->Apply(rows_of);
BENCHMARK_CAPTURE(row, sweep_cold, ForestPath::sweep, true)->Apply(rows_of)->Iterations(200);
BENCHMARK_CAPTURE(row, blocks, ForestPath::blocks, false)->Apply(rows_of);
BENCHMARK_CAPTURE(row, blocks_avx2, ForestPath::blocks, false, false)->Apply(rows_of);
BENCHMARK_CAPTURE(row, blocks_cold, ForestPath::blocks, true)->Apply(rows_of)->Iterations(200);
BENCHMARK_CAPTURE(row, chosen, ForestPath::automatic, false)->Apply(rows_of);
BENCHMARK_CAPTURE(row, walk, ForestPath::walk, false)->Apply(rows_of);
BENCHMARK_CAPTURE(batch, chosen, ForestPath::automatic, true)->Apply(batches_of);
BENCHMARK_CAPTURE(batch, sliced, ForestPath::sliced, true)->Apply(batches_of);
BENCHMARK_CAPTURE(batch, sliced_avx2, ForestPath::sliced, false)->Apply(batches_of);
BENCHMARK_CAPTURE(batch, walk, ForestPath::walk, true)->Apply(batches_of);
BENCHMARK(build)->Apply(rows_of);

}  // namespace
