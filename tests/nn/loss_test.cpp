#include "redoubt/nn/loss.hpp"

#include <cmath>
#include <limits>
#include <numeric>

#include "nn/golden.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
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

TEST_CASE("Triplet loss: gradients agree with differences, weights multiply the anchors", "[loss]") {
  Random random(5);
  constexpr std::size_t rows = 12, cols = 5;
  const NetworkLoss loss{.kind = LossKind::triplet, .margin = 1.5, .weight = 2};
  Tensor<float> scores({rows, cols}), labels({rows, std::size_t{1}}), gradient({rows, cols});
  std::vector<float> weights(rows);
  for (int repeat = 0; repeat < 5; ++repeat) {
    for (float& s : scores.flat()) s = static_cast<float>(random.normal());
    for (std::size_t r = 0; r < rows; ++r) labels(r, 0) = static_cast<float>(random.below(3)) * 1000;
    for (float& w : weights) w = static_cast<float>(random.uniform());
    std::fill(gradient.flat().begin(), gradient.flat().end(), 1.0f);
    const double value = triplet_loss(loss, scores, labels, weights, 0.5, gradient);
    CHECK(value == triplet_loss(loss, scores, labels, weights, 0, {}));
    CHECK(value > 0);
    std::size_t far_off = 0;
    for (std::size_t i = 0; i < rows * cols; ++i) {
      const float at = scores.data()[i];
      scores.data()[i] = at + 1e-3f;
      const double up = triplet_loss(loss, scores, labels, weights, 0, {}), high = scores.data()[i];
      scores.data()[i] = at - 1e-3f;
      const double slope = (up - triplet_loss(loss, scores, labels, weights, 0, {})) / (high - scores.data()[i]);
      scores.data()[i] = at;
      // Between the two points another row may become the farthest or nearest.
      far_off += std::abs(2 * (gradient.data()[i] - 1) - slope) > 2e-3 * std::max(1.0, std::abs(slope));
    }
    CHECK(far_off <= 2);
  }
  // One label, or every row its own: no anchor has both a positive and a negative.
  std::fill(labels.flat().begin(), labels.flat().end(), 4.0f);
  CHECK(triplet_loss(loss, scores, labels, {}, 1, gradient) == 0);
  std::iota(labels.flat().begin(), labels.flat().end(), 0.0f);
  CHECK(triplet_loss(loss, scores, labels, {}, 1, gradient) == 0);
  // What is not finite must not pass for a loss of 0.
  scores(3, 1) = std::numeric_limits<float>::quiet_NaN();
  CHECK(!std::isfinite(triplet_loss(loss, scores, labels, {}, 1, {})));
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
  REQUIRE(golden.losses.size() == 7);
  for (const test::GoldenLoss& g : golden.losses) {
    INFO(g.name);
    NetworkLoss loss{.kind = static_cast<LossKind>(g.kind)};
    if (g.name == "smoothing") loss.smoothing = g.parameter;
    if (g.name == "huber") loss.delta = g.parameter;
    if (g.name == "triplet") loss.margin = g.parameter;
    const std::size_t width = g.scores.size() / test::Golden::rows, targets = g.target.size() / test::Golden::rows;
    double sum = 0;
    if (loss.kind == LossKind::triplet) {
      const std::size_t rows = test::Golden::rows;
      std::vector<float> gradient(g.scores.size());
      sum = triplet_loss(loss, {g.scores.data(), rows, width}, {g.target.data(), rows, 1}, {}, 1.0 / rows,
                         {gradient.data(), rows, width});
      for (std::size_t i = 0; i < gradient.size(); ++i) CHECK(gradient[i] == Approx(g.gradient[i]).margin(1e-6));
      CHECK(sum / rows == Approx(g.value[0]).epsilon(1e-6));
      continue;
    }
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
