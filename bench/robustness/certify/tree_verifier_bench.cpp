// One question to the verifier of trees, by the number of trees and the radius in thousandths.
#include "redoubt/robustness/certify/tree_verifier.hpp"

#include <benchmark/benchmark.h>

#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/data/generators.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

namespace {

using namespace redoubt;

void verify(benchmark::State& state) {
  const Dataset data = generate_blobs({.rows = 2000, .features = 10, .classes = 2, .spread = 2, .seed = 3});
  const Model model = GradientBoosting{{.trees = static_cast<int>(state.range(0)), .max_leaves = 8}}.fit(data);
  const Tensor<float> rows = model.encoder().apply(data);
  const auto labels = data.labels();
  const TreeVerifier verifier(dynamic_cast<const Forest&>(model.predictor()));
  const double radius = static_cast<double>(state.range(1)) / 1000;
  std::size_t r = 0, certified = 0, asked = 0;
  for (auto _ : state) {
    const auto answer = verifier.verify(rows.row(r), static_cast<std::size_t>(labels[r]), radius);
    certified += answer.result == Robustness::certified;
    ++asked;
    r = (r + 1) % rows.rows();
  }
  state.counters["certified"] = static_cast<double>(certified) / static_cast<double>(asked);
}
BENCHMARK(verify)->Args({10, 50})->Args({10, 200})->Args({50, 50})->Args({50, 200})->Unit(benchmark::kMicrosecond);

}  // namespace
