// A step of Adam on one thread: ns a parameter where all is in the nearest cache (1,024) or comes from memory (4
// million), and how near that is to copying the 28 bytes that it reads and writes (of_copy).
#include "redoubt/kernels/optimizer.hpp"

#include <benchmark/benchmark.h>

#include "bench/support/copy_time.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;

namespace {

void adam(benchmark::State& state) {
  const auto count = static_cast<std::size_t>(state.range(0));
  Tensor<float> w({count}), g({count}), m({count}), v({count});
  Random random(3);
  for (float& x : g.flat()) x = static_cast<float>(random.normal());
  bench::measure(state, 7 * sizeof(float), count, [&] {
    kernels::adam({}, w.flat(), g.flat(), m.flat(), v.flat());
    benchmark::DoNotOptimize(w.data());
  });
}
BENCHMARK(adam)->Arg(1024)->Arg(1 << 22);

}  // namespace
