#include "redoubt/kernels/activation.hpp"

#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kernels/random_data.hpp"

using namespace redoubt;
using redoubt::test::random_tensor;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

using Function = void (*)(std::span<const float>, std::span<float>);

/// Every 4001st float between low and high, and both ends.
std::vector<float> grid(float low, float high) {
  std::vector<float> values = {low, high, 0.f};
  const auto add = [&](float limit, float sign) {
    const auto bits = std::bit_cast<std::uint32_t>(limit);
    for (std::uint32_t b = 0; b <= bits; b += 4001) values.push_back(sign * std::bit_cast<float>(b));
  };
  if (high > 0) add(high, 1);
  if (low < 0) add(-low, -1);
  return values;
}

double worst_relative_error(Function f, double (*exact)(double), float low, float high) {
  const auto src = grid(low, high);
  std::vector<float> dst(src.size());
  f(src, dst);
  double worst = 0;
  for (std::size_t i = 0; i < src.size(); ++i) {
    const double truth = exact(src[i]);
    // Below the smallest normal number a relative error has no meaning.
    if (std::abs(truth) < 1.2e-38) {
      worst = std::max(worst, std::abs(dst[i] - truth) < 1.2e-38 ? 0.0 : 1.0);
      continue;
    }
    worst = std::max(worst, std::abs(dst[i] - truth) / std::abs(truth));
  }
  return worst;
}

double exact_sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double exact_gelu(double x) { return 0.5 * x * std::erfc(-x * std::sqrt(0.5)); }

}  // namespace

TEST_CASE("exp, tanh and sigmoid stay within the stated relative errors", "[activation]") {
  CHECK(worst_relative_error(kernels::exp, std::exp, -87, 88) <= 2e-7);
  CHECK(worst_relative_error(kernels::naive::exp, std::exp, -87, 88) <= 2e-7);
  CHECK(worst_relative_error(kernels::tanh, std::tanh, -1e30f, 1e30f) <= 4e-7);
  CHECK(worst_relative_error(kernels::naive::tanh, std::tanh, -1e30f, 1e30f) <= 4e-7);
  CHECK(worst_relative_error(kernels::sigmoid, exact_sigmoid, -87, 1e30f) <= 4e-7);
  CHECK(worst_relative_error(kernels::naive::sigmoid, exact_sigmoid, -87, 1e30f) <= 4e-7);
}

TEST_CASE("erf and gelu stay within the stated relative errors", "[activation]") {
  CHECK(worst_relative_error(kernels::erf, std::erf, -1e30f, 1e30f) <= 4e-7);
  CHECK(worst_relative_error(kernels::naive::erf, std::erf, -1e30f, 1e30f) <= 4e-7);
  CHECK(worst_relative_error(kernels::gelu, exact_gelu, -13, 1e30f) <= 1e-6);
  CHECK(worst_relative_error(kernels::naive::gelu, exact_gelu, -13, 1e30f) <= 1e-6);
  for (const Function f : {Function(kernels::erf), Function(kernels::naive::erf)}) {
    const std::vector<float> src = {-infinity, -0.f, infinity, std::numeric_limits<float>::quiet_NaN()};
    std::vector<float> dst(src.size());
    f(src, dst);
    CHECK(dst[0] == -1);
    CHECK(dst[1] == 0);
    CHECK(dst[2] == 1);
    CHECK(std::isnan(dst[3]));
  }
}

TEST_CASE("the gradient of gelu stays within the stated error, added or assigned", "[activation]") {
  auto x = grid(-1e30f, 1e30f);
  x.push_back(infinity);
  x.push_back(-infinity);
  for (const bool naive : {false, true}) {
    std::vector<float> from(x.size(), 2.f), to(x.size(), 3.f);
    const auto gradient = naive ? kernels::naive::gelu_gradient : kernels::gelu_gradient;
    gradient(x, from, true, to);
    std::vector<float> alone(x.size(), std::numeric_limits<float>::quiet_NaN());
    gradient(x, from, false, alone);
    double worst = 0, assigned = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double value = std::min(20.0, std::max(-20.0, double(x[i])));
      const double density = std::exp(-0.5 * value * value) / std::sqrt(2 * std::acos(-1.0));
      const double exact = 0.5 * std::erfc(-value * std::sqrt(0.5)) + value * density;
      worst = std::max(worst, std::abs(to[i] - 3 - 2 * exact));
      assigned = std::max(assigned, std::abs(alone[i] - 2 * exact));
    }
    CHECK(worst <= 2 * 5e-7 + 5 * 0x1p-24);
    CHECK(assigned <= 2 * 5e-7);
    float single[] = {std::numeric_limits<float>::quiet_NaN()}, one[] = {1}, sum[] = {0};
    gradient(std::span(single), std::span(one), true, std::span(sum));
    CHECK(std::isnan(sum[0]));
  }
}

TEST_CASE("the powers of a part of a softmax and its gradient match their definitions", "[activation]") {
  for (const std::size_t n : {1u, 3u, 15u, 16u, 17u, 31u, 32u, 33u, 64u, 100u}) {
    for (const bool naive : {false, true}) {
      const auto x = test::random_tensor(1, n, 5, 20), slopes = test::random_tensor(1, n, 6, 3);
      const float factor = 0.3f, shift = 1.5f;
      std::vector<float> powers(x.data(), x.data() + n), from(slopes.data(), slopes.data() + n);
      const float sum = (naive ? kernels::naive::exp_sum : kernels::exp_sum)(factor, shift, powers);
      double total = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const double argument = double(factor) * (double(x.data()[i]) - shift);
        const double exact = std::exp(argument);
        CHECK(std::abs(powers[i] - exact) <= (2e-7 + std::abs(argument) * 0x1p-23) * exact);
        total += powers[i];
      }
      CHECK(std::abs(sum - total) <= double(n) * 0x1p-24 * total);

      for (float& p : powers) p /= sum;
      (naive ? kernels::naive::softmax_gradient : kernels::softmax_gradient)(powers, factor, from);
      double mean = 0, size = 0;
      for (std::size_t i = 0; i < n; ++i) {
        mean += double(powers[i]) * slopes.data()[i];
        size += std::abs(double(powers[i]) * slopes.data()[i]);
      }
      for (std::size_t i = 0; i < n; ++i) {
        const double slope = slopes.data()[i], weight = double(factor) * powers[i];
        CHECK(std::abs(from[i] - weight * (slope - mean)) <=
              double(n + 4) * 0x1p-24 * weight * (std::abs(slope) + size));
      }
    }
  }
}

TEST_CASE("what a softmax leaves at an infinity or NaN is seen in the sum of its powers", "[activation]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const bool naive : {false, true}) {
    for (const std::size_t at : {0u, 15u, 16u, 34u}) {
      std::vector<float> x(35, 1.f), low(35, 1.f);
      x[at] = nan, low[at] = -infinity;
      CHECK(std::isnan((naive ? kernels::naive::exp_sum : kernels::exp_sum)(1, 1, x)));
      CHECK((naive ? kernels::naive::exp_sum : kernels::exp_sum)(1, 1, low) == 34);
      CHECK(low[at] == 0);
    }
    // The largest gives 1, however large it is.
    std::vector<float> huge = {-3e38f, 3.6e9f, 3.1e38f, 1e30f};
    CHECK((naive ? kernels::naive::exp_sum : kernels::exp_sum)(0.7071f, 3.1e38f, huge) == 1);
    CHECK(huge == std::vector<float>{0, 0, 1, 0});
    CHECK((naive ? kernels::naive::exp_sum : kernels::exp_sum)(1, 1, {}) == 0);
  }
}

TEST_CASE("the gradient of a ReLU passes where its output is above 0, in place or apart", "[activation]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::size_t n : {0u, 1u, 7u, 16u, 33u}) {
    std::vector<float> y(n), from(n), expected(n), to(n, -1.f);
    for (std::size_t i = 0; i < n; ++i) {
      const float values[] = {1, 0, -2, 1e-40f, nan};
      y[i] = values[i % 5], from[i] = i % 7 == 6 ? nan : static_cast<float>(i) - 8;
      expected[i] = y[i] > 0 ? from[i] : 0;
    }
    const auto same = [&](const std::vector<float>& found) {
      for (std::size_t i = 0; i < n; ++i)
        CHECK((found[i] == expected[i] || (std::isnan(found[i]) && std::isnan(expected[i]))));
    };
    kernels::naive::relu_gradient(y, from, to);
    same(to);
    to.assign(n, -1.f);
    kernels::relu_gradient(y, from, to);
    same(to);
    kernels::relu_gradient(y, from, from);
    same(from);
  }
}

TEST_CASE("the ends of the range behave", "[activation]") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Function f : {Function(kernels::exp), Function(kernels::naive::exp)}) {
    const std::vector<float> src = {-infinity, -1000, -87.4f, 0, 88.7f, 88.8f, 1000, infinity, nan};
    std::vector<float> dst(src.size());
    f(src, dst);
    CHECK(dst[0] == 0);
    CHECK(dst[1] == 0);
    CHECK(dst[2] == 0);
    CHECK(dst[3] == 1);
    CHECK(dst[4] == Approx(std::exp(double(88.7f))));
    for (const std::size_t i : {5, 6, 7}) CHECK(dst[i] == infinity);
    CHECK(std::isnan(dst[8]));
  }
  for (const Function f : {Function(kernels::tanh), Function(kernels::naive::tanh)}) {
    const std::vector<float> src = {-infinity, -50, 0, 1e-40f, 50, infinity, nan};
    std::vector<float> dst(src.size());
    f(src, dst);
    CHECK(dst[0] == -1);
    CHECK(dst[1] == -1);
    CHECK(dst[2] == 0);
    CHECK(dst[3] == Approx(1e-40f));
    CHECK(dst[4] == 1);
    CHECK(dst[5] == 1);
    CHECK(std::isnan(dst[6]));
  }
  for (const Function f : {Function(kernels::sigmoid), Function(kernels::naive::sigmoid)}) {
    const std::vector<float> src = {-infinity, -200, 0, 200, infinity, nan};
    std::vector<float> dst(src.size());
    f(src, dst);
    CHECK(dst[0] == 0);
    CHECK(dst[1] == 0);
    CHECK(dst[2] == 0.5f);
    CHECK(dst[3] == 1);
    CHECK(dst[4] == 1);
    CHECK(std::isnan(dst[5]));
  }
}

TEST_CASE("an element's value does not depend on its place or on the length", "[activation]") {
  const auto src = random_tensor(1, 100, 1, 20);
  for (const Function f : {Function(kernels::exp), Function(kernels::tanh), Function(kernels::sigmoid)}) {
    std::vector<float> all(100);
    f(src.flat(), all);
    for (std::size_t begin = 0; begin < 40; ++begin) {
      for (const std::size_t n : {1, 5, 16, 33, 60}) {
        std::vector<float> part(n + 1, -7);
        f(src.flat().subspan(begin, n), std::span(part).first(n));
        for (std::size_t i = 0; i < n; ++i) REQUIRE(part[i] == all[begin + i]);
        REQUIRE(part[n] == -7);
      }
    }
  }
}

TEST_CASE("relu keeps what is above zero, also in place", "[activation]") {
  auto values = random_tensor(1, 77, 2);
  const auto before = values;
  kernels::relu(values.flat(), values.flat());
  for (std::size_t i = 0; i < values.size(); ++i) CHECK(values.flat()[i] == std::max(before.flat()[i], 0.f));
  auto naive = before;
  kernels::naive::relu(naive.flat(), naive.flat());
  CHECK(naive == values);
  for (const Function relu : {Function(kernels::relu), Function(kernels::naive::relu)}) {
    std::vector<float> row(19, std::numeric_limits<float>::quiet_NaN());
    relu(row, row);
    for (const float x : row) CHECK(std::isnan(x));
  }
}

TEST_CASE("log_sum_exp is stable and within the stated error", "[activation]") {
  for (const std::size_t n : {1, 2, 17, 255, 256, 257, 100000}) {
    for (const float shift : {0.f, 300.f, -300.f, 1e30f}) {
      auto x = random_tensor(1, n, 3, 8);
      for (float& value : x.flat()) value += shift;
      double largest = -infinity, total = 0;
      for (float value : x.flat()) largest = std::max(largest, double(value));
      for (float value : x.flat()) total += std::exp(value - largest);
      const double truth = largest + std::log(total);
      for (const float result : {kernels::log_sum_exp(x.flat()), kernels::naive::log_sum_exp(x.flat())})
        CHECK(std::abs(result - truth) <= 1e-6 * (1 + std::abs(truth)));
    }
  }
  CHECK(kernels::log_sum_exp({}) == -infinity);
  const std::vector<float> impossible(5, -infinity), certain = {1, infinity};
  CHECK(kernels::log_sum_exp(impossible) == -infinity);
  CHECK(kernels::log_sum_exp(certain) == infinity);
}

TEST_CASE("a row has the same softmax alone and among others, and what lies between rows stays", "[activation]") {
  for (const std::size_t cols : {1, 2, 3, 4, 7, 8, 9, 15, 16, 17}) {
    for (const std::size_t rows : {1, 2, 8, 16, 33}) {
      auto all = random_tensor(rows, cols + 3, 4, 30);
      all(rows / 2, 0) = -infinity;
      all(0, cols / 2) = std::numeric_limits<float>::quiet_NaN();
      auto alone = all;
      kernels::softmax_rows(MatrixView<float>(all.data(), rows, cols, cols + 3));
      for (std::size_t r = 0; r < rows; ++r) kernels::softmax_rows(MatrixView<float>(alone.row(r).data(), 1, cols));
      CHECK(std::memcmp(all.data(), alone.data(), all.size() * sizeof(float)) == 0);
    }
  }
}

TEST_CASE("softmax rows are probabilities within the stated error", "[activation]") {
  for (const std::size_t cols : {1, 2, 3, 10, 16, 33, 1000}) {
    auto fast = random_tensor(5, cols, 4, 30);
    auto naive = fast;
    const auto src = fast;
    kernels::softmax_rows(fast);
    kernels::naive::softmax_rows(naive);
    for (std::size_t r = 0; r < 5; ++r) {
      double largest = -infinity, total = 0, sum = 0;
      for (float value : src.row(r)) largest = std::max(largest, double(value));
      for (float value : src.row(r)) total += std::exp(value - largest);
      for (std::size_t c = 0; c < cols; ++c) {
        const double truth = std::exp(src(r, c) - largest) / total;
        if (truth > 1e-30) {
          const double bound = (12 + (largest - src(r, c)) + std::log(double(cols))) * 0x1p-24 * truth;
          REQUIRE(std::abs(fast(r, c) - truth) <= bound);
          REQUIRE(std::abs(naive(r, c) - truth) <= bound);
        }
        sum += fast(r, c);
      }
      CHECK(sum == Approx(1).epsilon(1e-6));
    }
  }
  Tensor<float> bad({2, 20});
  bad(0, 3) = std::numeric_limits<float>::quiet_NaN();
  kernels::softmax_rows(bad);
  CHECK(std::isnan(bad(0, 3)));
  CHECK(bad(1, 0) == Approx(0.05));
}
