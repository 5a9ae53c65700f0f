// fp32 products on one thread with random data: GFLOP/s and the fraction of the FMA peak that this program measures
// on the same core, beside OpenBLAS (one thread) and Eigen. Compare within one run only.
#include "redoubt/kernels/matmul.hpp"

#include <benchmark/benchmark.h>
#include <cblas.h>

#include <algorithm>
#include <chrono>

#include "bench/kernels/eigen_product.hpp"
#include "bench/support/fma_peak.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/runtime.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;

namespace {

Tensor<float> random_matrix(std::size_t rows, std::size_t cols) {
  Tensor<float> values({rows, cols});
  Random random(7, rows * cols);
  for (float& value : values.flat()) value = static_cast<float>(random.uniform(-1, 1));
  return values;
}

template <class Multiply>
void run(benchmark::State& state, Multiply multiply) {
  const auto m = std::size_t(state.range(0)), k = std::size_t(state.range(1)), n = std::size_t(state.range(2));
  const Tensor<float> a = random_matrix(m, k), b = random_matrix(k, n), bias = random_matrix(1, n);
  Tensor<float> c({m, n});
  const double peak = bench::fma_peak();
  double best = 1e30;
  for (auto _ : state) {
    const auto begin = std::chrono::steady_clock::now();
    multiply(a, b, bias, c);
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    best = std::min(best, seconds.count());
    benchmark::DoNotOptimize(c.data());
    benchmark::ClobberMemory();
  }
  const double gflops = 2.0 * double(m) * double(n) * double(k) * 1e-9 / best;
  state.counters["best_GFLOPs"] = gflops;
  if (peak > 0) state.counters["of_peak"] = gflops / std::max(peak, bench::fma_peak());
}

void redoubt_matmul(benchmark::State& state) {
  static Arena one(1);
  run(state, [](const auto& a, const auto& b, const auto&, auto& c) { kernels::matmul(a, b, c, {.arena = &one}); });
}

void redoubt_matmul_bias_relu(benchmark::State& state) {
  static Arena one(1);
  run(state, [](const auto& a, const auto& b, const auto& bias, auto& c) {
    kernels::matmul(a, b, c,
                    {.epilogue = {.bias = bias.data(), .activation = kernels::Activation::relu}, .arena = &one});
  });
}

/// The gradients of a dense layer: the same arithmetic with one operand transposed.
void redoubt_matmul_tn(benchmark::State& state) {
  static Arena one(1);
  run(state, [](const auto& a, const auto& b, const auto&, auto& c) {
    const MatrixView<const float> transposed(a.data(), a.cols(), a.rows());
    kernels::matmul_tn(transposed, b, c, {.arena = &one});
  });
}

void redoubt_matmul_nt(benchmark::State& state) {
  static Arena one(1);
  run(state, [](const auto& a, const auto& b, const auto&, auto& c) {
    const MatrixView<const float> transposed(b.data(), b.cols(), b.rows());
    kernels::matmul_nt(a, transposed, c, {.arena = &one});
  });
}

void openblas_sgemm(benchmark::State& state) {
  configure({.single_threaded_openblas = true});
  run(state, [](const auto& a, const auto& b, const auto&, auto& c) {
    const int m = int(c.rows()), n = int(c.cols()), k = int(a.cols());
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, 1, a.data(), k, b.data(), n, 0, c.data(), n);
  });
}

void eigen_product(benchmark::State& state) {
  run(state, [](const auto& a, const auto& b, const auto&, auto& c) { bench::eigen_product(a, b, c); });
}

/// M, K, N: squares, then the layers of a 784-512-512-10 network at batches 1, 32, 128 and 512.
void shapes(benchmark::internal::Benchmark* b) {
  for (const int size : {64, 128, 256, 512, 1024}) b->Args({size, size, size});
  for (const int batch : {1, 32, 128, 512}) {
    b->Args({batch, 784, 512});
    b->Args({batch, 512, 512});
    b->Args({batch, 512, 10});
  }
  b->ArgNames({"M", "K", "N"})->Unit(benchmark::kMicrosecond);
}

}  // namespace

BENCHMARK(redoubt_matmul)->Apply(shapes);
BENCHMARK(redoubt_matmul_bias_relu)->Apply(shapes);
BENCHMARK(redoubt_matmul_tn)->Apply(shapes);
BENCHMARK(redoubt_matmul_nt)->Apply(shapes);
BENCHMARK(openblas_sgemm)->Apply(shapes);
BENCHMARK(eigen_product)->Apply(shapes);
