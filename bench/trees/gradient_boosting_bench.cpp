// Time to train: binning apart from boosting, dense numbers apart from hashed text (mostly zero columns).
#include "redoubt/trees/gradient_boosting.hpp"

#include <benchmark/benchmark.h>

#include <vector>

#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"

namespace {

using namespace redoubt;

/// Standard normal cells, of which a share is kept and the others are 0.
Tensor<float> make_matrix(std::size_t rows, std::size_t cols, double share) {
  Tensor<float> x({rows, cols});
  Random random(1);
  for (float& v : x.flat())
    if (random.uniform() < share) v = static_cast<float>(random.normal());
  return x;
}

std::vector<std::int32_t> make_labels(const Tensor<float>& x) {
  Random random(2);
  std::vector<std::int32_t> labels;
  for (std::size_t r = 0; r < x.rows(); ++r) {
    double sum = random.normal();
    for (std::size_t c = 0; c < x.cols(); c += 5) sum += x(r, c);
    labels.push_back(sum > 0);
  }
  return labels;
}

void bin(benchmark::State& state) {
  const auto x = make_matrix(static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)), 1);
  for (auto _ : state) benchmark::DoNotOptimize(BinnedMatrix(x, {}));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(x.size()));
}

/// One item is one row and tree.
void boost(benchmark::State& state) {
  const auto x = make_matrix(static_cast<std::size_t>(state.range(0)), static_cast<std::size_t>(state.range(1)),
                             static_cast<double>(state.range(2)) / 100);
  const auto labels = make_labels(x);
  const BinnedMatrix bins(x, {});
  const TreeTarget y{.task = Task::classification, .labels = labels, .classes = 2};
  constexpr int trees = 20;
  for (auto _ : state) benchmark::DoNotOptimize(GradientBoosting{{.trees = trees}}.fit_binned(bins, y));
  state.SetItemsProcessed(state.iterations() * trees * state.range(0));
}

BENCHMARK(bin)->Args({50000, 28})->Unit(benchmark::kMillisecond);
BENCHMARK(boost)->Args({50000, 28, 100})->Args({20000, 1024, 3})->Unit(benchmark::kMillisecond);

}  // namespace
