// Reading delimited text into typed columns. `bench_data_csv_bench [--benchmark_filter=...]`; the size in MB is the
// argument.
#include <benchmark/benchmark.h>

#include <cstdio>
#include <string>

#include "../support/csv_sample.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/csv.hpp"

namespace {

void read_csv_file(benchmark::State& state) {
  const std::string path = redoubt::bench::write_csv_sample(static_cast<std::size_t>(state.range(0)) * 1'000'000);
  std::size_t rows = 0;
  for (auto _ : state) {
    const redoubt::Dataset data = redoubt::read_csv(path);
    rows = data.rows();
    benchmark::DoNotOptimize(rows);
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * state.range(0) * 1'000'000);
  state.counters["rows"] = static_cast<double>(rows);
  std::remove(path.c_str());
}
BENCHMARK(read_csv_file)->Arg(50)->Unit(benchmark::kMillisecond);

void write_csv_file(benchmark::State& state) {
  const std::string text = redoubt::bench::csv_sample(static_cast<std::size_t>(state.range(0)) * 1'000'000);
  const redoubt::Dataset data = redoubt::read_csv_text(text);
  for (auto _ : state) benchmark::DoNotOptimize(redoubt::write_csv_text(data));
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations()) * static_cast<std::int64_t>(text.size()));
}
BENCHMARK(write_csv_file)->Arg(10)->Unit(benchmark::kMillisecond);

}  // namespace
