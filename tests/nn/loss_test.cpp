#include "redoubt/nn/loss.hpp"

#include <cmath>

#include "nn/golden.hpp"
#include "redoubt/core/random.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

TEST_CASE("NetworkLoss: gradients agree with differences, weights multiply", "[loss]") {
  const std::vector<double> class_weights{0.5, 2, 1, 3};
  const NetworkLoss losses[] = {{},
                                {.smoothing = 0.1},
                                {.weight = 3, .class_weights = class_weights},
                                {.kind = LossKind::focal},
                                {.kind = LossKind::focal, .gamma = 0.5},
                                {.kind = LossKind::hinge},
                                {.kind = LossKind::binary_cross_entropy},
                                {.kind = LossKind::mse, .weight = 0.5},
                                {.kind = LossKind::huber, .delta = 0.7}};
  Random random(1);
  for (const NetworkLoss& loss : losses) {
    INFO("kind " << int(loss.kind));
    for (int repeat = 0; repeat < 20; ++repeat) {
      std::vector<float> scores(4), target(4), gradient(4);
      for (float& s : scores) s = static_cast<float>(2 * random.normal());
      for (float& t : target) t = static_cast<float>(random.uniform());
      if (loss.kind <= LossKind::hinge) target = {static_cast<float>(random.below(4))};
      const double value = loss_of_row(loss, scores, target, gradient);
      CHECK(value == loss_of_row(loss, scores, target, {}));
      CHECK(value >= 0);
      for (std::size_t k = 0; k < scores.size(); ++k) {
        const float at = scores[k];
        scores[k] = at + 1e-2f;
        const double up = loss_of_row(loss, scores, target, {}), high = scores[k];
        scores[k] = at - 1e-2f;
        const double slope = (up - loss_of_row(loss, scores, target, {})) / (high - scores[k]);
        scores[k] = at;
        // A kink between the two points moves the difference, not the gradient.
        const bool kinked = loss.kind == LossKind::hinge || loss.kind == LossKind::huber;
        CHECK(gradient[k] == Approx(slope).epsilon(1e-3).margin(kinked ? 0.02 : 1e-3));
      }
    }
  }
}

TEST_CASE("NetworkLoss: known values", "[loss]") {
  const std::vector<float> scores{0, 0, 0, 0}, second{1}, zeros{0, 0, 0, 0}, ones{1, 1, 1, 1};
  CHECK(loss_of_row({}, scores, second, {}) == Approx(std::log(4)));
  CHECK(loss_of_row({.kind = LossKind::focal}, scores, second, {}) == Approx(0.5625 * std::log(4)));
  CHECK(loss_of_row({.kind = LossKind::hinge}, scores, second, {}) == Approx(0.75));
  CHECK(loss_of_row({.kind = LossKind::binary_cross_entropy}, scores, ones, {}) == Approx(std::log(2)));
  CHECK(loss_of_row({.kind = LossKind::mse}, scores, ones, {}) == 1);
  CHECK(loss_of_row({.kind = LossKind::huber, .delta = 0.5}, scores, ones, {}) == Approx(0.375));
  // Extreme scores stay finite.
  const std::vector<float> far{-500, 500, 0, 0};
  for (const auto kind : {LossKind::cross_entropy, LossKind::focal, LossKind::hinge}) {
    std::vector<float> gradient(4);
    CHECK(std::isfinite(loss_of_row({.kind = kind}, far, zeros, gradient)));
    for (const float g : gradient) CHECK(std::isfinite(g));
  }
}

TEST_CASE("NetworkLoss: values and gradients are those of PyTorch", "[loss]") {
  const test::Golden golden;
  REQUIRE(golden.losses.size() == 6);
  for (const test::GoldenLoss& g : golden.losses) {
    INFO(g.name);
    NetworkLoss loss{.kind = static_cast<LossKind>(g.kind)};
    if (g.name == "smoothing") loss.smoothing = g.parameter;
    if (g.name == "huber") loss.delta = g.parameter;
    const std::size_t width = g.scores.size() / test::Golden::rows, targets = g.target.size() / test::Golden::rows;
    double sum = 0;
    for (std::size_t r = 0; r < test::Golden::rows; ++r) {
      std::vector<float> gradient(width);
      sum += loss_of_row(loss, std::span(g.scores).subspan(r * width, width),
                         std::span(g.target).subspan(r * targets, targets), gradient);
      for (std::size_t k = 0; k < width; ++k) {
        CHECK(gradient[k] == Approx(g.gradient[r * width + k] * test::Golden::rows).margin(1e-6));
      }
    }
    CHECK(sum / test::Golden::rows == Approx(g.value[0]).epsilon(1e-6));
  }
}
