#include "redoubt/robustness/poisoning/outlier_scores.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"

using namespace redoubt;

namespace {

Tensor<float> cloud(std::size_t rows, std::size_t cols, std::size_t far, std::uint64_t seed = 3) {
  Random random(seed);
  Tensor<float> x({rows, cols});
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c)
      x(r, c) = static_cast<float>(random.normal() + (r < far ? (r % 2 ? 9.0 : -9.0) : 0.0));
  return x;
}

using Method = std::vector<double> (*)(MatrixView<const float>, Arena*);
const std::vector<std::pair<const char*, Method>> methods = {
    {"ecod", [](MatrixView<const float> x, Arena* a) { return ecod_scores(x, a); }},
    {"hbos", [](MatrixView<const float> x, Arena* a) { return hbos_scores(x, {.arena = a}); }},
    {"knn", [](MatrixView<const float> x, Arena* a) { return knn_scores(x, 5, a); }},
    {"lof", [](MatrixView<const float> x, Arena* a) { return lof_scores(x, 20, a); }},
    {"robust", [](MatrixView<const float> x, Arena* a) { return robust_distance_scores(x, {.arena = a}); }}};

}  // namespace

TEST_CASE("every method ranks far rows first, and is the same at any number of threads", "[outlier_scores][threads]") {
  Arena one(1), two(2);
  for (const std::size_t rows : {300u, 700u}) {
    const auto x = cloud(rows, 4, 4);
    for (const auto& [name, method] : methods) {
      CAPTURE(name, rows);
      const auto scores = method(x, &one);
      REQUIRE(scores.size() == rows);
      const double least = *std::min_element(scores.begin(), scores.begin() + 4);
      CHECK(least > *std::max_element(scores.begin() + 4, scores.end()));
      CHECK(method(x, &two) == scores);
    }
  }
}

TEST_CASE("ECOD by hand: tails count ties, the skew chooses, constant columns say nothing", "[outlier_scores]") {
  // Skewed to the right: only the right tail and the larger of both count.
  Tensor<float> x({4, 2});
  const float values[] = {0, 1, 1, 10};
  for (std::size_t r = 0; r < 4; ++r) x(r, 0) = values[r], x(r, 1) = 7;
  const auto scores = ecod_scores(x);
  CHECK(scores[0] == Approx(-std::log(0.25)));
  CHECK(scores[1] == Approx(-std::log(0.75)));
  CHECK(scores[2] == scores[1]);
  CHECK(scores[3] == Approx(-std::log(0.25)));
  // Symmetric: both tails are added.
  Tensor<float> even({3, 1});
  for (std::size_t r = 0; r < 3; ++r) even(r, 0) = static_cast<float>(r);
  CHECK(ecod_scores(even)[1] == Approx(-2 * std::log(2.0 / 3)));
}

TEST_CASE("HBOS by hand", "[outlier_scores]") {
  Tensor<float> x({5, 2});
  const float values[] = {0, 0.5, 1, 1.5, 4};
  for (std::size_t r = 0; r < 5; ++r) x(r, 0) = values[r], x(r, 1) = -3;
  const auto scores = hbos_scores(x, {.bins = 2, .alpha = 0.5});  // widths of 2: densities 0.4 and 0.1
  for (std::size_t r = 0; r < 4; ++r) CHECK(scores[r] == Approx(-std::log2(0.9)));
  CHECK(scores[4] == Approx(-std::log2(0.6)));
}

TEST_CASE("HBOS bins whole numbers, far offsets and uneven scales as the edges say", "[outlier_scores]") {
  Random random(11);
  const std::size_t rows = 500, cols = 5;
  Tensor<float> x({rows, cols});
  for (std::size_t r = 0; r < rows; ++r) {
    x(r, 0) = static_cast<float>(random.below(11));       // every edge is hit
    x(r, 1) = static_cast<float>(1e6 + random.below(7));  // edges are rounded
    x(r, 2) = static_cast<float>(1e-30 * random.normal());
    x(r, 3) = static_cast<float>(1e30 * random.normal());
    x(r, 4) = static_cast<float>(random.normal());
  }
  for (const int bins : {10, 256}) {
    std::vector<double> expected(rows, 0);
    for (std::size_t c = 0; c < cols; ++c) {
      float low = x(0, c), high = x(0, c);
      for (std::size_t r = 0; r < rows; ++r) low = std::min(low, x(r, c)), high = std::max(high, x(r, c));
      const double width = (static_cast<double>(high) - low) / bins;
      std::vector<float> edges;
      for (int b = 0; b < bins; ++b) edges.push_back(static_cast<float>(low + b * width));
      edges.push_back(high);
      const auto counted = [&](float v) {  // last edge that is not above
        int b = bins - 1;
        while (v < edges[static_cast<std::size_t>(b)]) --b;
        return static_cast<std::size_t>(b);
      };
      const auto looked_up = [&](float v) {  // first upper edge that is not below
        int b = 0;
        while (b + 1 < bins && v > edges[static_cast<std::size_t>(b + 1)]) ++b;
        return static_cast<std::size_t>(b);
      };
      std::vector<double> count(static_cast<std::size_t>(bins), 0);
      for (std::size_t r = 0; r < rows; ++r) ++count[counted(x(r, c))];
      for (std::size_t r = 0; r < rows; ++r)
        expected[r] -= std::log2(count[looked_up(x(r, c))] / (static_cast<double>(rows) * width) + 0.1);
    }
    const auto scores = hbos_scores(x, {.bins = bins});
    for (std::size_t r = 0; r < rows; ++r) REQUIRE(scores[r] == Approx(expected[r]));
  }
}

TEST_CASE("distances and local densities by hand", "[outlier_scores]") {
  Tensor<float> x({4, 1});
  const float values[] = {0, 1, 2, 6};
  for (std::size_t r = 0; r < 4; ++r) x(r, 0) = values[r];
  CHECK(knn_scores(x, 2) == std::vector<double>{2, 1, 2, 5});
  // Reach of 0: max(1, 1), max(2, 2); of 1: max(1, 2) twice; of 2: max(1, 1), max(2, 2); of 6: max(4, 2), max(5, 1).
  const double density[] = {1 / 1.5, 0.5, 1 / 1.5, 1 / 4.5};
  const auto lof = lof_scores(x, 2);
  CHECK(lof[0] == Approx((density[1] + density[2]) / 2 / density[0]));
  CHECK(lof[1] == Approx((density[0] + density[2]) / 2 / density[1]));
  CHECK(lof[3] == Approx((density[2] + density[1]) / 2 / density[3]));
  const Tensor<float> copies({30, 2});
  for (const double s : lof_scores(copies)) CHECK(s == Approx(1));
}

TEST_CASE("the robust distance does not see a fifth of planted rows, and keeps to the plane of the data",
          "[outlier_scores]") {
  // Far in a direction of small variance, close together: a plain covariance takes them in.
  Random random(4);
  Tensor<float> x({400, 3});
  for (std::size_t r = 0; r < 400; ++r) {
    const double a = random.normal(), b = 0.1 * random.normal();
    x(r, 0) = static_cast<float>(100 * a + b);
    x(r, 1) = static_cast<float>(a - b + (r < 80 ? 2 : 0));
    x(r, 2) = 5;
  }
  const auto scores = robust_distance_scores(x);
  const double least = *std::min_element(scores.begin(), scores.begin() + 80);
  CHECK(least > *std::max_element(scores.begin() + 80, scores.end()));
  CHECK(robust_distance_scores(x, {.seed = 9}).size() == 400);
  // Squared distances of normal rows have the mean of chi squared with two degrees.
  double mean = 0;
  for (std::size_t r = 80; r < 400; ++r) mean += scores[r] / 320;
  CHECK(mean == Approx(2).margin(0.4));
  // The third column repeats the first: distances are those of two columns.
  for (std::size_t r = 0; r < 400; ++r) x(r, 2) = x(r, 0);
  CHECK_NOTHROW(robust_distance_scores(x));
}

TEST_CASE("missing values, options out of range and no rows", "[outlier_scores]") {
  auto x = cloud(30, 3, 0);
  const Tensor<float> none({0, 3});
  for (const auto& [name, method] : methods) CHECK(method(none, nullptr).empty());
  CHECK_THROWS_WITH(hbos_scores(x, {.bins = 1}), Catch::Contains("bins is 1"));
  CHECK_THROWS_WITH(hbos_scores(x, {.alpha = 0}), Catch::Contains("alpha is 0"));
  CHECK_THROWS_WITH(knn_scores(x, 30), Catch::Contains("[1, 29]"));
  CHECK_THROWS_WITH(lof_scores(x, 0), Catch::Contains("k is 0"));
  CHECK_THROWS_WITH(robust_distance_scores(x, {.support = 0.3}), Catch::Contains("0.3"));
  x(7, 1) = std::numeric_limits<float>::quiet_NaN();
  for (const auto& [name, method] : methods) {
    CAPTURE(name);
    CHECK_THROWS_AS(method(x, nullptr), Error);
  }
  CHECK_THROWS_WITH(ecod_scores(x), Catch::Contains("row 7 has nan in column 1"));
}
