#include "nn/adam.hpp"

#include <algorithm>
#include <cmath>

#include "redoubt/core/parallel.hpp"

namespace redoubt::detail {
namespace {

constexpr double beta1 = 0.9, beta2 = 0.999;
constexpr float epsilon = 1e-8f;
constexpr float negligible = 1e-30f;  // below it a moment becomes zero: subnormal numbers cost a hundred times more
constexpr std::size_t grain = 16384;

}  // namespace

Adam::Adam(const Graph& graph, double learning_rate, double l2)
    : learning_rate_(learning_rate),
      penalty_(graph.parameters().size(), 0.0f),
      first_(penalty_.size(), 0.0f),
      second_(penalty_.size(), 0.0f) {
  for (const GraphParameter& entry : graph.parameter_table()) {
    if (entry.decay)
      std::fill_n(penalty_.begin() + static_cast<std::ptrdiff_t>(entry.offset), entry.size, static_cast<float>(l2));
  }
}

void Adam::step(std::span<float> parameters, std::span<const float> gradient, Arena* arena) {
  power1_ *= beta1;
  power2_ *= beta2;
  const auto rate = static_cast<float>(learning_rate_ * std::sqrt(1 - power2_) / (1 - power1_));
  const auto shifted = static_cast<float>(epsilon * std::sqrt(1 - power2_));
  constexpr auto b1 = static_cast<float>(beta1), b2 = static_cast<float>(beta2);
  constexpr auto c1 = static_cast<float>(1 - beta1), c2 = static_cast<float>(1 - beta2);
  float* const w = parameters.data();
  float* const m = first_.data();
  float* const v = second_.data();
  const float* const g = gradient.data();
  const float* const penalty = penalty_.data();
  parallel_for(
      parameters.size(), grain,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          const float slope = g[i] + penalty[i] * w[i];
          const float mean = b1 * m[i] + c1 * slope;
          m[i] = std::abs(mean) < negligible ? 0.0f : mean;
          const float square = b2 * v[i] + c2 * slope * slope;
          v[i] = square < negligible ? 0.0f : square;
          w[i] -= rate * m[i] / (std::sqrt(v[i]) + shifted);
        }
      },
      arena);
}

}  // namespace redoubt::detail
