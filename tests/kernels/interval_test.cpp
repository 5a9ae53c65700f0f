#include "redoubt/kernels/interval.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "kernels/random_data.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/matmul.hpp"

using namespace redoubt;
using redoubt::test::random_tensor;

namespace {
struct Box {
  Tensor<float> lower, upper;
};

Box random_box(std::size_t rows, std::size_t cols, float radius) {
  Box box{random_tensor(rows, cols, 1, 3), random_tensor(rows, cols, 2)};
  for (std::size_t i = 0; i < box.lower.size(); ++i)
    box.upper.flat()[i] = box.lower.flat()[i] + radius * std::abs(box.upper.flat()[i]);
  return box;
}
}  // namespace

TEST_CASE("bounds enclose the exact extremes and what the products compute", "[interval]") {
  Random random(5);
  for (const std::size_t k : {1, 2, 31, 300}) {
    for (const std::size_t n : {1, 15, 16, 33, 64}) {
      for (const float radius : {0.f, 1e-6f, 0.5f}) {
        const std::size_t m = 9;
        const Box box = random_box(m, k, radius);
        const auto w = random_tensor(k, n, 3), bias = random_tensor(1, n, 4);
        Tensor<float> low({m, n}), high({m, n}), naive_low({m, n}), naive_high({m, n});
        kernels::affine_bounds(box.lower, box.upper, w, bias.data(), low, high);
        kernels::naive::affine_bounds(box.lower, box.upper, w, bias.data(), naive_low, naive_high);
        for (std::size_t i = 0; i < m; ++i) {
          for (std::size_t j = 0; j < n; ++j) {
            long double least = bias.flat()[j], most = least, magnitude = std::abs(least);
            for (std::size_t p = 0; p < k; ++p) {
              const long double a = (long double)(w(p, j)) * box.lower(i, p),
                                b = (long double)(w(p, j)) * box.upper(i, p);
              least += std::min(a, b), most += std::max(a, b), magnitude += std::max(std::abs(a), std::abs(b));
            }
            REQUIRE(low(i, j) <= least);
            REQUIRE(high(i, j) >= most);
            REQUIRE(naive_low(i, j) <= least);
            REQUIRE(naive_high(i, j) >= most);
            REQUIRE(low(i, j) <= naive_low(i, j));
            REQUIRE(high(i, j) >= naive_high(i, j));
            // And they are not wider than stated, plus one rounding of the bound itself.
            REQUIRE(least - low(i, j) <= 4.0L * (long double)(k + 5) * 0x1p-24L * magnitude + 1e-37L);
            REQUIRE(high(i, j) - most <= 4.0L * (long double)(k + 5) * 0x1p-24L * magnitude + 1e-37L);
          }
        }
        // Points of the box, corners among them, through the product in single precision.
        Tensor<float> x({m, k}), y({m, n}), y_naive({m, n});
        for (int trial = 0; trial < 5; ++trial) {
          for (std::size_t i = 0; i < x.size(); ++i) {
            const float a = box.lower.flat()[i], b = box.upper.flat()[i];
            const double t = random.uniform();
            x.flat()[i] = trial == 0 ? a : trial == 1 ? b : std::clamp(float(a + t * (double(b) - a)), a, b);
          }
          kernels::matmul(x, w, y, {.epilogue = {.bias = bias.data()}});
          kernels::naive::matmul(x, w, y_naive, {.epilogue = {.bias = bias.data()}});
          for (std::size_t i = 0; i < y.size(); ++i) {
            REQUIRE((low.flat()[i] <= y.flat()[i] && y.flat()[i] <= high.flat()[i]));
            REQUIRE((naive_low.flat()[i] <= y_naive.flat()[i] && y_naive.flat()[i] <= naive_high.flat()[i]));
          }
        }
      }
    }
  }
}

TEST_CASE("bounds are the same at any thread count, work without a bias, and check sizes", "[interval][threads]") {
  const Box box = random_box(50, 20, 0.1f);
  const auto w = random_tensor(20, 7, 3);
  Arena one(1), two(2);
  Tensor<float> low1({50, 7}), high1({50, 7}), low2({50, 7}), high2({50, 7});
  kernels::affine_bounds(box.lower, box.upper, w, nullptr, low1, high1, &one);
  kernels::affine_bounds(box.lower, box.upper, w, nullptr, low2, high2, &two);
  CHECK(low1 == low2);
  CHECK(high1 == high2);
  Tensor<float> wrong({50, 8});
  CHECK_THROWS_WITH(kernels::affine_bounds(box.lower, box.upper, w, nullptr, low1, wrong), Catch::Contains("50x8"));
}
