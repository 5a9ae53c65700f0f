#include "redoubt/kernels/distance.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/random_data.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"

using namespace redoubt;
using redoubt::test::random_tensor;

TEST_CASE("distances of all pairs stay within the stated error", "[distance]") {
  for (const std::size_t d : {1, 3, 16, 57, 200}) {
    const auto a = random_tensor(37, d, 1), b = random_tensor(130, d, 2);
    Tensor<float> fast({37, 130}), naive({37, 130});
    kernels::squared_distances(a, b, fast);
    kernels::naive::squared_distances(a, b, naive);
    for (std::size_t i = 0; i < 37; ++i) {
      for (std::size_t j = 0; j < 130; ++j) {
        double truth = 0;
        for (std::size_t p = 0; p < d; ++p) truth += std::pow(double(a(i, p)) - b(j, p), 2);
        REQUIRE(std::abs(fast(i, j) - truth) <= double(d + 3) * 0x1p-24 * truth * 1.001);
        REQUIRE(std::abs(naive(i, j) - truth) <= double(d + 3) * 0x1p-24 * truth * 1.001);
      }
    }
  }
}

TEST_CASE("equal rows are at distance zero, however far from the origin", "[distance]") {
  auto a = random_tensor(20, 11, 1);
  for (float& value : a.flat()) value += 1e6f;
  Tensor<float> out({20, 20});
  kernels::squared_distances(a, a, out);
  for (std::size_t i = 0; i < 20; ++i) {
    CHECK(out(i, i) == 0);
    for (std::size_t j = 0; j < i; ++j) CHECK(out(i, j) == out(j, i));
  }
}

TEST_CASE("distances are the same at any thread count, and sizes must fit", "[distance][threads]") {
  const auto a = random_tensor(100, 9, 1), b = random_tensor(70, 9, 2);
  Arena one(1), two(2);
  Tensor<float> serial({100, 70}), parallel({100, 70});
  kernels::squared_distances(a, b, serial, &one);
  kernels::squared_distances(a, b, parallel, &two);
  CHECK(serial == parallel);
  const auto wrong = random_tensor(70, 8, 2);
  CHECK_THROWS_WITH(kernels::squared_distances(a, wrong, serial), Catch::Contains("100x9") && Catch::Contains("70x8"));
}
