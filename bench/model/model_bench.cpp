// One row through the whole model (encode, predict), many rows, loading and saving; one model per learned form.
#include "redoubt/model/model.hpp"

#include <benchmark/benchmark.h>

#include <array>
#include <cmath>
#include <string>
#include <vector>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/model/predictor.hpp"
#include "redoubt/nn/mlp.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

namespace {

using namespace redoubt;

constexpr std::size_t rows = 10'000, numbers = 24, categories = 6;

/// Two classes, numbers with one gap in 50, categories of 12.
const Dataset& table() {
  static const Dataset data = [] {
    Random random(1);
    std::vector<Column> columns;
    std::vector<double> score(rows);
    for (std::size_t c = 0; c < numbers; ++c) {
      Column column{{"n" + std::to_string(c), ColumnType::numeric, ColumnRole::feature, {}}, {}, {}, {}, {}};
      for (std::size_t r = 0; r < rows; ++r) {
        const double x = random.normal();
        score[r] += x * std::cos(static_cast<double>(c));
        column.numbers.push_back(random.below(50) == 0 ? std::nan("") : x);
      }
      columns.push_back(std::move(column));
    }
    for (std::size_t c = 0; c < categories; ++c) {
      Column column{{"c" + std::to_string(c), ColumnType::categorical, ColumnRole::feature, {}}, {}, {}, {}, {}};
      for (int k = 0; k < 12; ++k) column.spec.categories.push_back("value " + std::to_string(k));
      for (std::size_t r = 0; r < rows; ++r) {
        column.codes.push_back(static_cast<std::int32_t>(random.below(12)));
        score[r] += column.codes.back() % 3 - 1;
      }
      columns.push_back(std::move(column));
    }
    Column target{{"y", ColumnType::categorical, ColumnRole::target, {"no", "yes"}}, {}, {}, {}, {}};
    for (std::size_t r = 0; r < rows; ++r) target.codes.push_back(score[r] + random.normal() > 0);
    columns.push_back(std::move(target));
    return Dataset(std::move(columns));
  }();
  return data;
}

const Model& model(std::int64_t form) {
  static const std::array<Model, 3> models{LogisticRegression{}.fit(table()),
                                           GradientBoosting{{.trees = 100}}.fit(table()),
                                           Mlp{{.epochs = 3}}.fit(table())};
  return models[static_cast<std::size_t>(form)];
}

void one_row(benchmark::State& state) {
  const Model& m = model(state.range(0));
  Tensor<float> raw({std::size_t{256}, m.inputs()});
  for (std::size_t r = 0; r < raw.rows(); ++r) m.encoder().raw_row(table().row(r), raw.row(r));
  std::array<float, 2> out{};
  std::size_t r = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(m.predict(raw.row(r++ % 256), out));
    benchmark::DoNotOptimize(out);
  }
  state.SetLabel(std::string(m.predictor().form()));
}
BENCHMARK(one_row)->DenseRange(0, 2);

void one_row_of_a_dataset(benchmark::State& state) {
  const Model& m = model(state.range(0));
  std::size_t r = 0;
  for (auto _ : state) benchmark::DoNotOptimize(m.predict_proba(table().row(r++ % rows)));
  state.SetLabel(std::string(m.predictor().form()));
}
BENCHMARK(one_row_of_a_dataset)->DenseRange(0, 2);

void batch(benchmark::State& state) {
  const Model& m = model(state.range(0));
  Arena arena(static_cast<int>(state.range(1)));
  for (auto _ : state) benchmark::DoNotOptimize(m.predict_proba(table(), &arena));
  state.SetItemsProcessed(state.iterations() * static_cast<std::int64_t>(rows));
  state.SetLabel(std::string(m.predictor().form()));
}
BENCHMARK(batch)->ArgsProduct({{0, 1, 2}, {1, 2}})->ArgNames({"form", "threads"})->UseRealTime();

void load(benchmark::State& state) {
  const auto bytes = model(state.range(0)).to_bytes();
  for (auto _ : state) benchmark::DoNotOptimize(Model::from_bytes(bytes));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes.size()));
}
BENCHMARK(load)->DenseRange(0, 2);

void to_bytes(benchmark::State& state) {
  const Model& m = model(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(m.to_bytes());
}
BENCHMARK(to_bytes)->DenseRange(0, 2);

void evaluate(benchmark::State& state) {
  const Model& m = model(state.range(0));
  for (auto _ : state) benchmark::DoNotOptimize(m.evaluate(table()).rows());
}
BENCHMARK(evaluate)->DenseRange(0, 2)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
