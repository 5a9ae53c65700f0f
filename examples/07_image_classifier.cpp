// A convolutional network on images. With the folder of Fashion-MNIST as argument it learns from those; without one it
// draws its own images of bars, so that it runs anywhere.
#include <iostream>
#include <redoubt/core/random.hpp>
#include <redoubt/data/dataset.hpp>
#include <redoubt/data/idx.hpp>
#include <redoubt/metrics/evaluation.hpp>
#include <redoubt/nn/neural_network.hpp>
#include <redoubt/nn/training_debugger.hpp>

using namespace redoubt::layer;

namespace {

redoubt::Dataset bars(std::size_t rows) {
  redoubt::Random random(1);
  redoubt::Tensor<float> x{rows, std::size_t{28 * 28}};
  std::vector<std::int32_t> y(rows);
  for (std::size_t r = 0; r < rows; ++r) {
    y[r] = static_cast<std::int32_t>(random.below(3));  // lying, standing, sloping
    for (float& v : x.row(r)) v = static_cast<float>(random.uniform(0, 120));
    const std::size_t top = random.below(18), left = random.below(18);
    for (std::size_t i = 0; i < 10; ++i) {
      x(r, (top + (y[r] == 0 ? 0 : i)) * 28 + left + (y[r] == 1 ? 0 : i)) = 255;
    }
  }
  return redoubt::Dataset::from_matrix(x, std::span<const std::int32_t>(y));
}

struct Log final : redoubt::TrainingCallback {
  bool after_epoch(const redoubt::TrainingEpoch& e) override {
    std::cout << "epoch " << e.epoch << " of " << e.epochs << ": loss " << e.loss << ", held-out rows "
              << e.validation_loss << '\n';
    return true;
  }
};

}  // namespace

int main(int argc, char** argv) {
  const std::string folder = argc > 1 ? argv[1] : "";
  const auto file = [&](const char* name) { return folder + "/" + name + "-ubyte.gz"; };
  redoubt::Dataset train, test;
  if (folder.empty()) {
    std::tie(train, test) = bars(2000).split(0.2, 1);
  } else {
    train = redoubt::read_idx(file("train-images-idx3"), file("train-labels-idx1"));
    test = redoubt::read_idx(file("t10k-images-idx3"), file("t10k-labels-idx1"));
  }
  Log log;
  redoubt::TrainingDebugger debugger({.next = &log});  // names what goes wrong while it happens
  redoubt::EncoderOptions encoder = redoubt::EncoderOptions::dense();
  encoder.numeric = redoubt::NumericEncoding::min_max;
  const redoubt::NeuralNetwork network(
      {Reshape{{28, 28, 1}}, Conv2d{16}, ReLU{}, MaxPool2d{}, Conv2d{32}, ReLU{}, MaxPool2d{}, Dense{64}, ReLU{},
       Dropout{0.2}, Output{}},
      {.epochs = 6,
       .batch = 64,
       .optimizer = {.kind = redoubt::OptimizerKind::adamw, .learning_rate = 2e-3, .weight_decay = 1e-2},
       .schedule = {.kind = redoubt::ScheduleKind::cosine, .warmup = 0.05},
       .validation_fraction = 0.05,
       .encoder = encoder,
       .callback = &debugger});
  const redoubt::Model model = network.fit(train);
  std::cout << debugger.report() << model.evaluate(test) << '\n';
}
