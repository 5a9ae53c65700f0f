#pragma once
#include <fmt/format.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "redoubt/core/error.hpp"

namespace redoubt::detail {

inline void check_rows(std::string_view what, std::size_t rows, std::size_t truth_rows) {
  if (rows != truth_rows) fail(errc::shape_mismatch, fmt::format("{} {} for {} true values", rows, what, truth_rows));
}

/// `rows` > 0; weights empty or one per row, finite, non-negative, not all zero.
inline void check_weights(std::span<const double> weights, std::size_t rows) {
  if (rows == 0) fail(errc::invalid_argument, "a metric needs at least one row");
  if (weights.empty()) return;
  check_rows("weights", weights.size(), rows);
  double total = 0;
  for (std::size_t i = 0; i < rows; ++i) {
    if (!(weights[i] >= 0) || std::isinf(weights[i]))
      fail(errc::invalid_argument, fmt::format("the weight of row {} is {}", i, weights[i]));
    total += weights[i];
  }
  if (!(total > 0)) fail(errc::invalid_argument, "the weights of all rows are zero");
}

inline void check_codes(std::string_view what, std::span<const std::int32_t> codes, std::size_t classes) {
  for (std::size_t i = 0; i < codes.size(); ++i)
    if (codes[i] < 0 || static_cast<std::size_t>(codes[i]) >= classes)
      fail(errc::invalid_argument,
           fmt::format("{} {} of row {} is not in 0..{}", what, codes[i], i, static_cast<std::ptrdiff_t>(classes) - 1));
}

/// Float models may exceed 1 by a rounding error.
inline void check_probability(double p, std::size_t row) {
  if (!(p >= -1e-6 && p <= 1 + 1e-6))
    fail(errc::invalid_argument, fmt::format("the probability {} of row {} is not in [0, 1]", p, row));
}

inline double weight_of(std::span<const double> weights, std::size_t row) noexcept {
  return weights.empty() ? 1.0 : weights[row];
}

inline double total_weight(std::span<const double> weights, std::size_t rows) noexcept {
  if (weights.empty()) return static_cast<double>(rows);
  double total = 0;
  for (const double w : weights) total += w;
  return total;
}

/// Weighted mean of `values`; weights as in check_weights.
inline double weighted_mean(std::span<const double> values, std::span<const double> weights) noexcept {
  double sum = 0;
  for (std::size_t i = 0; i < values.size(); ++i) sum += weight_of(weights, i) * values[i];
  return sum / total_weight(weights, values.size());
}

}  // namespace redoubt::detail
