// The stages of binning and of growing a tree on bins, one kernel each, on random data: ns per unit and the share of a
// stated bound that is reached. `cycle` is measured here, by a chain of dependent additions.
#include "redoubt/trees/binning.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>
#include <vector>

#include "kernels/grow.hpp"
#include "redoubt/core/random.hpp"

namespace {

using namespace redoubt;
using kernels::detail::grow_block_rows;
using kernels::detail::grow_table;

double cycle_ns() {
  static const double value = [] {
    const auto start = std::chrono::steady_clock::now();
    std::uint64_t x = 1;
    for (int i = 0; i < 100'000'000; ++i) asm volatile("add $1, %0" : "+r"(x));
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / 1e8;
  }();
  return value;
}

/// `bound`: ns per unit that cannot be beaten.
void report(benchmark::State& state, std::size_t units, double bound, const char* what) {
  const auto all = static_cast<double>(state.iterations()) * static_cast<double>(units);
  state.SetItemsProcessed(static_cast<std::int64_t>(all));
  state.counters["ns_per_unit"] =
      benchmark::Counter(all * 1e-9, benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
  state.counters["of_bound"] = benchmark::Counter(all * bound * 1e-9, benchmark::Counter::kIsRate);
  state.SetLabel(what);
}

constexpr std::size_t rows = grow_block_rows;

std::vector<std::uint8_t> random_codes(std::size_t n) {
  Random random(1);
  std::vector<std::uint8_t> codes(n + 64);
  for (auto& code : codes) code = static_cast<std::uint8_t>(random.uniform() * 255);
  return codes;
}

std::vector<std::uint32_t> every_other_row() {
  std::vector<std::uint32_t> list(rows);
  for (std::size_t i = 0; i < rows; ++i) list[i] = static_cast<std::uint32_t>(2 * i);
  return list;
}

void assign_bins(benchmark::State& state) {
  Random random(2);
  std::vector<float> x(rows), cuts(256, std::numeric_limits<float>::infinity());
  for (float& v : x) v = static_cast<float>(random.normal());
  for (std::size_t i = 0; i < 254; ++i) cuts[i] = static_cast<float>(random.normal());
  std::sort(cuts.begin(), cuts.begin() + 254);
  std::vector<std::uint8_t> out(rows);
  for (auto _ : state) {
    grow_table().assign(x.data(), 1, rows, cuts.data(), 254, out.data());
    benchmark::DoNotOptimize(out.data());
  }
  report(state, rows, 2 * cycle_ns(), "cell; bound: two masks of 16 cuts moved to a register, one a cycle");
}

void quantise_gradients(benchmark::State& state) {
  Random random(3);
  std::vector<float> g(rows), h(rows, 0.2F);
  for (float& v : g) v = static_cast<float>(random.uniform() - 0.5);
  std::vector<std::uint32_t> out(rows);
  std::int64_t sums[2] = {};
  for (auto _ : state) {
    grow_table().quantise(g.data(), h.data(), nullptr, 0, rows, 8000, 8000, 1, out.data(), sums);
    benchmark::DoNotOptimize(out.data());
  }
  report(state, rows, cycle_ns() / 16 * 2, "row; bound: two loads of 16 floats a cycle and one store");
}

void histogram(benchmark::State& state) {
  const auto codes = random_codes(2 * rows * 32);
  const auto list = every_other_row();
  Random random(4);
  std::vector<std::uint64_t> gathered(4 * rows), pairs(rows), bins(4 * 8 * 256);
  for (auto& pair : pairs) pair = static_cast<std::uint64_t>(random.uniform() * 1e6);
  for (auto _ : state) {
    grow_table().gather(codes.data(), 32, list.data(), 0, rows, 4, nullptr, gathered.data(), rows);
    for (std::size_t group = 0; group < 4; ++group)
      grow_table().accumulate(gathered.data() + group * rows, pairs.data(), rows, 8, bins.data() + group * 2048,
                              codes.data(), 32, list.data(), 0);
    benchmark::DoNotOptimize(bins.data());
  }
  report(state, rows * 32, cycle_ns(), "row and column; bound: one add to memory a cycle");
}

void partition(benchmark::State& state) {
  const auto codes = random_codes(2 * rows);
  const auto list = every_other_row();
  std::vector<std::uint32_t> set(8, 0x55555555), pairs(rows), left(rows + 64), left_pairs(rows + 64), right(rows + 64),
      right_pairs(rows + 64);
  std::vector<std::uint16_t> masks(rows / 16);
  for (auto _ : state) {
    const std::size_t lefts = grow_table().mark(codes.data(), list.data(), 0, rows, set.data(), masks.data());
    grow_table().split(list.data(), 0, pairs.data(), masks.data(), rows, lefts, left.data(), left_pairs.data(),
                       right.data(), right_pairs.data());
    benchmark::DoNotOptimize(left.data());
  }
  report(state, rows, cycle_ns() / 2, "row; bound: a gathered code is a load, two a cycle");
}

void split_scan(benchmark::State& state) {
  Random random(5);
  std::vector<std::int64_t> g(256 + 8);
  std::vector<std::uint64_t> hn(256 + 8);
  for (std::size_t i = 0; i < 255; ++i) {
    g[i] = static_cast<std::int64_t>((random.uniform() - 0.5) * 1e6);
    hn[i] = (std::uint64_t{1'000'000} << 20) + 4000;
  }
  const kernels::detail::SplitScan in{.g = g.data(),
                                      .hn = hn.data(),
                                      .bins = 255,
                                      .missing_g = 0,
                                      .missing_hn = 0,
                                      .total_g = std::accumulate(g.begin(), g.end(), std::int64_t{0}),
                                      .total_hn = std::accumulate(hn.begin(), hn.end(), std::uint64_t{0}),
                                      .count_bits = 20,
                                      .min_rows = 20,
                                      .min_hessian = 1,
                                      .l2 = 0};
  kernels::detail::SplitFound found{};
  for (auto _ : state) {
    grow_table().scan(in, &found);
    benchmark::DoNotOptimize(found);
  }
  report(state, 255, 2 * 16 * cycle_ns() / 8, "bin; bound: two divisions of 8 doubles, 16 cycles each");
}

BENCHMARK(assign_bins);
BENCHMARK(quantise_gradients);
BENCHMARK(histogram);
BENCHMARK(partition);
BENCHMARK(split_scan);

}  // namespace
