// Time per row of forest prediction, on a generated binary problem with 28 numeric columns.
#include "redoubt/trees/forest.hpp"

#include <benchmark/benchmark.h>

#include <vector>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
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
  Shared<const Forest> fit(int trees, int leaves) const {
    return GradientBoosting{{.trees = trees, .max_leaves = leaves}}.fit_encoded(
        x, {}, {.task = Task::classification, .labels = labels, .classes = 2});
  }
};

const Problem& problem() {
  static const Problem instance;
  return instance;
}

void predict_row(benchmark::State& state) {
  const auto forest = problem().fit(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  std::vector<float> out(2);
  std::size_t r = 0;
  for (auto _ : state) {
    forest->predict(problem().x.row(r), out, {});
    benchmark::DoNotOptimize(out.data());
    r = (r + 1) % problem().x.rows();
  }
  state.SetItemsProcessed(state.iterations());
}

void predict_batch(benchmark::State& state) {
  const auto forest = problem().fit(static_cast<int>(state.range(0)), static_cast<int>(state.range(1)));
  const auto rows = static_cast<std::size_t>(state.range(2));
  Arena arena(1);
  Tensor<float> out({rows, 2});
  for (auto _ : state) {
    forest->predict_batch(MatrixView<const float>(problem().x).slice(0, rows), out, &arena);
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * state.range(2));
}

BENCHMARK(predict_row)->Args({100, 31})->Args({500, 31})->Args({500, 255});
BENCHMARK(predict_batch)->Args({500, 31, 64})->Args({500, 31, 8192})->Args({500, 255, 8192});

}  // namespace
