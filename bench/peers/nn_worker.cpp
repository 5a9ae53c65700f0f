// Ours for nn.sh: peer_nn_worker MODE KEY=VALUE...
//   weights net=NET dir=DIR                       writes the parameters of a network of random weights, and rows
//   predict net=NET dir=DIR batch=N threads=N     lines on stdin as for peer_trees_worker; seconds per row
// NET: small (28-64-32-2), mlp (784-512-512-10), cnn (28 x 28: 3 x 3 convolutions of 32 and 64 channels, pooled by
// 2 x 2, 128, 10); all end in softmax.
#include <cmath>

#include "bench/peers/engine_library.hpp"
#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/nn/sequential.hpp"

namespace {

using namespace redoubt;
using bench::Settings;

constexpr std::size_t sample_rows = 1024;

Graph network(const std::string& name) {
  using namespace layer;
  const auto make = [](OpShape input, const Sequential& layers) {
    Graph graph = layers.graph(input, 0, true);
    graph.initialise(7);
    return graph;
  };
  if (name == "small") return make({28}, {Dense{64}, ReLU{}, Dense{32}, ReLU{}, Dense{2}});
  if (name == "mlp") return make({784}, {Dense{512}, ReLU{}, Dense{512}, ReLU{}, Dense{10}});
  if (name == "cnn")
    return make({784},
                {Reshape{{28, 28, 1}}, Conv2d{.filters = 32, .pad = 1}, ReLU{}, MaxPool2d{},
                 Conv2d{.filters = 64, .pad = 1}, ReLU{}, MaxPool2d{}, Flatten{}, Dense{128}, ReLU{}, Dense{10}});
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
  graph.compile();
  const Tensor<float> x = read_npy<float>(settings.file("x.npy"));
  Arena arena(settings.number("threads", 1));
  Tensor<float> out({x.rows(), graph.outputs()});
  std::vector<float> scratch(graph.scratch_size());
  bench::PredictLoop loop(x.rows(), settings);
  const auto call = [&](std::size_t begin, std::size_t count) {
    if (count == 1 && arena.threads() == 1)
      graph.predict(x.row(begin), out.row(begin), scratch);
    else
      graph.predict_batch(MatrixView<const float>(x).slice(begin, begin + count),
                          MatrixView<float>(out).slice(begin, begin + count), &arena);
  };
  return bench::serve([&] { return loop(call); },
                      [&](const std::string& path) {
                        call(0, x.rows());
                        write_npy(out, path);
                      });
}

int run(const std::string& mode, const Settings& settings) {
  if (mode == "weights") return weights(settings);
  if (mode == "predict") return predict(settings);
  bench::stop("unknown mode " + mode);
}

}  // namespace

int main(int argc, char** argv) { return redoubt::bench::run_worker(argc, argv, run); }
