#include "redoubt/kernels/normalise.hpp"

#include <cmath>

#include "kernels/dispatch.hpp"
#include "redoubt/kernels/vector.hpp"

namespace redoubt::kernels {
namespace {

/// Of the mean alone.
Moments centre(double mean) {
  const auto high = static_cast<float>(mean);
  return {.mean_high = high, .mean_low = static_cast<float>(mean - high)};
}

float inverse_deviation(double squares, std::size_t size, double epsilon) {
  return static_cast<float>(1 / std::sqrt(squares / static_cast<double>(size) + epsilon));
}

float centred(float x, const Moments& m) { return (x - m.mean_high) - m.mean_low; }

detail::Centre centre_of(const Moments& m) { return {m.mean_high, m.mean_low, m.inverse_deviation}; }

}  // namespace

namespace naive {

Moments moments(std::span<const float> x, double epsilon) noexcept {
  Moments m = centre(naive::sum(x) / static_cast<double>(x.size()));
  double squares = 0;
  for (const float value : x) squares += std::pow(static_cast<double>(centred(value, m)), 2);
  m.inverse_deviation = inverse_deviation(squares, x.size(), epsilon);
  return m;
}

void normalise(std::span<const float> x, const Moments& moments, std::span<const float> scale,
               std::span<const float> shift, std::span<float> dst) noexcept {
  for (std::size_t i = 0; i < x.size(); ++i)
    dst[i] = scale[i] * (centred(x[i], moments) * moments.inverse_deviation) + shift[i];
}

void normalise_gradient(std::span<const float> x, const Moments& moments, std::span<const float> scale,
                        std::span<const float> from, bool add, std::span<float> dst) noexcept {
  const auto z = [&](std::size_t i) { return centred(x[i], moments) * moments.inverse_deviation; };
  double level = 0, lean = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double g = static_cast<double>(scale[i]) * from[i];
    level += g;
    lean += g * z(i);
  }
  level /= static_cast<double>(x.size());
  lean /= static_cast<double>(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double slope = static_cast<double>(scale[i]) * from[i] - level - z(i) * lean;
    dst[i] = static_cast<float>(moments.inverse_deviation * slope + (add ? dst[i] : 0.0f));
  }
}

void normalise_sums(std::span<const float> x, const Moments& moments, std::span<const float> from,
                    std::span<float> scales, std::span<float> shifts) noexcept {
  for (std::size_t i = 0; i < x.size(); ++i) {
    if (!scales.empty()) scales[i] += from[i] * (centred(x[i], moments) * moments.inverse_deviation);
    if (!shifts.empty()) shifts[i] += from[i];
  }
}

}  // namespace naive

Moments moments(std::span<const float> x, double epsilon) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::moments(x, epsilon);
  Moments m = centre(table->sum(x.data(), x.size()) / static_cast<double>(x.size()));
  m.inverse_deviation = inverse_deviation(table->square_sum(centre_of(m), x.data(), x.size()), x.size(), epsilon);
  return m;
}

void normalise(std::span<const float> x, const Moments& moments, std::span<const float> scale,
               std::span<const float> shift, std::span<float> dst) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::normalise(x, moments, scale, shift, dst);
  table->normalise(centre_of(moments), x.data(), scale.data(), shift.data(), dst.data(), x.size());
}

void normalise_gradient(std::span<const float> x, const Moments& moments, std::span<const float> scale,
                        std::span<const float> from, bool add, std::span<float> dst) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::normalise_gradient(x, moments, scale, from, add, dst);
  table->normalise_gradient(centre_of(moments), x.data(), scale.data(), from.data(), add, dst.data(), x.size());
}

void normalise_sums(std::span<const float> x, const Moments& moments, std::span<const float> from,
                    std::span<float> scales, std::span<float> shifts) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::normalise_sums(x, moments, from, scales, shifts);
  table->normalise_sums(centre_of(moments), x.data(), from.data(), scales.data(), shifts.data(), x.size());
}

}  // namespace redoubt::kernels
