// Layer normalisation of rows of 256, one thread: ns a value for 8 rows (in the nearest cache) and 16,384 (from
// memory), and how near that is to copying what is read and written (of_copy).
#include "redoubt/kernels/normalise.hpp"

#include <benchmark/benchmark.h>

#include <vector>

#include "bench/support/copy_time.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;

namespace {

constexpr std::size_t width = 256;

struct Rows {
  Tensor<float> x, from, to;
  std::vector<float> scale = std::vector<float>(width, 1.5f), shift = std::vector<float>(width, 0.5f);

  explicit Rows(std::size_t count) : x({count, width}), from({count, width}), to({count, width}) {
    Random random(3);
    for (float& v : x.flat()) v = static_cast<float>(random.normal());
    for (float& v : from.flat()) v = static_cast<float>(random.normal());
  }
};

void forward(benchmark::State& state) {
  Rows rows(static_cast<std::size_t>(state.range(0)));
  bench::measure(state, 2 * sizeof(float), rows.x.size(), [&] {
    for (std::size_t r = 0; r < rows.x.rows(); ++r)
      kernels::normalise(rows.x.row(r), kernels::moments(rows.x.row(r), 1e-5), rows.scale, rows.shift, rows.to.row(r));
    benchmark::DoNotOptimize(rows.to.data());
  });
}

void backward(benchmark::State& state) {
  Rows rows(static_cast<std::size_t>(state.range(0)));
  std::vector<float> scales(width), shifts(width);
  bench::measure(state, 3 * sizeof(float), rows.x.size(), [&] {
    for (std::size_t r = 0; r < rows.x.rows(); ++r) {
      const auto x = rows.x.row(r);
      const kernels::Moments moments = kernels::moments(x, 1e-5);
      kernels::normalise_gradient(x, moments, rows.scale, rows.from.row(r), false, rows.to.row(r));
      kernels::normalise_sums(x, moments, rows.from.row(r), scales, shifts);
    }
    benchmark::DoNotOptimize(rows.to.data());
    benchmark::DoNotOptimize(scales.data());
  });
}

BENCHMARK(forward)->Arg(8)->Arg(1 << 14);
BENCHMARK(backward)->Arg(8)->Arg(1 << 14);

}  // namespace
