// Our side of nn.sh. Usage: peer_nn_worker MODE KEY=VALUE...
//   weights  model, dir: writes the parameters of a network to DIR/NAME.f32
//   predict  model, x, batch, threads: lines as for peer_trees_worker; a run prints seconds per row
//   train    model, batch, threads: a run does steps for about half a second on rows that lie in memory and prints the
//            seconds of one
//   quality  what=fashion_mlp|adult, threads, epochs, dir: per line "SEED" trains and prints the test accuracy
// Models: small 28-64-32-1, mlp 784-512-512-10, tabular 28-256-256-1, cnn (3x3 convolutions to 32 and 64 filters, each
// with a 2x2 max pool, then 128 and 10).
#include <algorithm>
#include <cstdio>
#include <numeric>
#include <utility>

#include "bench/peers/nn_loop.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/layer.hpp"
#include "redoubt/nn/sequential.hpp"
#include "redoubt/nn/trainer.hpp"

namespace {

using namespace redoubt;
using bench::Settings;

Graph network(const std::string& name, std::uint32_t inputs = 0) {
  using namespace layer;
  Graph graph = [&] {
    if (name == "small") return Sequential{Dense{64}, ReLU{}, Dense{32}, ReLU{}, Dense{1}}.graph({28});
    if (name == "tabular") return Sequential{Dense{256}, ReLU{}, Dense{256}, ReLU{}, Dense{1}}.graph({28});
    if (name == "adult") return Sequential{Dense{128}, ReLU{}, Dense{64}, ReLU{}, Dense{2}}.graph({inputs}, 2, true);
    if (name == "mlp") return Sequential{Dense{512}, ReLU{}, Dense{512}, ReLU{}, Dense{10}}.graph({784}, 10, true);
    if (name != "cnn") throw std::runtime_error("no model " + name);
    return Sequential{Conv2d{.filters = 32, .pad = 1},
                      ReLU{},
                      MaxPool2d{},
                      Conv2d{.filters = 64, .pad = 1},
                      ReLU{},
                      MaxPool2d{},
                      Dense{128},
                      ReLU{},
                      Dense{10}}
        .graph({28, 28, 1}, 10, true);
  }();
  graph.initialise(1);
  return graph;
}

/// Not zero biases, so that a wrong place of one shows.
Graph with_biases(Graph graph) {
  Random random(2);
  const auto parameters = graph.parameters();
  for (const GraphParameter& entry : graph.parameter_table()) {
    if (entry.shape.size() != 1) continue;
    for (float& v : parameters.subspan(entry.offset, entry.size)) v = 0.1f * static_cast<float>(random.normal());
  }
  return graph;
}

int weights(const Settings& settings) {
  const Graph graph = with_biases(network(settings.text("model")));
  for (const GraphParameter& entry : graph.parameter_table()) {
    bench::write_floats(graph.parameters().data() + entry.offset, entry.size, settings.file(entry.name + ".f32"));
  }
  return 0;
}

int predict(const Settings& settings) {
  Graph graph = with_biases(network(settings.text("model")));
  graph.compile();
  const std::vector<float> x = bench::read_floats(settings.text("x"));
  const std::size_t cols = graph.inputs(), outputs = graph.outputs(), rows = x.size() / cols;
  std::vector<float> out(rows * outputs), scratch(graph.scratch_size());
  Arena arena(settings.number("threads", 1));
  const bool alone = settings.number("batch", 1) == 1 && arena.threads() == 1;
  return bench::serve_predictions(rows, out, settings, [&](std::size_t begin, std::size_t count) {
    if (alone) {
      graph.predict({&x[begin * cols], cols}, {&out[begin * outputs], outputs}, scratch);
    } else {
      graph.predict_batch({&x[begin * cols], count, cols}, {&out[begin * outputs], count, outputs}, &arena);
    }
  });
}

int train(const Settings& settings) {
  Graph graph = network(settings.text("model"));
  Arena arena(settings.number("threads", 1));
  const auto batch = static_cast<std::size_t>(settings.number("batch", 32));
  const bool values = graph.score_count() == 1;
  Trainer trainer(graph, NetworkLoss{.kind = values ? LossKind::binary_cross_entropy : LossKind::cross_entropy},
                  {.batch = static_cast<std::uint32_t>(batch), .arena = &arena});
  Random random(3);
  const std::size_t rows = 64 * batch;
  Tensor<float> x({rows, graph.inputs()}), y({rows, std::size_t{1}});
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  for (float& v : y.flat()) v = static_cast<float>(random.below(values ? 2 : 10));
  std::size_t at = 0;
  const auto step = [&] {
    trainer.step(MatrixView<const float>(x).slice(at, at + batch), MatrixView<const float>(y).slice(at, at + batch));
    at = (at + batch) % rows;
  };
  return bench::serve(
      [&] {
        const double start = bench::now();
        std::size_t steps = 0;
        double seconds = 0;
        do {
          for (int i = 0; i < 4; ++i) step();
          steps += 4;
          seconds = bench::now() - start;
        } while (seconds < 0.5);
        return seconds / static_cast<double>(steps);
      },
      [](const std::string&) {});
}

/// Trains on DIR/{x,y}_train.f32 and prints the accuracy on DIR/{x,y}_test.f32, for the seed of each line.
int quality(const Settings& settings) {
  const auto load = [&](const char* name) { return bench::read_floats(settings.file(std::string(name) + ".f32")); };
  const auto x = load("x_train"), y = load("y_train"), x_test = load("x_test"), y_test = load("y_test");
  const std::size_t rows = y.size(), cols = x.size() / rows;
  const auto batch = static_cast<std::size_t>(settings.number("batch", 128));
  Arena arena(settings.number("threads", 1));
  for (std::string line; std::getline(std::cin, line);) {
    const auto seed = static_cast<std::uint64_t>(std::atoi(line.c_str()));
    Graph graph = network(settings.text("model"), static_cast<std::uint32_t>(cols));
    graph.initialise(seed);
    Trainer trainer(graph, NetworkLoss{}, {.batch = static_cast<std::uint32_t>(batch), .seed = seed, .arena = &arena});
    Random random(seed, 1);
    std::vector<std::size_t> order(rows);
    std::iota(order.begin(), order.end(), std::size_t{0});
    Tensor<float> xs({batch, cols}), ys({batch, std::size_t{1}});
    for (int epoch = 0; epoch < settings.number("epochs", 5); ++epoch) {
      for (std::size_t i = rows; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
      for (std::size_t begin = 0; begin < rows; begin += batch) {
        const std::size_t count = std::min(batch, rows - begin);
        for (std::size_t i = 0; i < count; ++i) {
          const std::size_t row = order[begin + i];
          std::copy_n(&x[row * cols], cols, xs.row(i).data());
          ys(i, 0) = y[row];
        }
        trainer.step(MatrixView<const float>(xs).slice(0, count), MatrixView<const float>(ys).slice(0, count));
      }
    }
    graph.compile();
    Tensor<float> out({y_test.size(), graph.outputs()});
    graph.predict_batch({x_test.data(), y_test.size(), cols}, out, &arena);
    std::size_t right = 0;
    for (std::size_t r = 0; r < y_test.size(); ++r) {
      const auto p = out.row(r);
      right += static_cast<float>(std::max_element(p.begin(), p.end()) - p.begin()) == y_test[r];
    }
    std::printf("%.9f\n", static_cast<double>(right) / static_cast<double>(y_test.size()));
    std::fflush(stdout);
  }
  return 0;
}

int work(const std::string& mode, const Settings& settings) {
  if (mode == "weights") return weights(settings);
  if (mode == "predict") return predict(settings);
  if (mode == "train") return train(settings);
  if (mode == "quality") return quality(settings);
  throw std::runtime_error("unknown mode " + mode);
}

}  // namespace

int main(int argc, char** argv) { return redoubt::bench::run_worker(argc, argv, work); }
