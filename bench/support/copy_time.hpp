#pragma once
// How near a benchmark is to the speed of memory.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <vector>

namespace redoubt::bench {

/// Runs work() on `count` values, each of which takes `bytes` from or to memory. Counters, of the fastest run:
/// ns_value, and of_copy: the fastest memcpy in turns with it, which moves as many bytes in all (half of them each
/// way), over it.
template <class Work>
void measure(benchmark::State& state, double bytes, std::size_t count, Work work) {
  const auto half = static_cast<std::size_t>(bytes * static_cast<double>(count) / 2);
  std::vector<std::byte> src(half, std::byte{1}), dst(half);
  const auto seconds = [](auto job) {
    const auto begin = std::chrono::steady_clock::now();
    job();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  // Short work is repeated, so that reading the clock is nothing.
  const int repeats = half < 1 << 20 ? 64 : 1;
  double best = 1e30, best_copy = 1e30;
  for (auto _ : state) {
    best = std::min(best, seconds([&] {
                      for (int i = 0; i < repeats; ++i) work();
                    }));
    state.PauseTiming();
    best_copy = std::min(best_copy, seconds([&] {
                           for (int i = 0; i < repeats; ++i) {
                             std::memcpy(dst.data(), src.data(), half);
                             benchmark::DoNotOptimize(dst.data());
                             benchmark::ClobberMemory();
                           }
                         }));
    state.ResumeTiming();
  }
  state.counters["ns_value"] = best / repeats / static_cast<double>(count) * 1e9;
  state.counters["of_copy"] = best_copy / best;
}

}  // namespace redoubt::bench
