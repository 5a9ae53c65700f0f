// An op of your own is one class: its shape, its value, its gradient and its bounds over a box. Training, attacks,
// certification and model files then treat it like the built-in ones.
#include <algorithm>
#include <cmath>
#include <iostream>
#include <numbers>
#include <redoubt/core/random.hpp>
#include <redoubt/data/dataset.hpp>
#include <redoubt/metrics/evaluation.hpp>
#include <redoubt/nn/neural_network.hpp>

namespace {

/// y = sin(x), the activation of networks that represent signals (Sitzmann et al., arXiv:2006.09661).
struct Sine final : redoubt::Op {
  std::string_view name() const noexcept override { return "sine"; }
  std::string_view onnx_name() const noexcept override { return "Sin"; }
  redoubt::OpShape infer(std::span<const redoubt::OpShape> inputs, std::span<const double>) const override {
    return inputs[0];
  }
  void forward(const redoubt::OpForward& call) const override {
    for (std::size_t r = 0; r < call.output.rows(); ++r) {
      for (std::size_t i = 0; i < call.output.cols(); ++i) call.output(r, i) = std::sin(call.inputs[0](r, i));
    }
  }
  void backward(const redoubt::OpBackward& call) const override {
    const auto to = call.input_gradients[0];
    if (!to.data()) return;  // not wanted
    for (std::size_t r = 0; r < to.rows(); ++r) {
      for (std::size_t i = 0; i < to.cols(); ++i) {
        to(r, i) += std::cos(call.inputs[0](r, i)) * call.output_gradient(r, i);
      }
    }
  }
  void bounds(const redoubt::OpBounds& call) const override {
    constexpr double pi = std::numbers::pi;
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t i = 0; i < call.output_lower.cols(); ++i) {
        const double a = call.input_lower[0](r, i), b = call.input_upper[0](r, i);
        // A crest (trough) lies inside if a whole turn after a quarter (three quarters) of one does.
        const auto inside = [&](double at) {
          return std::floor((b - at) / (2 * pi)) >= std::ceil((a - at) / (2 * pi));
        };
        const double low = inside(-pi / 2) ? -1 : std::min(std::sin(a), std::sin(b));
        const double high = inside(pi / 2) ? 1 : std::max(std::sin(a), std::sin(b));
        call.output_lower(r, i) = static_cast<float>(low - 1e-6);
        call.output_upper(r, i) = static_cast<float>(high + 1e-6);
      }
    }
  }
};

const Sine sine;
const int registered = redoubt::register_op(sine);

}  // namespace

int main() {
  redoubt::Random random(1);
  redoubt::Tensor<float> x{std::size_t{1000}, std::size_t{1}};
  std::vector<double> y(1000);
  for (std::size_t r = 0; r < y.size(); ++r) {
    x(r, 0) = static_cast<float>(random.uniform(-1, 1));
    y[r] = std::sin(20 * x(r, 0)) + 0.5 * std::sin(7 * x(r, 0));
  }
  const auto [train, test] = redoubt::Dataset::from_matrix(x, std::span<const double>(y)).split(0.2, 1);
  const redoubt::Layer wave{.kind = "sine"};
  const redoubt::NeuralNetwork waves(
      {redoubt::layer::Dense{64, false, redoubt::Initialiser::he_normal}, wave, redoubt::layer::Dense{64}, wave,
       redoubt::layer::Output{}},
      {.epochs = 100, .batch = 32, .optimizer = {.learning_rate = 3e-3}, .schedule = {redoubt::ScheduleKind::cosine}});
  std::cout << "registered: " << registered << '\n' << waves.fit(train).evaluate(test) << '\n';
}
