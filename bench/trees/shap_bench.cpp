// Time per row of SHAP values, 500 trees over 28 numeric columns (generated).
#include "redoubt/trees/shap.hpp"

#include <benchmark/benchmark.h>

#include <vector>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

namespace {

using namespace redoubt;

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

const Forest& forest(int trees, int leaves) {
  static std::vector<std::pair<int, Shared<const Forest>>> fitted;
  for (const auto& [key, value] : fitted)
    if (key == trees * 1000 + leaves) return *value;
  fitted.emplace_back(trees * 1000 + leaves,
                      GradientBoosting{{.trees = trees, .max_leaves = leaves}}.fit_encoded(
                          problem().x, {}, {.task = Task::classification, .labels = problem().labels, .classes = 2}));
  return *fitted.back().second;
}

void run(benchmark::State& state, const TreeShap& shap, bool pairs) {
  const auto rows = static_cast<std::size_t>(state.range(2));
  const auto src = MatrixView<const float>(problem().x).slice(0, rows);
  Arena arena(1);
  Tensor<double> out({rows, pairs ? 28u * 28 : 28});
  for (auto _ : state) {
    if (pairs)
      shap.interactions(src, out, &arena);
    else
      shap.values(src, out, &arena);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(2));
}

void build(benchmark::State& state) {
  const Forest& f = forest(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  for (auto _ : state) benchmark::DoNotOptimize(TreeShap(f).outputs());
}
void values(benchmark::State& state) {
  run(state, TreeShap(forest(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)))), false);
}
void interactions(benchmark::State& state) {
  run(state, TreeShap(forest(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)))), true);
}
void interventional(benchmark::State& state) {
  Arena arena(1);
  run(state,
      TreeShap(forest(static_cast<int>(state.range(0)), static_cast<int>(state.range(1))),
               MatrixView<const float>(problem().x).slice(10000, 10100), &arena),
      false);
}

BENCHMARK(build)->Args({500, 31})->Args({500, 255})->Unit(benchmark::kMillisecond);
BENCHMARK(values)
    ->Args({500, 31, 1})
    ->Args({500, 31, 1000})
    ->Args({500, 255, 1})
    ->Args({500, 255, 1000})
    ->Unit(benchmark::kMillisecond);
BENCHMARK(interactions)->Args({500, 31, 64})->Args({500, 255, 64})->Unit(benchmark::kMillisecond);
BENCHMARK(interventional)->Args({500, 31, 1000})->Unit(benchmark::kMillisecond);

}  // namespace
