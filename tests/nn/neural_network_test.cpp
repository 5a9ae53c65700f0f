#include "redoubt/nn/neural_network.hpp"

#include <cmath>
#include <filesystem>
#include <numbers>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/idx.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/nn/builder.hpp"
#include "redoubt/nn/training_callback.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using namespace redoubt::layer;

namespace {

Dataset moons(std::size_t rows, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> x{rows, std::size_t{2}};
  std::vector<std::int32_t> y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    y[r] = static_cast<std::int32_t>(r % 2);
    const double t = std::numbers::pi * random.uniform();
    x(r, 0) = static_cast<float>((y[r] ? 1 - std::cos(t) : std::cos(t)) + 0.1 * random.normal());
    x(r, 1) = static_cast<float>((y[r] ? 0.5 - std::sin(t) : std::sin(t)) + 0.1 * random.normal());
  }
  return Dataset::from_matrix(x, std::span<const std::int32_t>(y));
}

/// Images with a bright bar: lying, standing or sloping.
Dataset bars(std::size_t rows, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> x{rows, std::size_t{100}};
  std::vector<std::int32_t> y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    y[r] = static_cast<std::int32_t>(random.below(3));
    for (float& v : x.row(r)) v = static_cast<float>(0.3 * random.normal());
    const std::size_t top = random.below(6), left = random.below(6);
    for (std::size_t i = 0; i < 5; ++i) {
      x(r, (top + (y[r] == 0 ? 0 : i)) * 10 + left + (y[r] == 1 ? 0 : i)) += 1.5f;
    }
  }
  return Dataset::from_matrix(x, std::span<const std::int32_t>(y));
}

Dataset sine(std::size_t rows) {
  Random random(3);
  Tensor<float> x{rows, std::size_t{1}};
  std::vector<double> y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    x(r, 0) = static_cast<float>(random.uniform(-3, 3));
    y[r] = 5000 + 300 * std::sin(x(r, 0));
  }
  return Dataset::from_matrix(x, std::span<const double>(y));
}

double score(const Model& model, const Dataset& data) {
  return model.evaluate(data).value(data.task() == Task::classification ? "accuracy" : "r2");
}

std::string message(const NeuralNetwork& network, const Dataset& data) {
  try {
    network.fit(data);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

TEST_CASE("NeuralNetwork: layers learn classes, under every loss", "[neural_network]") {
  const Dataset train = moons(600, 1), test = moons(500, 2);
  for (const auto kind : {LossKind::automatic, LossKind::focal, LossKind::hinge}) {
    NeuralNetwork network({Dense{32}, ReLU{}, Dense{32}, ReLU{}, Output{}},
                          {.epochs = 40, .batch = 32, .optimizer = {.learning_rate = 1e-2}, .loss = {.kind = kind}});
    const Model model = network.fit(train);
    CHECK(score(model, test) > 0.99);
    CHECK(model.info().algorithm == "neural_network");
    const Model loaded = Model::from_bytes(model.to_bytes());
    CHECK(loaded.predict_proba(test) == model.predict_proba(test));
  }
}

TEST_CASE("NeuralNetwork: images, with schedule, clipping, accumulation and smoothing", "[neural_network]") {
  const Dataset train = bars(600, 1), test = bars(300, 2);
  const NeuralNetwork network(
      {Reshape{{10, 10, 1}}, Conv2d{8}, BatchNorm{}, ReLU{}, MaxPool2d{}, Conv2d{8}, ReLU{}, GlobalMaxPool{}, Output{}},
      {.epochs = 15,
       .batch = 16,
       .accumulate = 2,
       .optimizer = {.kind = OptimizerKind::adamw, .learning_rate = 1e-2, .weight_decay = 1e-2},
       .schedule = {.kind = ScheduleKind::cosine, .warmup = 0.1},
       .loss = {.kind = LossKind::cross_entropy, .smoothing = 0.05},
       .clip_norm = 2});
  CHECK(score(network.fit(train), test) > 0.97);
}

TEST_CASE("NeuralNetwork: regression answers in the unit of its target", "[neural_network]") {
  const Dataset data = sine(600);
  for (const auto kind : {LossKind::automatic, LossKind::huber}) {
    const NeuralNetwork network({Dense{48}, Tanh{}, Dense{48}, Tanh{}, Output{}},
                                {.epochs = 60,
                                 .batch = 32,
                                 .optimizer = {.learning_rate = 1e-2},
                                 .schedule = {.kind = ScheduleKind::linear},
                                 .loss = {.kind = kind}});
    CHECK(score(network.fit(data), data) > 0.995);
  }
}

TEST_CASE("NeuralNetwork: a graph of GraphBuilder trains too", "[neural_network]") {
  GraphBuilder b(OpShape{2});
  const Value x = b.add({Dense{24}, ReLU{}}, b.input());
  b.head("class", b.add(Dense{2}, b.concat({x, b.add({Dense{24}, Tanh{}}, x)})));
  const Model model =
      NeuralNetwork(b.build(), {.epochs = 40, .batch = 32, .optimizer = {.learning_rate = 1e-2}}).fit(moons(600, 1));
  CHECK(score(model, moons(500, 2)) > 0.99);
}

TEST_CASE("NeuralNetwork: equal bytes at any thread count", "[neural_network][threads]") {
  const auto fit = [](int threads) {
    Arena arena(threads);
    return NeuralNetwork({Reshape{{10, 10, 1}}, Conv2d{12, 3, 1, 1}, BatchNorm{}, ReLU{}, MaxPool2d{}, Dense{80},
                          ReLU{}, Dropout{0.3}, Output{}},
                         {.epochs = 2, .batch = 50, .clip_norm = 1, .seed = 5, .arena = &arena})
        .fit(bars(200, 3))
        .to_bytes();
  };
  CHECK(fit(1) == fit(2));
}

TEST_CASE("NeuralNetwork: stops early and keeps the best epoch, callbacks see epochs and stop", "[neural_network]") {
  struct Sink final : ProgressSink {
    std::size_t last = 0;
    void update(std::string_view, std::size_t done, std::size_t) override { last = done; }
  } sink;
  TrainingHistory history;
  NeuralNetwork network({Dense{64}, ReLU{}, Output{}}, {.epochs = 300,
                                                        .batch = 16,
                                                        .optimizer = {.learning_rate = 2e-2},
                                                        .validation_fraction = 0.2,
                                                        .patience = 4,
                                                        .progress = &sink,
                                                        .callback = &history});
  network.fit(moons(300, 7));
  REQUIRE(history.epochs.size() > 4);
  CHECK(history.epochs.size() < 300);
  CHECK(sink.last == 300);
  std::size_t best = 0;
  for (std::size_t e = 0; e < history.epochs.size(); ++e) {
    CHECK(history.epochs[e].epoch == static_cast<int>(e) + 1);
    if (history.epochs[e].validation_loss < history.epochs[best].validation_loss) best = e;
  }
  CHECK(best + 5 == history.epochs.size());
  CHECK(history.epochs.back().loss < history.epochs.front().loss);

  struct Two final : TrainingCallback {
    int steps = 0;
    double norm = 0;
    void after_step(const TrainingStep& step) override {
      ++steps;
      norm += step.gradient_norm;
      CHECK(step.gradient.size() == step.graph->parameters().size());
      CHECK(step.rows.cols() == 2);
    }
    bool after_epoch(const TrainingEpoch& epoch) override { return epoch.epoch < 2; }
  } two;
  network.options = {.epochs = 9, .batch = 100, .callback = &two};
  const Model model = network.fit(moons(300, 7));
  CHECK(two.steps == 6);
  CHECK(two.norm > 0);
  CHECK_THAT(model.info().options, Catch::Contains("epochs_run=2"));
}

TEST_CASE("NeuralNetwork: a stopped fit goes on from its checkpoint, bit for bit", "[neural_network]") {
  const test::TempDir folder;
  const Dataset data = moons(300, 8);
  NeuralNetwork network({Dense{16}, BatchNorm{}, ReLU{}, Dropout{0.2}, Output{}},
                        {.epochs = 12,
                         .batch = 32,
                         .schedule = {.kind = ScheduleKind::cosine},
                         .validation_fraction = 0.1,
                         .patience = 20,
                         .seed = 2});
  const auto whole = network.fit(data).to_bytes();

  struct PowerCut final : TrainingCallback {
    bool after_epoch(const TrainingEpoch& epoch) override {
      if (epoch.epoch == 7) throw Error(errc::unavailable, "power cut");
      return true;
    }
  } cut;
  network.options.checkpoint = folder / "run.checkpoint";
  network.options.checkpoint_every = 2;
  network.options.callback = &cut;
  CHECK_THROWS_WITH(network.fit(data), "power cut");
  REQUIRE(std::filesystem::exists(network.options.checkpoint));
  TrainingHistory history;
  network.options.callback = &history;
  CHECK(network.fit(data).to_bytes() == whole);
  CHECK(history.epochs.front().epoch == 7);
  CHECK(network.fit(data).to_bytes() == whole);  // finished already

  // Other options or data are refused, a damaged file too.
  CHECK_THAT(message(network, moons(300, 9)), Catch::Contains("other data") && Catch::Contains("run.checkpoint"));
  network.options.batch = 33;
  CHECK_THAT(message(network, data), Catch::Contains("other options"));
  std::filesystem::resize_file(network.options.checkpoint, 100);
  CHECK_THROWS_AS(network.fit(data), Error);
}

TEST_CASE("NeuralNetwork: balanced classes lift a rare one", "[neural_network]") {
  Random random(4);
  Tensor<float> x{std::size_t{1000}, std::size_t{1}};
  std::vector<std::int32_t> y(1000);
  for (std::size_t r = 0; r < 1000; ++r) {
    y[r] = r % 20 == 0;
    x(r, 0) = static_cast<float>(random.normal() + 1.5 * y[r]);
  }
  const Dataset data = Dataset::from_matrix(x, std::span<const std::int32_t>(y));
  NeuralNetwork network({Output{}}, {.epochs = 30, .optimizer = {.learning_rate = 5e-2}});
  const auto found = [&](const Model& model) {
    const auto p = model.predict_proba(data);
    int hits = 0;
    for (std::size_t r = 0; r < 1000; r += 20) hits += p(r, 1) > 0.5f;
    return hits;
  };
  const int plain = found(network.fit(data));
  network.options.balanced = true;
  CHECK(found(network.fit(data)) > plain + 20);
  network.options.balanced = false;
  network.options.loss.class_weights = {1, 19};
  CHECK(found(network.fit(data)) > plain + 20);
}

TEST_CASE("NeuralNetwork: bad options and networks are refused with what and where", "[neural_network]") {
  const Dataset data = moons(60, 8);
  const Sequential layers{Dense{4}, ReLU{}, Output{}};
  CHECK_THAT(message(NeuralNetwork(layers, {.epochs = 0}), data), Catch::Contains("epochs is 0"));
  CHECK_THAT(message(NeuralNetwork(layers, {.batch = 0}), data), Catch::Contains("batch is 0"));
  CHECK_THAT(message(NeuralNetwork(layers, {.patience = 3}), data), Catch::Contains("validation_fraction"));
  CHECK_THAT(message(NeuralNetwork(layers, {.optimizer = {.beta1 = 2}}), data), Catch::Contains("beta1"));
  CHECK_THAT(message(NeuralNetwork(layers, {.loss = {.kind = LossKind::mse}}), data),
             Catch::Contains("not one for classes"));
  CHECK_THAT(message(NeuralNetwork(layers, {.loss = {.class_weights = {1, 2, 3}}}), data),
             Catch::Contains("class weights"));
  CHECK_THAT(message(NeuralNetwork({Dense{4}, ReLU{}}), data), Catch::Contains("[4]") && Catch::Contains("2 values"));
  CHECK_THAT(message(NeuralNetwork({Conv2d{4}, Output{}}), data), Catch::Contains("conv2d") && Catch::Contains("[2]"));
  CHECK_THAT(message(NeuralNetwork(Sequential{Dense{2}}.graph({3}, 2, true)), data), Catch::Contains("[3]"));
  CHECK_THAT(
      message(NeuralNetwork(layers, {.batch = 8, .optimizer = {.kind = OptimizerKind::sgd, .learning_rate = 1e30}}),
              data),
      Catch::Contains("in epoch 1") && Catch::Contains("step"));
  CHECK_THAT(message(NeuralNetwork(layers), data.seal()), Catch::Contains("seal"));
}

TEST_CASE("NeuralNetwork: network_model wraps a graph that was trained otherwise", "[neural_network]") {
  const Dataset data = moons(100, 9);
  Graph graph = Sequential{Dense{4}, ReLU{}, Dense{2}}.graph({2}, 2, true);
  graph.initialise(3);
  std::vector<float> row{0.5f, -1}, expected(2), scratch(graph.scratch_size()), got(2);
  graph.predict(row, expected, scratch);
  const Model model = network_model(graph, data, "streamed");
  CHECK(model.info().algorithm == "streamed");
  CHECK(model.classes() == std::vector<std::string>{"0", "1"});
  CHECK(model.predict(std::span<const float>(row), got) == errc::ok);
  CHECK(got == expected);
}
