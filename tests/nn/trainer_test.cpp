#include "redoubt/nn/trainer.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/archive.hpp"
#include "redoubt/nn/builder.hpp"
#include "redoubt/nn/sequential.hpp"
#include "redoubt/nn/training_objective.hpp"
#include "support/counting_allocator.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

/// Rows whose class is the sign pattern of two sums.
struct Batch {
  Tensor<float> rows, targets;
  std::vector<float> weights;

  Batch(std::size_t count, std::size_t width, std::uint64_t seed, bool ids = false)
      : rows{count, width}, targets{count, std::size_t{1}}, weights(count) {
    Random random(seed);
    for (std::size_t r = 0; r < count; ++r) {
      double sum = 0;
      for (float& v : rows.row(r)) {
        v = ids ? static_cast<float>(random.below(50)) : static_cast<float>(random.normal());
        sum += ids ? v - 24.5 : v;
      }
      targets(r, 0) = sum > 0;
      weights[r] = static_cast<float>(random.uniform(0.5, 1.5));
    }
  }
};

Graph make(Sequential layers, std::uint32_t inputs, std::uint64_t seed = 1) {
  Graph graph = layers.graph({inputs}, 0, true);
  graph.initialise(seed);
  return graph;
}

std::vector<float> copy(const Graph& graph) { return {graph.parameters().begin(), graph.parameters().end()}; }

const Sequential image{Reshape{{6, 6, 1}},       Conv2d{8, 3, 1, 1},  BatchNorm{}, ReLU{},       MaxPool2d{},
                       ConvTranspose2d{4, 2, 2}, GlobalAveragePool{}, Dense{40},   Dropout{0.2}, Dense{2}};
const Sequential text{EmbeddingBag{50, 16}, Dense{32}, GELU{}, LayerNorm{}, Dense{2}};
const Sequential sequence{Embedding{50, 8}, LayerNorm{}, Residual{{MultiHeadAttention{2}}}, Gru{8}, Lstm{6},
                          LastPosition{},   Dense{2}};

}  // namespace

TEST_CASE("Trainer: every optimizer lowers the loss", "[trainer]") {
  const Batch batch(64, 10, 1);
  const Optimizer optimizers[] = {{.kind = OptimizerKind::sgd, .learning_rate = 0.1, .momentum = 0.9, .nesterov = true},
                                  {.kind = OptimizerKind::adam, .learning_rate = 1e-2},
                                  {.kind = OptimizerKind::adamw, .learning_rate = 1e-2, .weight_decay = 1e-2},
                                  {.kind = OptimizerKind::rmsprop, .learning_rate = 1e-2},
                                  {.kind = OptimizerKind::lion, .learning_rate = 2e-3, .beta2 = 0.99}};
  for (const Optimizer& optimizer : optimizers) {
    INFO("optimizer " << int(optimizer.kind));
    Graph graph = make({Dense{32}, ReLU{}, Dense{2}}, 10);
    Trainer trainer(graph, NetworkLoss{}, {.batch = 64, .optimizer = optimizer});
    const double before = trainer.step(batch.rows, batch.targets);
    for (int i = 0; i < 100; ++i) trainer.step(batch.rows, batch.targets);
    CHECK(trainer.loss(batch.rows, batch.targets) / 64 < before / 5);
    CHECK(trainer.steps() == 101);
  }
}

TEST_CASE("Trainer: a step allocates nothing", "[trainer]") {
#if defined(REDOUBT_SANITIZED)
  SUCCEED("not counted under sanitizers");
#else
  Arena one(1);
  const auto count = [&](const Sequential& layers, std::size_t width, bool ids, std::uint32_t accumulate,
                         TrainingPrecision precision = TrainingPrecision::strict_fp32) {
    const Batch batch(40, width, 2, ids);
    Graph graph = make(layers, static_cast<std::uint32_t>(width));
    Trainer trainer(graph, NetworkLoss{},
                    {.batch = 40, .accumulate = accumulate, .precision = precision, .clip_norm = 1, .arena = &one});
    for (int i = 0; i < 4; ++i) trainer.step(batch.rows, batch.targets, batch.weights);
    trainer.loss(batch.rows, batch.targets);
    const std::size_t before = test::allocations;
    for (int i = 0; i < 6; ++i) trainer.step(batch.rows, batch.targets, batch.weights);
    trainer.flush();
    trainer.loss(batch.rows, batch.targets);
    return test::allocations - before;
  };
  CHECK(count({Dense{128}, ReLU{}, Dropout{0.1}, Dense{64}, Tanh{}, Dense{2}}, 30, false, 1) == 0);
  CHECK(count({Dense{128}, ReLU{}, Dense{2}}, 30, false, 4) == 0);
  CHECK(count(image, 36, false, 1) == 0);
  for (const auto precision : {TrainingPrecision::fp32x3, TrainingPrecision::bf16}) {
    CHECK(count({Dense{128}, ReLU{}, Dense{64}, Tanh{}, Dense{2}}, 30, false, 1, precision) == 0);
    CHECK(count(image, 36, false, 1, precision) == 0);
  }
  CHECK(count(text, 12, true, 1) == 0);
  CHECK(count(sequence, 12, true, 1) == 0);
#endif
}

TEST_CASE("Trainer: equal weights at one and two threads", "[trainer][threads]") {
  const auto train = [](const Sequential& layers, std::size_t width, bool ids, int threads) {
    Arena arena(threads);
    Graph graph = make(layers, static_cast<std::uint32_t>(width));
    Trainer trainer(graph, NetworkLoss{}, {.batch = 70, .clip_norm = 0.5, .seed = 3, .arena = &arena});
    for (std::uint64_t i = 0; i < 8; ++i) {
      const Batch batch(70, width, 10 + i, ids);
      trainer.step(batch.rows, batch.targets, batch.weights);
    }
    return copy(graph);
  };
  CHECK(train(image, 36, false, 1) == train(image, 36, false, 2));
  CHECK(train(text, 12, true, 1) == train(text, 12, true, 2));
  CHECK(train(sequence, 12, true, 1) == train(sequence, 12, true, 2));
  const Sequential wide{Dense{300}, ReLU{}, Dropout{0.3}, Dense{200}, GELU{}, Dense{2}};
  CHECK(train(wide, 90, false, 1) == train(wide, 90, false, 2));
}

TEST_CASE("Trainer: accumulated batches are one large batch", "[trainer]") {
  const Batch all(60, 10, 5);
  const auto rows = [](const Tensor<float>& t, std::size_t begin, std::size_t end) {
    return MatrixView<const float>(t).slice(begin, end);
  };
  const auto train = [&](std::uint32_t accumulate) {
    Graph graph = make({Dense{16}, Tanh{}, Dense{2}}, 10);
    const std::uint32_t size = 60 / accumulate;
    Trainer trainer(
        graph, NetworkLoss{},
        {.batch = size, .accumulate = accumulate, .optimizer = {.kind = OptimizerKind::sgd, .learning_rate = 0.5}});
    for (int i = 0; i < 5; ++i) {
      for (std::uint32_t k = 0; k < accumulate; ++k) {
        trainer.step(rows(all.rows, k * size, (k + 1) * size), rows(all.targets, k * size, (k + 1) * size));
      }
    }
    CHECK(trainer.steps() == 5);
    // A last, incomplete accumulation counts its rows.
    trainer.step(rows(all.rows, 0, 15), rows(all.targets, 0, 15));
    trainer.flush();
    trainer.flush();
    CHECK(trainer.steps() == 6);
    return copy(graph);
  };
  const auto one = train(1), four = train(4);
  for (std::size_t i = 0; i < one.size(); ++i) CHECK(four[i] == Approx(one[i]).margin(1e-5));
}

TEST_CASE("Trainer: clipping bounds a move, schedules set the rate", "[trainer]") {
  const Batch batch(20, 5, 6);
  Graph graph = make({Dense{2}}, 5);
  const auto before = copy(graph);
  Trainer trainer(graph, NetworkLoss{.weight = 1000},
                  {.batch = 20,
                   .optimizer = {.kind = OptimizerKind::sgd, .learning_rate = 1},
                   .schedule = {.kind = ScheduleKind::linear, .warmup = 0.5},
                   .steps = 4,
                   .clip_norm = 0.25});
  trainer.step(batch.rows, batch.targets);
  CHECK(trainer.rate() == Approx(1.0 / 3));
  double square = 0;
  for (std::size_t i = 0; i < before.size(); ++i) square += std::pow(graph.parameters()[i] - before[i], 2);
  CHECK(std::sqrt(square) == Approx(0.25 / 3));
  for (const double rate : {2.0 / 3, 1.0, 0.5, 0.5}) {
    trainer.step(batch.rows, batch.targets);
    CHECK(trainer.rate() == Approx(rate));
  }
}

TEST_CASE("Trainer: only the rows of a table that were used move", "[trainer]") {
  Graph graph = make(text, 4);
  const auto before = copy(graph);
  const GraphParameter& table = graph.parameter_table()[0];
  REQUIRE(table.sparse);
  Trainer trainer(graph, NetworkLoss{}, {.batch = 2});
  const Tensor<float> targets{std::size_t{2}, std::size_t{1}};
  const auto step = [&](std::vector<float> ids) { trainer.step({ids.data(), 2, 4}, targets); };
  step({3, 7, -1, 3, 49, 50, 7, 7});  // -1 and 50 pad
  const auto first = copy(graph);
  step({9, 9, 9, 9, 9, 9, 9, 9});
  for (std::size_t r = 0; r < 50; ++r) {
    const std::size_t at = table.offset + r * 16;
    const auto equal = [&](const std::vector<float>& a, std::span<const float> b) {
      return std::equal(a.begin() + std::ptrdiff_t(at), a.begin() + std::ptrdiff_t(at) + 16,
                        b.begin() + std::ptrdiff_t(at));
    };
    CHECK(equal(before, first) == !(r == 3 || r == 7 || r == 49));
    CHECK(equal(first, graph.parameters()) == (r != 9));
  }
}

TEST_CASE("Trainer: goes on bit for bit after save and load", "[trainer]") {
  for (const auto kind : {OptimizerKind::adam, OptimizerKind::sgd, OptimizerKind::rmsprop, OptimizerKind::lion}) {
    const TrainerOptions options{.batch = 40, .optimizer = {.kind = kind, .momentum = 0.5}, .seed = 4};
    const auto steps = [&](Trainer& trainer, std::uint64_t begin, std::uint64_t end) {
      for (std::uint64_t i = begin; i < end; ++i) {
        const Batch batch(40, 36, i);
        trainer.step(batch.rows, batch.targets);
      }
    };
    Graph whole = make(image, 36), part = make(image, 36), rest = make(image, 36, 99);
    Trainer one(whole, NetworkLoss{}, options), two(part, NetworkLoss{}, options), three(rest, NetworkLoss{}, options);
    steps(one, 0, 6);
    steps(two, 0, 3);
    Archive archive;
    two.save(archive);
    steps(three, 50, 52);  // forgotten
    three.load(Archive::from_bytes(archive.to_bytes()));
    steps(three, 3, 6);
    CHECK(copy(rest) == copy(whole));
    CHECK(three.steps() == 6);
  }
}

TEST_CASE("Trainer: several heads share what lies below", "[trainer]") {
  const Batch batch(64, 10, 7);
  Tensor<float> targets{std::size_t{64}, std::size_t{2}};
  for (std::size_t r = 0; r < 64; ++r) {
    targets(r, 0) = batch.targets(r, 0);
    targets(r, 1) = batch.rows(r, 3);
  }
  GraphBuilder b(OpShape{10});
  const Value x = b.add({Dense{32}, ReLU{}}, b.input());
  b.head("sign", b.add(Dense{2}, x));
  b.head("third", b.add(Dense{1}, x), {.kind = LossKind::mse, .weight = 0.5});
  Graph graph = b.build();
  graph.initialise(1);
  Trainer trainer(graph, b.heads(), {.batch = 64, .optimizer = {.learning_rate = 1e-2}});
  CHECK(trainer.targets() == 2);
  for (int i = 0; i < 200; ++i) trainer.step(batch.rows, targets);
  CHECK(trainer.loss(batch.rows, targets) / 64 < 0.1);
}

TEST_CASE("Trainer: errors say what and where, and change nothing", "[trainer]") {
  const Batch batch(8, 5, 8);
  Graph graph = make({Dense{4}, ReLU{}, Dense{2}}, 5);
  const auto before = copy(graph);
  const auto message = [&](auto call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  };
  CHECK_THAT(message([&] { Trainer(graph, NetworkLoss{}, {.batch = 0}); }), Catch::Contains("batch is 0"));
  CHECK_THAT(message([&] { Trainer(graph, NetworkLoss{}, {.accumulate = 0}); }), Catch::Contains("accumulate"));
  CHECK_THAT(message([&] { Trainer(graph, NetworkLoss{}, {.clip_norm = -1}); }), Catch::Contains("clip_norm"));
  CHECK_THAT(message([&] { Trainer(graph, NetworkLoss{.smoothing = 1}, {}); }), Catch::Contains("smoothing"));
  CHECK_THAT(message([&] {
               Trainer(graph, NetworkLoss{.class_weights = {1, 2, 3}}, {});
             }),
             Catch::Contains("class weights is 3"));
  CHECK_THAT(message([&] { Trainer(graph, NetworkLoss{.kind = LossKind::automatic}, {}); }), Catch::Contains("kind"));
  CHECK_THAT(message([&] { Trainer(graph, {{.name = "far", .first = 1, .size = 2}}, {}); }), Catch::Contains("far"));

  Trainer trainer(graph, NetworkLoss{}, {.batch = 8, .accumulate = 2});
  Tensor<float> wrong = batch.targets;
  wrong(3, 0) = 2;
  CHECK_THAT(message([&] { trainer.step(batch.rows, wrong); }), Catch::Contains("row 3 has label 2"));
  const Batch large(9, 5, 1);
  CHECK_THAT(message([&] { trainer.step(large.rows, batch.targets); }), Catch::Contains("9 x 5"));
  Tensor<float> bad = batch.rows;
  bad(2, 2) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THAT(message([&] { trainer.step(bad, batch.targets); }), Catch::Contains("row 2, value 2"));
  CHECK(copy(graph) == before);
  trainer.step(batch.rows, batch.targets);
  Archive archive;
  CHECK_THAT(message([&] { trainer.save(archive); }), Catch::Contains("flush"));
  trainer.step(batch.rows, batch.targets);
  CHECK_NOTHROW(trainer.save(archive));

  // NaN that a ReLU hides from the loss shows in the gradient, infinity in the loss.
  Graph hidden = make({Dense{4}, ReLU{}, Dense{2}}, 5);
  hidden.parameters()[0] = std::numeric_limits<float>::quiet_NaN();
  Trainer third(hidden, NetworkLoss{}, {.batch = 8});
  CHECK_THAT(message([&] { third.step(batch.rows, batch.targets); }), Catch::Contains("graph.0.weight"));
  for (float& w : graph.parameters().first(20)) w = 3e38f;
  for (float& v : bad.flat()) v = 1e5f;
  CHECK_THAT(message([&] { trainer.step(bad, batch.targets); }),
             Catch::Contains("step 2") && Catch::Contains("node 0 (dense)"));
  Graph other = make({Dense{2}}, 5);
  Trainer small(other, NetworkLoss{}, {});
  CHECK_THAT(message([&] { small.load(archive); }), Catch::Contains("trainer.parameters"));
}

namespace {

/// The plain loss in `parts`, or an error after the first.
struct Parts final : TrainingObjective {
  int parts = 1, calls = 0;
  bool fail = false;
  std::string name() const override { return "parts"; }
  double step(TrainingPass& pass) override {
    ++calls;
    double mean = 0;
    for (int i = 0; i < parts; ++i) mean += pass.learn(pass.rows, 1.0 / parts) / parts;
    if (fail) throw Error(errc::refused, "no");
    return mean;
  }
};

}  // namespace

TEST_CASE("Trainer: an objective takes the place of the loss", "[trainer]") {
  for (const Sequential& layers : {image, text}) {
    const bool ids = layers.layers[0].kind == text.layers[0].kind;
    const Batch batch(16, ids ? 8 : 36, 2, ids);
    const auto inputs = static_cast<std::uint32_t>(batch.rows.cols());
    Graph plain = make(layers, inputs), one = make(layers, inputs), two = make(layers, inputs);
    Parts whole, halves;
    halves.parts = 2;
    TrainerOptions options{.batch = 16, .accumulate = 2};
    Trainer first(plain, NetworkLoss{}, options);
    options.objective = &whole;
    Trainer second(one, NetworkLoss{}, options);
    options.objective = &halves;
    Trainer third(two, NetworkLoss{}, options);
    for (int step = 0; step < 4; ++step) {
      const double loss = first.step(batch.rows, batch.targets, batch.weights);
      CHECK(second.step(batch.rows, batch.targets, batch.weights) == loss);
      CHECK(third.step(batch.rows, batch.targets, batch.weights) == Approx(loss).epsilon(0.02));
    }
    CHECK(whole.calls == 4);
    CHECK(copy(one) == copy(plain));
    whole.fail = true;
    CHECK_THROWS_AS(second.step(batch.rows, batch.targets), Error);
    whole.fail = false;
    second.flush();  // nothing is left of it
    CHECK(second.steps() == 2);
  }
}
