// Attacks on a network of 784-256-128-10, per step of a row: items are gradients or queries. One thread.
#include "redoubt/robustness/evasion/attack.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/nn/sequential.hpp"

namespace {

using namespace redoubt;

void steps(benchmark::State& state, AttackMethod method) {
  using namespace layer;
  Graph graph = Sequential{Dense{256}, ReLU{}, Dense{128}, ReLU{}, Dense{10}}.graph({784}, 10, true);
  graph.initialise(1);
  graph.compile();
  Random random(1);
  Tensor<float> rows({256, 784}), out({256, 10});
  for (float& v : rows.flat()) v = static_cast<float>(random.uniform(0, 1));
  Arena arena(1);
  graph.predict_batch(rows, out, &arena);
  std::vector<std::int32_t> labels;
  for (std::size_t r = 0; r < 256; ++r) {
    const auto p = out.row(r);
    labels.push_back(static_cast<std::int32_t>(std::max_element(p.begin(), p.end()) - p.begin()));
  }
  // So small a radius breaks few rows.
  const AttackOptions options{.method = method, .radius = 1e-4, .steps = 20, .image_width = 28, .arena = &arena};
  std::size_t done = 0;
  for (auto _ : state) {
    const AttackResult result = attack(graph, rows, labels, options);
    done += result.gradients + result.queries;
  }
  state.SetItemsProcessed(static_cast<std::int64_t>(done));
}
BENCHMARK_CAPTURE(steps, pgd, AttackMethod::pgd)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(steps, apgd_ce, AttackMethod::apgd_ce)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(steps, apgd_targeted, AttackMethod::apgd_targeted)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(steps, square, AttackMethod::square)->Unit(benchmark::kMillisecond);

}  // namespace
