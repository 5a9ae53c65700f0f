#include "redoubt/robustness/monitor/prada.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;

TEST_CASE("Shapiro-Wilk agrees with SciPy", "[prada]") {
  const auto w = [](int n, auto&& value) {
    std::vector<double> x;
    for (int i = 1; i <= n; ++i) x.push_back(value(i));
    return shapiro_wilk(x);
  };
  // scipy.stats.shapiro of SciPy 1.16 on the same values.
  CHECK(w(4, [](int i) { return i * i % 7; }) == Approx(0.8949452180508461).epsilon(1e-6));
  CHECK(w(11, [](int i) { return i * 37 % 19 / 3.0; }) == Approx(0.9683912804626188).epsilon(1e-6));
  CHECK(w(50, [](int i) { return std::pow(i * i * 31 % 97, 1.5); }) == Approx(0.9088891390538196).epsilon(1e-6));
  CHECK(w(200, [](int i) { return i * 73 % 211 + 0.01 * (i * i % 5); }) == Approx(0.9538447019224048).epsilon(1e-6));
  CHECK(w(1000, [](int i) { return std::exp(i * 389 % 1009 / 200.0); }) == Approx(0.7600423261290122).epsilon(1e-6));
  CHECK(std::isnan(shapiro_wilk(std::vector<double>{1, 1, 1})));
  CHECK(std::isnan(shapiro_wilk(std::vector<double>{1, 2})));
}

TEST_CASE("PRADA finds synthetic queries around a few seeds, and not normal ones", "[prada]") {
  Random random(3);
  Tensor<float> rows({1200, 10});
  for (float& v : rows.flat()) v = static_cast<float>(random.normal());
  Prada prada(rows, {.delta = 0.9});
  std::size_t benign = 0, first = 0;
  for (std::size_t r = 0; r < 600; ++r) benign += prada.observe(1, rows.row(r), rows(r, 0) > 0).suspicious;
  CHECK(benign == 0);
  // Jacobian-like augmentation: seeds, then steps of one size away from earlier queries.
  std::vector<std::vector<float>> pool;
  for (std::size_t q = 1; q <= 600 && first == 0; ++q) {
    std::vector<float> row;
    if (q <= 60) {
      row.assign(rows.row(600 + q).begin(), rows.row(600 + q).end());
    } else {
      row = pool[random.below(pool.size())];
      for (float& v : row) v += random.below(2) ? 0.1f : -0.1f;
    }
    pool.push_back(row);
    if (prada.observe(2, row, row[0] > 0).suspicious) first = q;
  }
  CHECK(first > 100);
  CHECK(first <= 300);
  CHECK(prada.observe(1, std::vector<float>(3), 0).status == errc::shape_mismatch);
}

TEST_CASE("PRADA forgets callers beyond its bound and names bad options", "[prada]") {
  Tensor<float> rows({50, 2});
  for (std::size_t i = 0; i < 100; ++i) rows.flat()[i] = static_cast<float>(i * 37 % 11);
  Prada prada(rows, {.callers = 2});
  for (std::uint64_t c = 0; c < 1000; ++c) CHECK_FALSE(prada.observe(c, rows.row(c % 50), 0).suspicious);
  CHECK_THROWS_WITH(Prada(rows, {.delta = 1}), Catch::Contains("delta"));
  CHECK_THROWS_WITH(Prada(rows, {.fewest = 2}), Catch::Contains("fewest"));
  CHECK_THROWS_WITH(Prada(rows, {.every = 0}), Catch::Contains("every"));
  CHECK_THROWS_WITH(Prada(rows, {.callers = 0}), Catch::Contains("callers"));
  CHECK_THROWS_WITH(Prada(rows, {.most_values = 50}), Catch::Contains("most_values"));
}
