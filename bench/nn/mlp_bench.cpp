// A fit of ten epochs: 784-128-10 on 6000 simulated images, 32-64-64-2 on 20000 rows. Rows per second count epochs.
#include "redoubt/nn/mlp.hpp"

#include <benchmark/benchmark.h>

#include <vector>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"

using namespace redoubt;

namespace {

Dataset simulated(std::size_t rows, std::size_t cols, std::size_t classes) {
  Random random(1);
  Tensor<float> x{rows, cols};
  std::vector<std::int32_t> y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    y[r] = static_cast<std::int32_t>(r % classes);
    for (std::size_t c = 0; c < cols; ++c) {
      x(r, c) = static_cast<float>(random.normal() + (c % classes == r % classes ? 0.5 : 0.0));
    }
  }
  return Dataset::from_matrix(x, std::span<const std::int32_t>(y));
}

void fit(benchmark::State& state) {
  const bool images = state.range(0) == 1;
  const Dataset data = images ? simulated(6000, 784, 10) : simulated(20000, 32, 2);
  Arena arena(static_cast<int>(state.range(1)));
  MlpOptions options{.patience = 0, .arena = &arena};
  if (images) options.hidden = {128};
  options.epochs = 10;
  for (auto _ : state) benchmark::DoNotOptimize(Mlp{options}.fit(data));
  state.SetItemsProcessed(state.iterations() * options.epochs * static_cast<std::int64_t>(data.rows()));
}
BENCHMARK(fit)
    ->ArgNames({"images", "threads"})
    ->ArgsProduct({{0, 1}, {1, 2}})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
