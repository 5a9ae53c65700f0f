#include "redoubt/kernels/vector.hpp"

#include <algorithm>
#include <limits>

#include "kernels/dispatch.hpp"

namespace redoubt::kernels {
namespace naive {

float dot(std::span<const float> x, std::span<const float> y) noexcept {
  const std::size_t n = std::min(x.size(), y.size());
  float total = 0;
  for (std::size_t i = 0; i < n; ++i) total += x[i] * y[i];
  return total;
}

void axpy(float alpha, std::span<const float> x, std::span<float> y) noexcept {
  const std::size_t n = std::min(x.size(), y.size());
  for (std::size_t i = 0; i < n; ++i) y[i] += alpha * x[i];
}

void add_rows(MatrixView<const float> rows, std::span<float> sums) noexcept {
  for (std::size_t i = 0; i < rows.rows(); ++i)
    for (std::size_t j = 0, n = std::min(rows.cols(), sums.size()); j < n; ++j) sums[j] += rows(i, j);
}

void scale(float alpha, std::span<float> x) noexcept {
  for (float& value : x) value *= alpha;
}

double sum(std::span<const float> x) noexcept {
  double total = 0;
  for (float value : x) total += value;
  return total;
}

float min(std::span<const float> x) noexcept {
  float result = std::numeric_limits<float>::infinity();
  for (float value : x) result = value < result ? value : result;
  return result;
}

float max(std::span<const float> x) noexcept {
  float result = -std::numeric_limits<float>::infinity();
  for (float value : x) result = value > result ? value : result;
  return result;
}

float squared_distance(std::span<const float> x, std::span<const float> y) noexcept {
  const std::size_t n = std::min(x.size(), y.size());
  float total = 0;
  for (std::size_t i = 0; i < n; ++i) total += (x[i] - y[i]) * (x[i] - y[i]);
  return total;
}

}  // namespace naive

float dot(std::span<const float> x, std::span<const float> y) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->dot(x.data(), y.data(), std::min(x.size(), y.size())) : naive::dot(x, y);
}

void axpy(float alpha, std::span<const float> x, std::span<float> y) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->axpy(alpha, x.data(), y.data(), std::min(x.size(), y.size())) : naive::axpy(alpha, x, y);
}

void add_rows(MatrixView<const float> rows, std::span<float> sums) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::add_rows(rows, sums);
  table->add_rows(rows.data(), rows.stride(), rows.rows(), std::min(rows.cols(), sums.size()), sums.data());
}

void scale(float alpha, std::span<float> x) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->scale(alpha, x.data(), x.size()) : naive::scale(alpha, x);
}

double sum(std::span<const float> x) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->sum(x.data(), x.size()) : naive::sum(x);
}

float min(std::span<const float> x) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->min(x.data(), x.size()) : naive::min(x);
}

float max(std::span<const float> x) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->max(x.data(), x.size()) : naive::max(x);
}

float squared_distance(std::span<const float> x, std::span<const float> y) noexcept {
  const detail::Table* table = detail::table();
  return table ? table->squared_distance(x.data(), y.data(), std::min(x.size(), y.size()))
               : naive::squared_distance(x, y);
}

}  // namespace redoubt::kernels
