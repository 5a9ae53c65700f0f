// Our side of bench/peers/robustness_attack.py. Usage: peer_robustness_attack_worker MODE KEY=VALUE...
//   train   images, labels (IDX files), network (mlp, cnn), dir, threads: trains, writes dir/model.redoubt and the
//           parameters as dir/weight0.npy, dir/bias0.npy, dir/weight1.npy, ...
//   attack  dir (model.redoubt, rows.npy, labels.npy), threads: lines
//           "scores FILE"                    -> ok; writes logits
//           "pgd RADIUS STEPS STEP COUNT"    of the first COUNT rows -> seconds, robust accuracy, gradients
//           "bundle RADIUS STEPS FILE"       -> seconds, robust accuracy, gradients, queries; writes what it found
#include <cstdio>
#include <iostream>
#include <sstream>
#include <string>

#include "bench/peers/trees_loop.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/idx.hpp"
#include "redoubt/data/npy.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/neural_network.hpp"
#include "redoubt/robustness/evasion/attack.hpp"

namespace {

using namespace redoubt;
using bench::Settings;

int train(const Settings& settings) {
  const Tensor<double> images = read_idx(settings.text("images")), labels = read_idx(settings.text("labels"));
  const std::size_t count = labels.size(), width = images.size() / count;
  Tensor<float> rows({count, width});
  for (std::size_t i = 0; i < images.size(); ++i) rows.data()[i] = static_cast<float>(images.data()[i] / 255);
  std::vector<std::int32_t> classes;
  for (const double label : labels.flat()) classes.push_back(static_cast<std::int32_t>(label));
  Arena arena(settings.number("threads", 1));
  NeuralNetworkOptions options{.epochs = settings.number("epochs", 5), .seed = 1, .arena = &arena};
  options.encoder = EncoderOptions::for_trees();  // pixels as they are
  const Sequential mlp{layer::Dense{256}, layer::ReLU{}, layer::Dense{128}, layer::ReLU{}, layer::Output{}};
  const Sequential cnn{layer::Reshape{{28, 28, 1}},
                       layer::Conv2d{.filters = 16, .pad = 1},
                       layer::ReLU{},
                       layer::MaxPool2d{},
                       layer::Conv2d{.filters = 32, .pad = 1},
                       layer::ReLU{},
                       layer::MaxPool2d{},
                       layer::Flatten{},
                       layer::Dense{100},
                       layer::ReLU{},
                       layer::Output{}};
  const NeuralNetwork network(settings.text("network") == "cnn" ? cnn : mlp, options);
  const Model model = network.fit(Dataset::from_matrix(MatrixView<const float>(rows), classes));
  model.save(settings.file("model.redoubt"));
  const auto& graph = dynamic_cast<const Graph&>(model.predictor());
  for (const GraphParameter& p : graph.parameter_table()) {
    std::uint32_t number = 0;  // among the nodes with parameters
    std::uint32_t last = ~0u;
    for (const GraphParameter& other : graph.parameter_table()) {
      if (other.node >= p.node) break;
      number += other.node != last;
      last = other.node;
    }
    const std::string name = p.name.substr(p.name.rfind('.') + 1) + std::to_string(number) + ".npy";
    write_npy<float>(TensorView<const float>(graph.parameters().data() + p.offset, p.shape), settings.file(name));
  }
  return 0;
}

int run_attack(const Settings& settings) {
  const Model model = Model::load(settings.file("model.redoubt"));
  const auto& graph = dynamic_cast<const Graph&>(model.predictor());
  const auto rows = read_npy<float>(settings.file("rows.npy"));
  const auto labels = read_npy<std::int32_t>(settings.file("labels.npy"));
  Arena arena(settings.number("threads", 1));
  AttackOptions options{
      .rules = std::vector<FeatureRule>(rows.cols(), {.lower = 0, .upper = 1}), .image_width = 28, .arena = &arena};
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what, file;
    words >> what;
    if (what == "scores") {
      words >> file;
      GraphWorkspace workspace(graph, rows.rows(), false);
      graph.forward(rows, workspace);
      const auto scores = graph.value(workspace, graph.score_tensor(), rows.rows());
      const std::size_t shape[] = {scores.rows(), scores.cols()};
      write_npy<float>(TensorView<const float>(scores.data(), shape), file);
      std::puts("ok");
    } else {
      std::size_t count = rows.rows();
      words >> options.radius >> options.steps;
      AttackResult result;
      double seconds = 0;
      if (what == "pgd") {
        words >> options.step >> count;
        options.method = AttackMethod::pgd;
        const MatrixView<const float> some(rows.data(), count, rows.cols());
        const double start = bench::now();
        result = attack(graph, some, labels.flat().first(count), options);
        seconds = bench::now() - start;
      } else {
        words >> file;
        const double start = bench::now();
        result = attack_bundle(graph, rows, labels.flat(), options);
        seconds = bench::now() - start;
        write_npy(result.rows, file);
      }
      std::printf("%.6f %.6f %zu %zu\n", seconds, result.robust_accuracy(), result.gradients, result.queries);
    }
    std::fflush(stdout);
  }
  return 0;
}

int run(const std::string& mode, const Settings& settings) {
  if (mode == "train") return train(settings);
  if (mode == "attack") return run_attack(settings);
  std::fprintf(stderr, "mode %s: train or attack\n", mode.c_str());
  return 2;
}

}  // namespace

int main(int argc, char** argv) { return redoubt::bench::run_worker(argc, argv, run); }
