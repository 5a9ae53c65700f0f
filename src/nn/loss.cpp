#include "redoubt/nn/loss.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "redoubt/kernels/activation.hpp"

namespace redoubt {
namespace {

double cross_entropy(const NetworkLoss& loss, std::span<const float> s, std::size_t label, std::span<float> gradient) {
  const float total = kernels::log_sum_exp(s);
  const auto count = static_cast<double>(s.size());
  for (std::size_t k = 0; k < gradient.size(); ++k) gradient[k] = std::exp(s[k] - total);
  double value = static_cast<double>(total) - s[label];
  if (loss.smoothing > 0) {
    double sum = 0;
    for (const float v : s) sum += v;
    value = (1 - loss.smoothing) * value + loss.smoothing * (static_cast<double>(total) - sum / count);
    for (float& g : gradient) g -= static_cast<float>(loss.smoothing / count);
  }
  if (!gradient.empty()) gradient[label] -= static_cast<float>(1 - loss.smoothing);
  return value;
}

double focal(const NetworkLoss& loss, std::span<const float> s, std::size_t label, std::span<float> gradient) {
  const float total = kernels::log_sum_exp(s);
  const double log_p = std::min(0.0, static_cast<double>(s[label]) - total), p = std::exp(log_p);
  const double rest = 1 - p, factor = std::pow(rest, loss.gamma);
  // d/ds_k of -(1-p)^g log p, with dp/ds_k = p ([k = y] - p_k).
  const double slope = rest > 0 ? loss.gamma * p * std::pow(rest, loss.gamma - 1) * log_p - factor : 0;
  for (std::size_t k = 0; k < gradient.size(); ++k) {
    gradient[k] = static_cast<float>(slope * ((k == label) - std::exp(static_cast<double>(s[k]) - total)));
  }
  return -factor * log_p;
}

double hinge(std::span<const float> s, std::size_t label, std::span<float> gradient) {
  const double share = 1.0 / static_cast<double>(s.size());
  std::fill(gradient.begin(), gradient.end(), 0.0f);
  double value = 0;
  for (std::size_t k = 0; k < s.size(); ++k) {
    const double margin = 1.0 - s[label] + s[k];
    if (k == label || margin <= 0) continue;
    value += share * margin;
    if (gradient.empty()) continue;
    gradient[k] += static_cast<float>(share);
    gradient[label] -= static_cast<float>(share);
  }
  return value;
}

}  // namespace

double loss_of_row(const NetworkLoss& loss, std::span<const float> scores, std::span<const float> target,
                   std::span<float> gradient) noexcept {
  double value = 0, factor = loss.weight;
  if (loss.kind <= LossKind::hinge) {
    const auto label = static_cast<std::size_t>(target[0]);
    if (!loss.class_weights.empty()) factor *= loss.class_weights[label];
    value = loss.kind == LossKind::cross_entropy ? cross_entropy(loss, scores, label, gradient)
            : loss.kind == LossKind::focal       ? focal(loss, scores, label, gradient)
                                                 : hinge(scores, label, gradient);
  } else {
    const double share = 1.0 / static_cast<double>(scores.size());
    for (std::size_t k = 0; k < scores.size(); ++k) {
      const double s = scores[k], t = target[k], r = s - t;
      double slope = 0;
      if (loss.kind == LossKind::mse) {
        value += share * r * r;
        slope = 2 * share * r;
      } else if (loss.kind == LossKind::huber) {
        const bool near = std::abs(r) <= loss.delta;
        value += share * (near ? r * r / 2 : loss.delta * (std::abs(r) - loss.delta / 2));
        slope = share * (near ? r : std::copysign(loss.delta, r));
      } else {
        const double e = std::exp(-std::abs(s));
        value += share * (std::max(s, 0.0) - s * t + std::log1p(e));
        slope = share * ((s >= 0 ? 1 / (1 + e) : e / (1 + e)) - t);
      }
      if (!gradient.empty()) gradient[k] = static_cast<float>(slope);
    }
  }
  if (factor != 1) {
    for (float& g : gradient) g = static_cast<float>(g * factor);
  }
  return factor * value;
}

double triplet_loss(const NetworkLoss& loss, MatrixView<const float> scores, MatrixView<const float> labels,
                    std::span<const float> weights, double share, MatrixView<float> gradient) noexcept {
  const std::size_t rows = scores.rows(), cols = scores.cols();
  const auto squared = [&](std::size_t a, std::size_t b) {
    double sum = 0;
    for (std::size_t k = 0; k < cols; ++k) {
      const double difference = static_cast<double>(scores(a, k)) - scores(b, k);
      sum += difference * difference;
    }
    return sum;
  };
  double total = 0;
  for (std::size_t a = 0; a < rows; ++a) {
    double far = -1, near = std::numeric_limits<double>::infinity();
    std::size_t positive = a, negative = a;
    for (std::size_t b = 0; b < rows; ++b) {
      if (b == a) continue;
      const double square = squared(a, b);
      if (labels(a, 0) == labels(b, 0)) {
        if (square > far) far = square, positive = b;
      } else if (square < near) {
        near = square, negative = b;
      }
    }
    const double weight = loss.weight * (weights.empty() ? 1.0 : weights[a]);
    if (positive == a || negative == a) {
      if (std::isnan(squared(a, a))) total += std::nan("");
      continue;
    }
    far = std::sqrt(far), near = std::sqrt(near);
    const double hinge = loss.margin + far - near;
    if (hinge <= 0) continue;
    total += weight * hinge;
    if (!gradient.data()) continue;
    const double up = far > 0 ? share * weight / far : 0, down = near > 0 ? share * weight / near : 0;
    for (std::size_t k = 0; k < cols; ++k) {
      const double to_positive = up * (static_cast<double>(scores(a, k)) - scores(positive, k));
      const double to_negative = down * (static_cast<double>(scores(a, k)) - scores(negative, k));
      gradient(a, k) += static_cast<float>(to_positive - to_negative);
      gradient(positive, k) -= static_cast<float>(to_positive);
      gradient(negative, k) += static_cast<float>(to_negative);
    }
  }
  return total;
}

}  // namespace redoubt
