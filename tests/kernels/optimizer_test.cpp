#include "redoubt/kernels/optimizer.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/dispatch.hpp"
#include "kernels/random_data.hpp"

using namespace redoubt;
using redoubt::test::random_tensor;

namespace {

/// |got - exact| in units of the size of what is added up.
double error(float got, double exact, double size) { return std::abs(got - exact) / (size + 1e-35); }

}  // namespace

TEST_CASE("an Adam step is that of the formula at every length", "[optimizer]") {
  const kernels::AdamStep step{.factor = 0.5f, .coupled = 0.01f, .keep = 0.9f, .rate = 0.03f, .epsilon = 1e-6f};
  for (const bool naive : {false, true}) {
    for (const std::size_t n : {0, 1, 7, 15, 16, 17, 33, 1000}) {
      INFO("naive " << naive << " length " << n);
      auto w = random_tensor(1, n, 1), m = random_tensor(1, n, 3), v = random_tensor(1, n, 4);
      const auto g = random_tensor(1, n, 2), w0 = w, m0 = m;
      for (float& value : v.flat()) value = std::abs(value);
      const auto v0 = v;
      (naive ? kernels::naive::adam : kernels::adam)(step, w.flat(), g.flat(), m.flat(), v.flat());
      double worst = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const double w1 = w0.flat()[i], g1 = double(step.factor) * g.flat()[i], l1 = double(step.coupled) * w1;
        const double slope = g1 + l1, slope_size = std::abs(g1) + std::abs(l1);
        const double mean = double(step.first_keep) * m0.flat()[i] + double(step.first_add) * slope;
        const double mean_size = std::abs(m0.flat()[i]) + slope_size;
        const double square = double(step.second_keep) * v0.flat()[i] + double(step.second_add) * slope * slope;
        const double root = std::sqrt(square) + step.epsilon;
        worst = std::max(worst, error(m.flat()[i], mean, mean_size));
        worst = std::max(worst, error(v.flat()[i], square, square + slope_size * slope_size));
        worst = std::max(worst, error(w.flat()[i], step.keep * w1 - step.rate * mean / root,
                                      std::abs(w1) + step.rate * mean_size / root));
      }
      CHECK(worst < 1e-6);
    }
  }
}

TEST_CASE("negligible moments become zero and NaN stays", "[optimizer]") {
  for (const bool naive : {false, true}) {
    float w[3] = {1, 1, 1}, m[3] = {1e-31f, -1e-31f, 0}, v[3] = {1e-31f, 1, 0};
    const float g[3] = {0, 0, std::nanf("")};
    (naive ? kernels::naive::adam : kernels::adam)({}, std::span(w), std::span(g), std::span(m), std::span(v));
    CHECK(m[0] == 0);
    CHECK(m[1] == 0);
    CHECK(v[0] == 0);
    CHECK(w[0] == 1);
    CHECK(std::isnan(m[2]));
    CHECK(std::isnan(w[2]));
  }
}
