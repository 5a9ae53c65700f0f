#pragma once
// The inputs of bench/peers/golden/metrics.py, made by the same formulas.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "metrics/golden_metrics.hpp"
#include "redoubt/core/tensor.hpp"

namespace redoubt::test {

inline constexpr std::size_t golden_rows = 500, golden_classes = 5;

inline std::uint32_t mix(std::uint32_t i, std::uint32_t salt) {
  std::uint32_t x = i * 2654435761u + salt * 2246822519u + 374761393u;
  x ^= x >> 15;
  x *= 2246822519u;
  x ^= x >> 13;
  x *= 3266489917u;
  return x ^ (x >> 16);
}

inline double unit(std::uint32_t i, std::uint32_t salt) { return mix(i, salt) / 4294967296.0; }

struct GoldenInputs {
  std::vector<double> weights, fine, ties, values, predicted;
  std::vector<std::int32_t> binary_truth, truth;
  Tensor<double> probabilities{golden_rows, golden_classes};

  GoldenInputs() {
    for (std::uint32_t i = 0; i < golden_rows; ++i) {
      weights.push_back(mix(i, 9) % 8 / 4.0);
      binary_truth.push_back(unit(i, 1) < 0.3);
      fine.push_back((unit(i, 2) + (binary_truth[i] ? unit(i, 3) : 0.0)) / 2);
      ties.push_back(std::floor(fine[i] * 16) / 16);
      truth.push_back(static_cast<std::int32_t>(mix(i, 4) % golden_classes));
      double sum = 0;
      for (std::uint32_t c = 0; c < golden_classes; ++c) {
        const bool hit = truth[i] == static_cast<std::int32_t>(c);
        sum += probabilities(i, c) = 1 + mix(i, 10 + c) % 50 + (hit ? 40 : 0);
      }
      for (std::uint32_t c = 0; c < golden_classes; ++c) probabilities(i, c) /= sum;
      values.push_back(mix(i, 5) % 1000 / 8.0);
      predicted.push_back(values[i] + (mix(i, 6) % 200 / 16.0 - 6.0));
    }
  }
};

inline double golden(const std::string& name) { return golden_metrics.at(name); }

}  // namespace redoubt::test
