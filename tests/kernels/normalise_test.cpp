#include "redoubt/kernels/normalise.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include "kernels/random_data.hpp"

using namespace redoubt;
using kernels::Moments;
using redoubt::test::random_tensor;

namespace {

constexpr double u = 0x1p-24;

/// Values around `level`, and the exact moments of the floats that they are.
struct Sample {
  explicit Sample(std::size_t n, float level = 0) : x(n), scale(n), shift(n), from(n) {
    std::size_t seed = 1;
    for (auto* values : {&x, &scale, &shift, &from}) {
      const auto random = random_tensor(1, n, seed++, 3);
      values->assign(random.data(), random.data() + n);
    }
    for (float& v : x) v += level;
    for (const float v : x) mean += v / double(n);
    for (const float v : x) variance += (v - mean) * (v - mean) / double(n);
  }
  double z(std::size_t i, double epsilon) const { return (x[i] - mean) / std::sqrt(variance + epsilon); }

  std::vector<float> x, scale, shift, from;
  double mean = 0, variance = 0;
};

constexpr std::size_t sizes[] = {1, 2, 7, 15, 16, 17, 33, 64, 256, 1000};

}  // namespace

TEST_CASE("moments are exact to a rounding, also far from zero", "[normalise]") {
  for (const std::size_t n : sizes) {
    for (const float level : {0.f, 1000.f, -3e6f}) {
      const Sample s(n, level);
      for (const bool naive : {false, true}) {
        const Moments m = (naive ? kernels::naive::moments : kernels::moments)(s.x, 1e-5);
        CHECK(std::abs(double(m.mean_high) + m.mean_low - s.mean) <= 0x1p-46 * (1 + std::abs(s.mean)));
        const double exact = 1 / std::sqrt(s.variance + 1e-5);
        CHECK(std::abs(m.inverse_deviation - exact) <= (3 * u + 0x1p-46 * std::abs(s.mean) * exact) * exact);
      }
    }
  }
}

TEST_CASE("normalising keeps the stated errors and writes nothing else", "[normalise]") {
  for (const std::size_t n : sizes) {
    const Sample s(n, 2);
    const Moments m = kernels::moments(s.x, 1e-5);
    for (const bool naive : {false, true}) {
      std::vector<float> dst(n + 16, -7.f);
      (naive ? kernels::naive::normalise : kernels::normalise)(s.x, m, s.scale, s.shift, std::span(dst).first(n));
      for (std::size_t i = 0; i < n; ++i) {
        const double part = s.scale[i] * s.z(i, 1e-5);
        CHECK(std::abs(dst[i] - (part + s.shift[i])) <=
              8 * u * std::abs(part) + u * std::abs(dst[i]) +
                  0x1p-46 * std::abs(s.mean * s.scale[i]) * m.inverse_deviation);
      }
      for (std::size_t i = n; i < n + 16; ++i) CHECK(dst[i] == -7);
      auto place = s.x;
      (naive ? kernels::naive::normalise : kernels::normalise)(place, m, s.scale, s.shift, place);
      CHECK(std::equal(place.begin(), place.end(), dst.begin()));
    }
  }
}

TEST_CASE("gradients of a normalisation keep the stated errors, added or assigned", "[normalise]") {
  for (const std::size_t n : sizes) {
    const Sample s(n, 2);
    const Moments m = kernels::moments(s.x, 1e-2);
    double level = 0, lean = 0, size = 0, lean_size = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double g = double(s.scale[i]) * s.from[i], z = s.z(i, 1e-2);
      level += g / double(n), size += std::abs(g) / double(n);
      lean += g * z / double(n), lean_size += std::abs(g * z) / double(n);
    }
    for (const bool naive : {false, true}) {
      const auto gradient = naive ? kernels::naive::normalise_gradient : kernels::normalise_gradient;
      std::vector<float> alone(n + 16, -7.f), added(n + 16, 5.f);
      gradient(s.x, m, s.scale, s.from, false, std::span(alone).first(n));
      gradient(s.x, m, s.scale, s.from, true, std::span(added).first(n));
      const double inverse = 1 / std::sqrt(s.variance + 1e-2);
      for (std::size_t i = 0; i < n; ++i) {
        const double g = double(s.scale[i]) * s.from[i], z = s.z(i, 1e-2);
        const double exact = inverse * (g - level - z * lean);
        const double bound = 12 * u * inverse * (std::abs(g) + size + std::abs(z) * lean_size) + 0x1p-40;
        CHECK(std::abs(alone[i] - exact) <= bound);
        CHECK(std::abs(added[i] - 5 - exact) <= bound + 2 * u * (5 + std::abs(exact)));
      }
      for (std::size_t i = n; i < n + 16; ++i) CHECK((alone[i] == -7 && added[i] == 5));

      std::vector<float> scales(n + 16, 1.f), shifts(n + 16, 2.f);
      (naive ? kernels::naive::normalise_sums : kernels::normalise_sums)(s.x, m, s.from, std::span(scales).first(n),
                                                                         std::span(shifts).first(n));
      for (std::size_t i = 0; i < n; ++i) {
        const double part = s.from[i] * s.z(i, 1e-2);
        CHECK(std::abs(scales[i] - 1 - part) <= 8 * u * std::abs(part) + 2 * u * std::abs(scales[i]) + 0x1p-40);
        CHECK(shifts[i] == 2.f + s.from[i]);
      }
      for (std::size_t i = n; i < n + 16; ++i) CHECK((scales[i] == 1 && shifts[i] == 2));
    }
  }
}

TEST_CASE("normalisation of large and of equal values is finite", "[normalise]") {
  for (const bool naive : {false, true}) {
    // Squares beyond fp32, in whole vectors and in the rest.
    for (const std::size_t n : {2u, 16u, 33u}) {
      std::vector<float> x(n, 2e19f), z(n);
      for (std::size_t i = 0; i < n; i += 2) x[i] = -2e19f;
      const std::vector<float> one(n, 1.f), zero(n, 0.f);
      const Moments m = (naive ? kernels::naive::moments : kernels::moments)(x, 1e-5);
      (naive ? kernels::naive::normalise : kernels::normalise)(x, m, one, zero, z);
      for (std::size_t i = 0; i < n; ++i) CHECK(z[i] == Approx(i % 2 ? 1 : -1).epsilon(0.05));
    }
    // No deviation at all, far from zero: z is 0.
    for (const std::size_t n : {1u, 17u}) {
      const std::vector<float> x(n, 2e36f), from(n, 2.f), scale(n, 3.f);
      std::vector<float> dst(n, 1.f);
      const Moments m = (naive ? kernels::naive::moments : kernels::moments)(x, 1e-5);
      (naive ? kernels::naive::normalise_gradient : kernels::normalise_gradient)(x, m, scale, from, false, dst);
      for (const float v : dst) CHECK(v == 0);
    }
  }
}

TEST_CASE("sums of a normalisation that are not wanted are left out", "[normalise]") {
  const Sample s(20);
  const Moments m = kernels::moments(s.x, 1e-5);
  for (const bool naive : {false, true}) {
    const auto sums = naive ? kernels::naive::normalise_sums : kernels::normalise_sums;
    std::vector<float> scales(20, 1.f), shifts(20, 1.f), both_scales(20, 1.f), both_shifts(20, 1.f);
    sums(s.x, m, s.from, scales, {});
    sums(s.x, m, s.from, {}, shifts);
    sums(s.x, m, s.from, both_scales, both_shifts);
    CHECK(scales == both_scales);
    CHECK(shifts == both_shifts);
  }
}

TEST_CASE("a NaN reaches all of its vector", "[normalise]") {
  for (const bool naive : {false, true}) {
    Sample s(20);
    s.x[17] = std::numeric_limits<float>::quiet_NaN();
    const Moments m = (naive ? kernels::naive::moments : kernels::moments)(s.x, 1e-5);
    (naive ? kernels::naive::normalise : kernels::normalise)(s.x, m, s.scale, s.shift, s.from);
    for (const float v : s.from) CHECK(std::isnan(v));
  }
}
