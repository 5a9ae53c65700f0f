// Functions of every value on one thread: ns a value in the nearest cache (2,048 values) and from memory (4 million),
// and how near that is to copying as many bytes in the same place (of_copy). Naive: the C library, one value at a time.
#include "redoubt/kernels/activation.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>

#include "bench/support/copy_time.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;

namespace {

/// `streams`: values read or written for each.
template <class Work>
void run(benchmark::State& state, double streams, Work work) {
  const auto count = static_cast<std::size_t>(state.range(0));
  Tensor<float> x({count}), y({count}), z({count});
  Random random(3);
  for (float& v : x.flat()) v = static_cast<float>(random.uniform(-4, 4));
  for (float& v : y.flat()) v = static_cast<float>(random.normal());
  bench::measure(state, streams * sizeof(float), count, [&] {
    work(x.flat(), y.flat(), z.flat());
    benchmark::DoNotOptimize(z.data());
  });
}

using Unary = void (*)(std::span<const float>, std::span<float>) noexcept;
template <Unary function>
void unary(benchmark::State& state) {
  run(state, 2, [](auto x, auto, auto z) { function(x, z); });
}

void gelu_gradient(benchmark::State& state) {
  run(state, 3, [](auto x, auto y, auto z) { kernels::gelu_gradient(x, y, false, z); });
}

void softmax_rows(benchmark::State& state) {
  run(state, 4, [](auto x, auto, auto z) {
    std::copy(x.begin(), x.end(), z.begin());
    kernels::softmax_rows({z.data(), z.size() / 128, 128});
  });
}

void sizes(benchmark::internal::Benchmark* bench) { bench->Arg(2048)->Arg(1 << 22); }

BENCHMARK(unary<kernels::exp>)->Name("exp")->Apply(sizes);
BENCHMARK(unary<kernels::tanh>)->Name("tanh")->Apply(sizes);
BENCHMARK(unary<kernels::sigmoid>)->Name("sigmoid")->Apply(sizes);
BENCHMARK(unary<kernels::relu>)->Name("relu")->Apply(sizes);
BENCHMARK(unary<kernels::erf>)->Name("erf")->Apply(sizes);
BENCHMARK(unary<kernels::gelu>)->Name("gelu")->Apply(sizes);
BENCHMARK(gelu_gradient)->Apply(sizes);
BENCHMARK(softmax_rows)->Apply(sizes);
BENCHMARK(unary<kernels::naive::exp>)->Name("naive_exp")->Arg(2048);
BENCHMARK(unary<kernels::naive::tanh>)->Name("naive_tanh")->Arg(2048);
BENCHMARK(unary<kernels::naive::gelu>)->Name("naive_gelu")->Arg(2048);

}  // namespace
