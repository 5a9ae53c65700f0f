#include "redoubt/nn/precision.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/dispatch.hpp"
#include "kernels/emulated_tiles.hpp"
#include "kernels/rounded.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/nn/mlp.hpp"
#include "redoubt/nn/neural_network.hpp"
#include "redoubt/nn/sequential.hpp"
#include "redoubt/nn/trainer.hpp"
#include "redoubt/nn/training_callback.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

constexpr TrainingPrecision all[] = {TrainingPrecision::strict_fp32, TrainingPrecision::fp32x3,
                                     TrainingPrecision::bf16};
const Sequential wide{Dense{200}, ReLU{}, Dense{100}, ReLU{}, Dense{4}};
const Sequential image{Reshape{{8, 8, 1}}, Conv2d{16, 3, 1, 1}, ReLU{}, MaxPool2d{}, Conv2d{24, 3, 1, 1}, ReLU{},
                       Flatten{},          Dense{40},           ReLU{}, Dense{4}};

/// Four classes: which corner of the image, or quarter of the row, is brightest.
struct Batch {
  Tensor<float> rows, targets;
  Batch(std::size_t count, std::uint64_t seed) : rows{count, std::size_t{64}}, targets{count, std::size_t{1}} {
    Random random(seed);
    for (std::size_t r = 0; r < count; ++r) {
      const auto label = random.below(4);
      targets(r, 0) = static_cast<float>(label);
      for (std::size_t i = 0; i < 64; ++i) {
        const bool here = i / 32 == label / 2 && i % 8 / 4 == label % 2;
        rows(r, i) = static_cast<float>(random.normal() + 0.7 * double(here));
      }
    }
  }
};

Graph make(const Sequential& layers) {
  Graph graph = layers.graph({64}, 0, true);
  graph.initialise(1);
  return graph;
}

std::vector<float> copy(const Graph& graph) { return {graph.parameters().begin(), graph.parameters().end()}; }

std::vector<float> trained(const Sequential& layers, TrainingPrecision precision, int threads, int steps,
                           const Optimizer& optimizer = {}, TrainingCallback* callback = nullptr) {
  Arena arena(threads);
  Graph graph = make(layers);
  Trainer trainer(graph, NetworkLoss{},
                  {.batch = 90, .optimizer = optimizer, .precision = precision, .callback = callback, .arena = &arena});
  for (int i = 0; i < steps; ++i) {
    const Batch batch(90, 100 + static_cast<std::uint64_t>(i));
    trainer.step(batch.rows, batch.targets);
  }
  return copy(graph);
}

}  // namespace

TEST_CASE("TrainingPrecision: the default is said, and is not one that is slower here", "[precision]") {
  const TrainingPrecision chosen = chosen_precision(TrainingPrecision::automatic);
  CHECK(chosen == (active_isa() >= Isa::amx ? TrainingPrecision::fp32x3 : TrainingPrecision::strict_fp32));
  for (const TrainingPrecision p : all) CHECK(chosen_precision(p) == p);
  Graph graph = make(wide);
  CHECK(Trainer(graph, NetworkLoss{}, {}).precision() == chosen);
  CHECK_THROWS_WITH(Trainer(graph, NetworkLoss{}, {.precision = TrainingPrecision(9)}), Catch::Contains("precision"));

  Mlp mlp{{.hidden = {8}, .epochs = 2, .patience = 0}};
  const Batch rows(60, 1);
  std::vector<std::int32_t> labels;
  for (const float label : rows.targets.flat()) labels.push_back(static_cast<std::int32_t>(label));
  const Dataset data = Dataset::from_matrix(rows.rows, std::span<const std::int32_t>(labels));
  CHECK_THAT(mlp.fit(data).info().options, Catch::Contains(std::string("precision=") + to_string(chosen)));
  mlp.options.precision = TrainingPrecision::bf16;
  CHECK_THAT(mlp.fit(data).info().options, Catch::Contains("precision=bf16"));

  // L-BFGS wants exact gradients.
  NeuralNetwork network({Dense{8}, ReLU{}, Output{}}, {.epochs = 2, .optimizer = {.kind = OptimizerKind::lbfgs}});
  CHECK_THAT(network.fit(data).info().options, Catch::Contains("precision=strict_fp32"));
  network.options.precision = TrainingPrecision::bf16;
  CHECK_THROWS_WITH(network.fit(data), Catch::Contains("precision") && Catch::Contains("lbfgs"));
}

TEST_CASE("TrainingPrecision: gradients of a step differ from those of fp32 by the stated rounding", "[precision]") {
  struct Keep final : TrainingCallback {
    std::vector<float> gradient;
    void after_step(const TrainingStep& step) override { gradient.assign(step.gradient.begin(), step.gradient.end()); }
    bool after_epoch(const TrainingEpoch&) override { return true; }
  };
  const Batch batch(64, 5);
  // Smooth networks: a ReLU or a maximum near a tie may turn, whatever the rounding.
  const Sequential smooth{Dense{200}, Tanh{}, Dense{100}, Tanh{}, Dense{4}};
  const Sequential smooth_image{
      Reshape{{8, 8, 1}}, Conv2d{16, 3, 1, 1}, Tanh{}, AveragePool2d{}, Conv2d{24, 3, 1, 1}, Tanh{},
      Flatten{},          Dense{40},           Tanh{}, Dense{4}};
  const Sequential smooth_up{Reshape{{1, 1, 64}}, ConvTranspose2d{8, 2}, Tanh{}, ConvTranspose2d{1, 1}, Flatten{}};
  for (const Sequential& layers : {smooth, smooth_image, smooth_up}) {
    std::vector<std::vector<float>> gradients;
    for (const TrainingPrecision precision : all) {
      Keep keep;
      Graph graph = make(layers);
      Trainer trainer(graph, NetworkLoss{}, {.batch = 64, .precision = precision, .callback = &keep});
      trainer.step(batch.rows, batch.targets);
      gradients.push_back(keep.gradient);
    }
    double size = 0, x3 = 0, bf16 = 0;
    for (std::size_t i = 0; i < gradients[0].size(); ++i) {
      size += std::pow(gradients[0][i], 2);
      x3 += std::pow(gradients[1][i] - gradients[0][i], 2);
      bf16 += std::pow(gradients[2][i] - gradients[0][i], 2);
    }
    // Each product on the way errs by at most this much of |a||b|.
    CHECK(std::sqrt(x3 / size) < 3 * 0x1p-16);
    CHECK(std::sqrt(bf16 / size) < 2 * 0x1p-7);
    CHECK(std::sqrt(x3 / size) > 1e-7);  // it was not fp32 that ran
    CHECK(std::sqrt(bf16 / size) > 1e-4);
  }
}

TEST_CASE("TrainingPrecision: small networks learn as well in each", "[precision]") {
  const Batch test(600, 7);
  for (const Sequential& layers : {wide, image}) {
    int strict = 0;
    for (const TrainingPrecision precision : all) {
      Graph graph = make(layers);
      Trainer trainer(graph, NetworkLoss{}, {.batch = 64, .precision = precision});
      for (std::uint64_t i = 0; i < 60; ++i) {
        const Batch batch(64, 1000 + i);
        trainer.step(batch.rows, batch.targets);
      }
      graph.compile();
      Tensor<float> found({std::size_t{600}, std::size_t{4}});
      graph.predict_batch(test.rows, found, nullptr);
      int right = 0;
      for (std::size_t r = 0; r < 600; ++r) {
        const auto row = found.row(r);
        right +=
            std::max_element(row.begin(), row.end()) - row.begin() == static_cast<std::ptrdiff_t>(test.targets(r, 0));
      }
      INFO(to_string(precision));
      CHECK(right > 510);
      if (precision == TrainingPrecision::strict_fp32) strict = right;
      CHECK(std::abs(right - strict) <= 12);  // 2 % of the rows
    }
  }
}

TEST_CASE("TrainingPrecision: equal weights at one and two threads", "[precision][threads]") {
  for (const TrainingPrecision precision : {TrainingPrecision::fp32x3, TrainingPrecision::bf16}) {
    CHECK(trained(wide, precision, 1, 4) == trained(wide, precision, 2, 4));
    CHECK(trained(image, precision, 1, 2) == trained(image, precision, 2, 2));
  }
}

TEST_CASE("TrainingPrecision: weights that move in the backward pass move as after it", "[precision][threads]") {
  struct Watch : TrainingCallback {  // sees the whole gradient, so that the weights move after it is complete
    bool after_epoch(const TrainingEpoch&) override { return true; }
  } watch;
  for (const TrainingPrecision precision : all)
    for (const int threads : {1, 2}) {
      CHECK(trained(wide, precision, threads, 4) == trained(wide, precision, threads, 4, {}, &watch));
      CHECK(trained(image, precision, threads, 3) == trained(image, precision, threads, 3, {}, &watch));
    }
  for (const OptimizerKind kind :
       {OptimizerKind::sgd, OptimizerKind::adamw, OptimizerKind::rmsprop, OptimizerKind::lion}) {
    const Optimizer optimizer{.kind = kind, .weight_decay = 0.01};
    const auto now = trained(wide, TrainingPrecision::strict_fp32, 2, 4, optimizer);
    CHECK(now == trained(wide, TrainingPrecision::strict_fp32, 2, 4, optimizer, &watch));
  }
}

TEST_CASE("TrainingPrecision: training goes on bit for bit, in the same precision only", "[precision]") {
  const auto steps = [](Trainer& trainer, std::uint64_t begin, std::uint64_t end) {
    for (std::uint64_t i = begin; i < end; ++i) {
      const Batch batch(64, i);
      trainer.step(batch.rows, batch.targets);
    }
  };
  const TrainerOptions options{.batch = 64, .precision = TrainingPrecision::bf16};
  Graph whole = make(image), part = make(image), rest = make(image), other = make(image);
  Trainer one(whole, NetworkLoss{}, options), two(part, NetworkLoss{}, options), three(rest, NetworkLoss{}, options);
  steps(one, 0, 5);
  steps(two, 0, 2);
  Archive archive;
  two.save(archive);
  three.load(Archive::from_bytes(archive.to_bytes()));
  steps(three, 2, 5);
  CHECK(copy(rest) == copy(whole));
  Trainer four(other, NetworkLoss{}, {.batch = 64, .precision = TrainingPrecision::strict_fp32});
  const auto before = copy(other);
  CHECK_THROWS_WITH(four.load(archive), Catch::Contains("bf16") && Catch::Contains("strict_fp32"));
  CHECK(copy(other) == before);
}

TEST_CASE("TrainingPrecision: a network learns by tile instructions, emulated", "[precision][threads]") {
  if (!kernels::detail::table()) {
    WARN("SKIPPED: the baseline has the naive reference only");
    return;
  }
  const kernels::detail::TileKernels emulated{&kernels::detail::naive_pair_packs,
                                              &kernels::detail::amx_tiled_product<redoubt::test::EmulatedRounded>};
  const Sequential layers{Dense{24}, ReLU{}, Dense{4}};
  const Batch test(300, 7);
  struct Restore {
    ~Restore() { kernels::detail::replace_tile_kernels(nullptr); }
  } restore;
  for (const TrainingPrecision precision : {TrainingPrecision::fp32x3, TrainingPrecision::bf16}) {
    INFO(to_string(precision));
    const auto before = trained(layers, precision, 1, 3);
    const bool by_hardware = kernels::detail::tile_kernels() != nullptr;
    kernels::detail::replace_tile_kernels(&emulated);
    const auto one = trained(layers, precision, 1, 3);
    CHECK(one == trained(layers, precision, 2, 3));
    CHECK((one == before) == by_hardware);  // else sums are in another order: it was the tiles that ran
    Graph graph = make(layers);
    Trainer trainer(graph, NetworkLoss{}, {.batch = 32, .optimizer = {.learning_rate = 0.01}, .precision = precision});
    for (std::uint64_t i = 0; i < 40; ++i) {
      const Batch batch(32, 1000 + i);
      trainer.step(batch.rows, batch.targets);
    }
    kernels::detail::replace_tile_kernels(nullptr);
    graph.compile();
    Tensor<float> found({std::size_t{300}, std::size_t{4}});
    graph.predict_batch(test.rows, found, nullptr);
    int right = 0;
    for (std::size_t r = 0; r < 300; ++r) {
      const auto row = found.row(r);
      right +=
          std::max_element(row.begin(), row.end()) - row.begin() == static_cast<std::ptrdiff_t>(test.targets(r, 0));
    }
    CHECK(right > 225);
  }
}
