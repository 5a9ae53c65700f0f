#include "redoubt/robustness/poisoning/knn_shapley.hpp"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"

using namespace redoubt;

namespace {

/// Worth of a set of rows (bits of `members`) to one query.
double worth(const Tensor<float>& x, const std::vector<std::int32_t>& labels, std::span<const float> query,
             std::int32_t label, std::size_t k, std::uint32_t members) {
  std::vector<std::pair<double, std::size_t>> near;
  for (std::size_t r = 0; r < x.rows(); ++r)
    if (members >> r & 1) {
      double d = 0;
      for (std::size_t c = 0; c < x.cols(); ++c) d += std::pow(x(r, c) - query[c], 2);
      near.emplace_back(d, r);
    }
  std::sort(near.begin(), near.end());
  double matches = 0;
  for (std::size_t i = 0; i < std::min(k, near.size()); ++i) matches += labels[near[i].second] == label;
  return matches / static_cast<double>(k);
}

double factorial(std::size_t n) { return std::tgamma(static_cast<double>(n) + 1); }

struct Flipped {
  Tensor<float> x;
  std::vector<std::int32_t> labels;
  std::size_t flips;
};

/// Two round clouds of 200 rows; the first `flips` rows of each carry the other's label.
Flipped clouds(std::size_t flips) {
  Random random(6);
  Flipped out{Tensor<float>({400, 3}), std::vector<std::int32_t>(400), flips};
  for (std::size_t r = 0; r < 400; ++r) {
    const int side = r < 200 ? 0 : 1;
    for (std::size_t c = 0; c < 3; ++c) out.x(r, c) = static_cast<float>(random.normal() + 3 * side);
    out.labels[r] = r % 200 < flips ? 1 - side : side;
  }
  return out;
}

Batch batch_of(const Dataset& data, const Tensor<float>& x, std::size_t begin, std::size_t end) {
  Batch batch;
  batch.data = &data;
  batch.features = MatrixView<const float>(x).slice(begin, end);
  return batch;
}

}  // namespace

TEST_CASE("kNN-Shapley values are the Shapley values by definition", "[knn_shapley]") {
  Random random(1);
  for (const std::size_t n : {1u, 2u, 5u, 8u})
    for (const std::size_t k : {1u, 2u, 3u, 10u}) {
      CAPTURE(n, k);
      Tensor<float> x({n, 2}), queries({3, 2});
      // Few values: distances tie.
      for (float& v : x.flat()) v = static_cast<float>(random.below(4));
      for (float& v : queries.flat()) v = static_cast<float>(random.below(4));
      std::vector<std::int32_t> labels(n), query_labels(3);
      for (auto& l : labels) l = static_cast<std::int32_t>(random.below(2));
      for (auto& l : query_labels) l = static_cast<std::int32_t>(random.below(2));
      const auto values = knn_shapley(x, labels, queries, query_labels, k);
      REQUIRE(values.size() == n);
      for (std::size_t r = 0; r < n; ++r) {
        double expected = 0;
        for (std::size_t q = 0; q < 3; ++q)
          for (std::uint32_t members = 0; members < 1u << n; ++members) {
            if (members >> r & 1) continue;
            const auto size = static_cast<std::size_t>(std::popcount(members));
            const auto w = [&](std::uint32_t m) { return worth(x, labels, queries.row(q), query_labels[q], k, m); };
            expected += factorial(size) * factorial(n - size - 1) / factorial(n) * (w(members | 1u << r) - w(members));
          }
        CHECK(values[r] == Approx(expected / 3).margin(1e-12));
      }
    }
}

TEST_CASE("kNN-Shapley is the same at any number of threads", "[knn_shapley][threads]") {
  const auto data = clouds(20);
  Arena one(1), two(2);
  CHECK(knn_shapley(data.x, data.labels, data.x, data.labels, 5, &one) ==
        knn_shapley(data.x, data.labels, data.x, data.labels, 5, &two));
}

TEST_CASE("rows with the other cloud's label have a negative value", "[knn_shapley]") {
  const auto flipped = clouds(20);
  const auto data = Dataset::from_matrix(MatrixView<const float>(flipped.x), std::span(flipped.labels));
  const auto batch = batch_of(data, flipped.x, 0, 400);
  const auto verdict = run_check(KnnShapley{}, batch);
  CHECK(verdict.outcome == Outcome::warn);
  std::size_t found = 0;
  for (const auto& f : verdict.findings) found += f.row % 200 < 20;
  CHECK(found >= 36);
  CHECK(verdict.findings.size() - found <= 20);
  CHECK(run_check(KnnShapley{}, batch) == verdict);
  CHECK(run_check(KnnShapley{.max_queries = 200}, batch).findings.size() >= 20);

  std::vector<std::size_t> head(150), tail(250);
  std::iota(head.begin(), head.end(), std::size_t{0});
  std::iota(tail.begin(), tail.end(), std::size_t{150});
  const Dataset first = data.take(head), second = data.take(tail);
  KnnShapley a, b;
  a.update(batch_of(first, flipped.x, 0, 150));
  b.update(batch_of(second, flipped.x, 150, 400));
  a.merge(b);
  CHECK(a.finish() == verdict);
}

TEST_CASE("kNN-Shapley abstains with few rows, and checks sizes and options", "[knn_shapley]") {
  const auto few = clouds(2);
  const std::vector<std::int32_t> labels(few.labels.begin(), few.labels.begin() + 10);
  const auto view = MatrixView<const float>(few.x).slice(0, 10);
  const auto data = Dataset::from_matrix(view, std::span(labels));
  CHECK(run_check(KnnShapley{}, batch_of(data, few.x, 0, 10)).outcome == Outcome::abstain);
  CHECK_THROWS_WITH(run_check(KnnShapley{.k = 0}, batch_of(data, few.x, 0, 10)), Catch::Contains("k is 0"));
  CHECK_THROWS_WITH(run_check(KnnShapley{.cut = 0}, batch_of(data, few.x, 0, 10)), Catch::Contains("cut is 0"));
  CHECK_THROWS_WITH(knn_shapley(view, few.labels, view, labels), Catch::Contains("10 x 3 with 400 labels"));
  CHECK_THROWS_WITH(knn_shapley(view, labels, view, labels, 0), Catch::Contains("k is 0"));
  CHECK_THROWS_WITH(knn_shapley(view, labels, view.slice(0, 0), {}), Catch::Contains("no queries"));
}
