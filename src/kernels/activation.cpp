#include "redoubt/kernels/activation.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "kernels/dispatch.hpp"
#include "redoubt/kernels/vector.hpp"

namespace redoubt::kernels {
namespace {
std::size_t common(std::span<const float> src, std::span<float> dst) { return std::min(src.size(), dst.size()); }
constexpr float smallest_exponent = -87.33654f;  // log of the smallest normal number
constexpr double root_half = 0.7071067811865476, inverse_root_two_pi = 0.3989422804014327;
}  // namespace

namespace naive {

void exp(std::span<const float> src, std::span<float> dst) noexcept {
  for (std::size_t i = 0, n = common(src, dst); i < n; ++i) dst[i] = src[i] < smallest_exponent ? 0 : std::exp(src[i]);
}

void tanh(std::span<const float> src, std::span<float> dst) noexcept {
  for (std::size_t i = 0, n = common(src, dst); i < n; ++i) dst[i] = std::tanh(src[i]);
}

void sigmoid(std::span<const float> src, std::span<float> dst) noexcept {
  for (std::size_t i = 0, n = common(src, dst); i < n; ++i) dst[i] = 1 / (1 + std::exp(-src[i]));
}

void relu(std::span<const float> src, std::span<float> dst) noexcept {
  for (std::size_t i = 0, n = common(src, dst); i < n; ++i) dst[i] = src[i] < 0 ? 0 : src[i];
}

void erf(std::span<const float> src, std::span<float> dst) noexcept {
  for (std::size_t i = 0, n = common(src, dst); i < n; ++i) dst[i] = std::erf(src[i]);
}

// erfc instead of 1 + erf: no cancellation in the negative tail. In double precision, as erfc(z) magnifies the rounding
// of z by 2z^2.
void gelu(std::span<const float> src, std::span<float> dst) noexcept {
  for (std::size_t i = 0, n = common(src, dst); i < n; ++i)
    dst[i] = static_cast<float>(0.5 * src[i] * std::erfc(-src[i] * root_half));
}

void relu_gradient(std::span<const float> y, std::span<const float> from, std::span<float> to) noexcept {
  const std::size_t n = std::min(common(from, to), y.size());
  for (std::size_t i = 0; i < n; ++i) to[i] = y[i] > 0 ? from[i] : 0.0f;
}

void gelu_gradient(std::span<const float> x, std::span<const float> from, bool add, std::span<float> to) noexcept {
  for (std::size_t i = 0, n = std::min(common(from, to), x.size()); i < n; ++i) {
    const double bounded = std::abs(x[i]) > 14 ? std::copysign(14.0, x[i]) : x[i];
    const double density = inverse_root_two_pi * std::exp(-0.5 * bounded * bounded);
    const float slope = static_cast<float>(0.5 * std::erfc(-bounded * root_half) + bounded * density) * from[i];
    to[i] = add ? to[i] + slope : slope;
  }
}

float log_sum_exp(std::span<const float> x) noexcept {
  const float largest = naive::max(x);
  if (std::isinf(largest)) return largest;
  double total = 0;
  for (float value : x) total += std::exp(double(value) - largest);
  return static_cast<float>(largest + std::log(total));
}

void softmax_rows(MatrixView<float> values) noexcept {
  for (std::size_t r = 0; r < values.rows(); ++r) {
    const auto row = values.row(r);
    const float largest = naive::max(row);
    double total = 0;
    for (float& value : row) total += value = std::exp(value - largest);
    for (float& value : row) value = static_cast<float>(value / total);
  }
}

float exp_sum(float factor, float shift, std::span<float> x) noexcept {
  float total = 0;
  for (float& value : x) value = factor * (value - shift);
  naive::exp(x, x);
  for (const float value : x) total += value;
  return total;
}

void softmax_gradient(std::span<const float> y, float factor, std::span<float> from) noexcept {
  const float mean = naive::dot(y, from);
  for (std::size_t i = 0, n = common(y, from); i < n; ++i) from[i] = factor * y[i] * (from[i] - mean);
}

}  // namespace naive

void exp(std::span<const float> src, std::span<float> dst) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->exp(src.data(), 0, dst.data(), common(src, dst)) : naive::exp(src, dst);
}

void tanh(std::span<const float> src, std::span<float> dst) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->tanh(src.data(), dst.data(), common(src, dst)) : naive::tanh(src, dst);
}

void sigmoid(std::span<const float> src, std::span<float> dst) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->sigmoid(src.data(), dst.data(), common(src, dst)) : naive::sigmoid(src, dst);
}

void relu(std::span<const float> src, std::span<float> dst) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->relu(src.data(), dst.data(), common(src, dst)) : naive::relu(src, dst);
}

void erf(std::span<const float> src, std::span<float> dst) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->erf(src.data(), dst.data(), common(src, dst)) : naive::erf(src, dst);
}

void gelu(std::span<const float> src, std::span<float> dst) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->gelu(src.data(), dst.data(), common(src, dst)) : naive::gelu(src, dst);
}

void relu_gradient(std::span<const float> y, std::span<const float> from, std::span<float> to) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::relu_gradient(y, from, to);
  table->relu_gradient(y.data(), from.data(), to.data(), std::min(common(from, to), y.size()));
}

void gelu_gradient(std::span<const float> x, std::span<const float> from, bool add, std::span<float> to) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::gelu_gradient(x, from, add, to);
  table->gelu_gradient(x.data(), from.data(), add, to.data(), std::min(common(from, to), x.size()));
}

float log_sum_exp(std::span<const float> x) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::log_sum_exp(x);
  const float largest = table->max(x.data(), x.size());
  if (std::isinf(largest)) return largest;
  std::array<float, 256> powers;
  double total = 0;
  for (std::size_t i = 0; i < x.size(); i += powers.size()) {
    const std::size_t n = std::min(powers.size(), x.size() - i);
    table->exp(x.data() + i, largest, powers.data(), n);
    total += table->sum(powers.data(), n);
  }
  return static_cast<float>(largest + std::log(total));
}

void softmax_rows(MatrixView<float> values) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::softmax_rows(values);
  table->softmax(values.data(), values.stride(), values.rows(), values.cols());
}

float exp_sum(float factor, float shift, std::span<float> x) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->exp_sum(factor, shift, x.data(), x.size()) : naive::exp_sum(factor, shift, x);
}

void softmax_gradient(std::span<const float> y, float factor, std::span<float> from) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::softmax_gradient(y, factor, from);
  table->softmax_gradient(y.data(), factor, from.data(), common(y, from));
}

}  // namespace redoubt::kernels
