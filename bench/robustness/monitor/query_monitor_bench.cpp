// Added cost of watching one query, by the number of fields.
#include "redoubt/robustness/monitor/query_monitor.hpp"

#include <benchmark/benchmark.h>

#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"

namespace {

void observe(benchmark::State& state) {
  const auto cols = static_cast<std::size_t>(state.range(0));
  redoubt::Random random(1);
  redoubt::Tensor<float> rows({2000, cols});
  for (float& v : rows.flat()) v = static_cast<float>(random.normal());
  redoubt::QueryMonitor monitor{redoubt::MatrixView<const float>(rows)};
  std::uint64_t i = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(monitor.observe(i % 1000, rows.row(i % 2000)));
    ++i;
  }
}
BENCHMARK(observe)->Arg(10)->Arg(30)->Arg(100)->Arg(784);

}  // namespace
