// Ours for nn.sh: peer_nn_worker MODE KEY=VALUE...
//   weights net=NET dir=DIR                       writes the parameters of a network of random weights, and rows
//   predict net=NET dir=DIR batch=N threads=N [precision=bf16|int8] [tail]   lines on stdin as for peer_trees_worker;
//   seconds per row, or with `tail` the 99th percentile of single calls
//   train net=NET batch=N threads=N budget=S [dir=DIR] [precision=P]   steps for about S seconds on rows in memory
//   (text: DIR/x_train.npy and y_train.npy); seconds per step
//   quality net=NET dir=DIR epochs=N threads=N [precision=P]  per line "SEED" trains and prints the accuracy on the
//   test rows; P: strict_fp32 (without it), fp32x3, bf16
// NET: small (28-64-32-2), tabular (28-256-256-1), adult (128-64-2), mlp (784-512-512-10), cnn (28 x 28: 3 x 3
// convolutions of 32 and 64 channels, pooled by 2 x 2, 128, 10), text (64 ids, the mean of their 64-wide rows in a
// table of 32768, 2), transformer (128 ids of 2048, 4 pre-norm encoder layers of width 256, 4 heads, 1024 hidden, mean,
// 2); all but tabular end in softmax.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "bench/peers/engine_library.hpp"
#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/nn/sequential.hpp"
#include "redoubt/nn/trainer.hpp"

namespace {

using namespace redoubt;
using bench::Settings;

constexpr std::size_t sample_rows = 1024;

Graph network(const std::string& name, std::uint32_t inputs = 0) {
  using namespace layer;
  const auto make = [](OpShape input, const Sequential& layers) {
    Graph graph = layers.graph(input, 0, true);
    graph.initialise(7);
    return graph;
  };
  if (name == "small") return make({28}, {Dense{64}, ReLU{}, Dense{32}, ReLU{}, Dense{2}});
  if (name == "tabular") return Sequential{Dense{256}, ReLU{}, Dense{256}, ReLU{}, Dense{1}}.graph({28});
  if (name == "adult") return make({inputs}, {Dense{128}, ReLU{}, Dense{64}, ReLU{}, Dense{2}});
  if (name == "mlp") return make({784}, {Dense{512}, ReLU{}, Dense{512}, ReLU{}, Dense{10}});
  if (name == "cnn")
    return make({784},
                {Reshape{{28, 28, 1}}, Conv2d{.filters = 32, .pad = 1}, ReLU{}, MaxPool2d{},
                 Conv2d{.filters = 64, .pad = 1}, ReLU{}, MaxPool2d{}, Flatten{}, Dense{128}, ReLU{}, Dense{10}});
  if (name == "text") return make({64}, {EmbeddingBag{32768, 64}, Dense{2}});
  if (name == "transformer") {
    Sequential layers{Embedding{2048, 256}};
    for (int i = 0; i < 4; ++i) {
      layers.layers.push_back(Residual{{LayerNorm{}, MultiHeadAttention{4}}});
      layers.layers.push_back(Residual{{LayerNorm{}, Dense{1024, true}, GELU{}, Dense{256, true}}});
    }
    for (const Layer& last : {Layer(LayerNorm{}), Layer(GlobalAveragePool{}), Layer(Dense{2})}) {
      layers.layers.push_back(last);
    }
    return make({128}, layers);
  }
  bench::stop("unknown network " + name);
}

/// Rows as images are: most values are not zero, all lie in [0, 1].
Tensor<float> rows(std::size_t cols) {
  Tensor<float> x({sample_rows, cols});
  Random random(1);
  for (float& v : x.flat()) v = static_cast<float>(random.uniform());
  return x;
}

int weights(const Settings& settings) {
  const Graph graph = network(settings.text("net"));
  const auto parameters = graph.parameters();
  for (const GraphParameter& p : graph.parameter_table()) {
    Tensor<float> values(p.shape);
    std::copy_n(parameters.begin() + static_cast<std::ptrdiff_t>(p.offset), p.size, values.data());
    write_npy(values, settings.file(p.name + ".npy"));
  }
  write_npy(rows(graph.inputs()), settings.file("x.npy"));
  return 0;
}

int predict(const Settings& settings) {
  Graph graph = network(settings.text("net"));
  const Tensor<float> x = read_npy<float>(settings.file("x.npy"));
  const std::string precision = settings.has("precision") ? settings.text("precision") : "fp32";
  graph.compile(precision == "bf16"   ? kernels::Precision::bf16
                : precision == "int8" ? kernels::Precision::int8
                                      : kernels::Precision::fp32,
                x);
  Arena arena(settings.number("threads", 1));
  Tensor<float> out({x.rows(), graph.outputs()});
  std::vector<float> scratch(graph.scratch_size());
  bench::PredictLoop loop(x.rows(), settings);
  const MatrixView<const float> src = x;
  const MatrixView<float> dst = out;
  const auto call = [&](std::size_t begin, std::size_t count) {
    if (count == 1 && arena.threads() == 1)
      graph.predict(src.row(begin), dst.row(begin), scratch);
    else
      graph.predict_batch(src.slice(begin, begin + count), dst.slice(begin, begin + count), &arena);
  };
  const bool tail = settings.has("tail");
  const auto batch = static_cast<std::size_t>(settings.number("batch", 1));
  return bench::serve([&] { return tail ? bench::tail(x.rows(), batch, 0.5, call) : loop(call); },
                      [&](const std::string& path) {
                        call(0, x.rows());
                        write_npy(out, path);
                      });
}

TrainingPrecision precision_of(const Settings& settings) {
  const std::string name = settings.has("precision") ? settings.text("precision") : "strict_fp32";
  for (const auto p : {TrainingPrecision::strict_fp32, TrainingPrecision::fp32x3, TrainingPrecision::bf16})
    if (name == to_string(p)) return p;
  throw Error(errc::invalid_argument, "unknown precision " + name);
}

int train(const Settings& settings) {
  Graph graph = network(settings.text("net"));
  graph.initialise(1);
  Arena arena(settings.number("threads", 1));
  const auto batch = static_cast<std::size_t>(settings.number("batch", 32));
  const bool values = graph.score_count() == 1;
  Trainer trainer(graph, NetworkLoss{.kind = values ? LossKind::binary_cross_entropy : LossKind::cross_entropy},
                  {.batch = static_cast<std::uint32_t>(batch), .precision = precision_of(settings), .arena = &arena});
  Random random(3);
  std::size_t rows = 64 * batch;
  Tensor<float> x({rows, graph.inputs()}), y({rows, std::size_t{1}});
  for (float& v : x.flat()) v = static_cast<float>(random.normal());
  for (float& v : y.flat()) v = static_cast<float>(random.below(values ? 2 : graph.outputs()));
  if (settings.text("net") == "transformer") {
    for (float& v : x.flat()) v = static_cast<float>(random.below(2048));
  } else if (settings.has("dir")) {
    x = read_npy<float>(settings.file("x_train.npy"));
    const Tensor<float> labels = read_npy<float>(settings.file("y_train.npy"));
    y = Tensor<float>({x.rows(), std::size_t{1}});
    std::copy_n(labels.data(), x.rows(), y.data());
    rows = x.rows() / batch * batch;
  }
  const double budget = std::atof(settings.text("budget").c_str());
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
        } while (seconds < budget);
        return seconds / static_cast<double>(steps);
      },
      [](const std::string&) {});
}

/// Trains on DIR/{x,y}_train.npy and prints the accuracy on DIR/{x,y}_test.npy, for the seed of each line.
int quality(const Settings& settings) {
  const auto load = [&](const char* name) { return read_npy<float>(settings.file(std::string(name) + ".npy")); };
  const Tensor<float> x = load("x_train"), y = load("y_train"), x_test = load("x_test"), y_test = load("y_test");
  const std::size_t rows = x.rows(), cols = x.cols();
  const auto batch = static_cast<std::size_t>(settings.number("batch", 128));
  Arena arena(settings.number("threads", 1));
  for (std::string line; std::getline(std::cin, line);) {
    const auto seed = static_cast<std::uint64_t>(std::atoi(line.c_str()));
    Graph graph = network(settings.text("net"), static_cast<std::uint32_t>(cols));
    graph.initialise(seed);
    Trainer trainer(graph, NetworkLoss{},
                    {.batch = static_cast<std::uint32_t>(batch),
                     .precision = precision_of(settings),
                     .seed = seed,
                     .arena = &arena});
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
          std::copy_n(x.row(row).data(), cols, xs.row(i).data());
          ys(i, 0) = y.data()[row];
        }
        trainer.step(MatrixView<const float>(xs).slice(0, count), MatrixView<const float>(ys).slice(0, count));
      }
    }
    graph.compile();
    Tensor<float> out({x_test.rows(), graph.outputs()});
    graph.predict_batch(x_test, out, &arena);
    std::size_t right = 0;
    for (std::size_t r = 0; r < x_test.rows(); ++r) {
      const auto p = out.row(r);
      right += static_cast<float>(std::max_element(p.begin(), p.end()) - p.begin()) == y_test.data()[r];
    }
    std::printf("%.9f\n", static_cast<double>(right) / static_cast<double>(x_test.rows()));
    std::fflush(stdout);
  }
  return 0;
}

int run(const std::string& mode, const Settings& settings) {
  if (mode == "weights") return weights(settings);
  if (mode == "predict") return predict(settings);
  if (mode == "train") return train(settings);
  if (mode == "quality") return quality(settings);
  bench::stop("unknown mode " + mode);
}

}  // namespace

int main(int argc, char** argv) { return redoubt::bench::run_worker(argc, argv, run); }
