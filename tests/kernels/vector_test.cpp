#include "redoubt/kernels/vector.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/random_data.hpp"

using namespace redoubt;
using redoubt::test::random_tensor;

namespace {
constexpr double u = 0x1p-24;
constexpr std::size_t lengths[] = {0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 100, 1000, 4097};
}  // namespace

TEST_CASE("dot, sum and distances stay within the stated errors", "[vector]") {
  for (const std::size_t n : lengths) {
    INFO("length " << n);
    const auto x = random_tensor(1, n, 1, 10), y = random_tensor(1, n, 2, 10);
    double dot = 0, dot_magnitude = 0, sum = 0, sum_magnitude = 0, distance = 0;
    for (std::size_t i = 0; i < n; ++i) {
      const double a = x.flat()[i], b = y.flat()[i];
      dot += a * b, dot_magnitude += std::abs(a * b);
      sum += a, sum_magnitude += std::abs(a);
      distance += (a - b) * (a - b);
    }
    const double length = double(n);
    for (const float value : {kernels::dot(x.flat(), y.flat()), kernels::naive::dot(x.flat(), y.flat())})
      CHECK(std::abs(value - dot) <= length * u * dot_magnitude * 1.001);
    for (const double value : {kernels::sum(x.flat()), kernels::naive::sum(x.flat())})
      CHECK(std::abs(value - sum) <= length * 0x1p-53 * sum_magnitude * 1.001);
    for (const float value :
         {kernels::squared_distance(x.flat(), y.flat()), kernels::naive::squared_distance(x.flat(), y.flat())})
      CHECK(std::abs(value - distance) <= (length + 3) * u * distance * 1.001);
  }
}

TEST_CASE("min and max equal those of the standard library", "[vector]") {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (const std::size_t n : lengths) {
    auto x = random_tensor(1, n, 3, 5);
    if (n == 0) {
      CHECK(kernels::min(x.flat()) == infinity);
      CHECK(kernels::max(x.flat()) == -infinity);
      CHECK(kernels::naive::max(x.flat()) == -infinity);
      continue;
    }
    for (const float shift : {0.f, 100.f, -100.f}) {  // also without zeros among the values
      for (float& value : x.flat()) value += shift;
      CHECK(kernels::min(x.flat()) == *std::min_element(x.flat().begin(), x.flat().end()));
      CHECK(kernels::max(x.flat()) == *std::max_element(x.flat().begin(), x.flat().end()));
      CHECK(kernels::naive::min(x.flat()) == kernels::min(x.flat()));
    }
  }
}

TEST_CASE("axpy and scale change every element and no other", "[vector]") {
  for (const std::size_t n : lengths) {
    const auto x = random_tensor(1, n, 4);
    auto y = random_tensor(1, n + 1, 5);
    const auto before = y;
    kernels::axpy(0.7f, x.flat(), y.flat().first(n));
    for (std::size_t i = 0; i < n; ++i) {
      const double product = 0.7f * double(x.flat()[i]), exact = before.flat()[i] + product;
      REQUIRE(std::abs(y.flat()[i] - exact) <= 2 * u * (std::abs(before.flat()[i]) + std::abs(product)));
    }
    CHECK(y.flat()[n] == before.flat()[n]);
    auto z = before;
    kernels::scale(-3, z.flat().first(n));
    for (std::size_t i = 0; i < n; ++i) REQUIRE(z.flat()[i] == -3 * before.flat()[i]);
    CHECK(z.flat()[n] == before.flat()[n]);
  }
}

TEST_CASE("rows are added as a loop adds them", "[vector]") {
  for (const std::size_t cols : lengths) {
    for (const std::size_t rows : {0, 1, 3, 4, 5, 11}) {
      const auto all = random_tensor(rows + 1, cols + 3, 6);
      const MatrixView<const float> part(all.data() + 1, rows, cols, cols + 3);
      auto sums = random_tensor(1, cols + 1, 7), wanted = sums;
      kernels::add_rows(part, sums.flat().first(cols));
      kernels::naive::add_rows(part, wanted.flat().first(cols));
      for (std::size_t j = 0; j <= cols; ++j) REQUIRE(sums.flat()[j] == wanted.flat()[j]);
    }
  }
}

TEST_CASE("the shorter vector counts", "[vector]") {
  const auto x = random_tensor(1, 20, 1), y = random_tensor(1, 30, 2);
  CHECK(kernels::dot(x.flat(), y.flat()) == kernels::dot(x.flat(), y.flat().first(20)));
  CHECK(kernels::squared_distance(y.flat(), x.flat()) == kernels::squared_distance(y.flat().first(20), x.flat()));
}
