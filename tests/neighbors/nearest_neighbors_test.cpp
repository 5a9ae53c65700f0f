#include "redoubt/neighbors/nearest_neighbors.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"

using namespace redoubt;

namespace {

enum class Kind { normal, whole, offset, scales, copies, clusters };

Tensor<float> points_of(Kind kind, std::size_t rows, std::size_t cols, std::uint64_t seed) {
  Random random(seed);
  Tensor<float> x({rows, cols});
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < cols; ++c) {
      const double v = random.normal();
      x(r, c) = static_cast<float>(kind == Kind::whole    ? std::round(v)  // many equal distances
                                   : kind == Kind::offset ? 3000 + v       // norms far above distances
                                   : kind == Kind::scales ? v * std::pow(10.0, static_cast<double>(r % 20) - 10)
                                                          : v);
      if (kind == Kind::clusters) {  // apart, but for a few rows far from all of them
        const double apart = 20 * static_cast<double>((r % 7) * (c + 1) % 5);
        x(r, c) = static_cast<float>(r % 50 == 0 ? 30 * v : v + apart);
      }
      if (kind == Kind::copies && r >= 3) x(r, c) = x(r % 3, c);
    }
  return x;
}

Neighbors plain(const Tensor<float>& points, const Tensor<float>& queries, std::size_t k, bool others) {
  Neighbors out{Tensor<std::uint32_t>({queries.rows(), k}), Tensor<float>({queries.rows(), k})};
  std::vector<std::pair<double, std::uint32_t>> all;
  for (std::size_t q = 0; q < queries.rows(); ++q) {
    all.clear();
    for (std::size_t r = 0; r < points.rows(); ++r) {
      if (others && r == q) continue;
      double sum = 0;
      for (std::size_t c = 0; c < points.cols(); ++c) {
        const double d = static_cast<double>(queries(q, c)) - points(r, c);
        sum += d * d;
      }
      all.emplace_back(sum, static_cast<std::uint32_t>(r));
    }
    std::sort(all.begin(), all.end());
    for (std::size_t i = 0; i < k; ++i) {
      out.rows(q, i) = all[i].second;
      out.distances(q, i) = static_cast<float>(std::sqrt(all[i].first));
    }
  }
  return out;
}

void check_equal(const Neighbors& found, const Neighbors& expected) {
  REQUIRE(found.rows == expected.rows);
  double worst = 0;
  for (std::size_t i = 0; i < found.distances.size(); ++i) {
    const double a = found.distances.data()[i], b = expected.distances.data()[i];
    if (a != b) worst = std::max(worst, std::abs(a - b) / b);
  }
  CHECK(worst < 1e-6);
}

}  // namespace

TEST_CASE("both searches give what a loop over all points gives, equal distances by row", "[neighbors]") {
  const auto kind = GENERATE(Kind::normal, Kind::whole, Kind::offset, Kind::scales, Kind::copies, Kind::clusters);
  const std::size_t cols = GENERATE(1u, 3u, 17u, 40u);
  const auto search = GENERATE(NeighborSearch::tree, NeighborSearch::brute);
  const std::size_t rows = 700;
  CAPTURE(static_cast<int>(kind), cols, static_cast<int>(search));
  const auto points = points_of(kind, rows, cols, 1), queries = points_of(kind, 40, cols, 2);
  const NearestNeighbors neighbors(points, {.search = search});
  CHECK(neighbors.search() == search);
  for (std::size_t k : {std::size_t{1}, std::size_t{7}}) {
    check_equal(neighbors.find(queries, k), plain(points, queries, k, false));
    check_equal(neighbors.find_others(k), plain(points, points, k, true));
  }
}

TEST_CASE("small sets, all points, and huge and tiny values", "[neighbors]") {
  for (const auto search : {NeighborSearch::tree, NeighborSearch::brute}) {
    for (const std::size_t rows : {2u, 5u, 33u}) {
      const auto points = points_of(Kind::normal, rows, 2, 5);
      const NearestNeighbors neighbors(points, {.search = search});
      check_equal(neighbors.find(points, rows), plain(points, points, rows, false));
      check_equal(neighbors.find_others(rows - 1), plain(points, points, rows - 1, true));
    }
    const Tensor<float> no_columns({5, 0});
    check_equal(NearestNeighbors(no_columns, {.search = search}).find_others(2),
                plain(no_columns, no_columns, 2, true));
    for (const double size : {1e30, 1e-30}) {
      auto points = points_of(Kind::normal, 600, 3, 6);
      for (float& v : points.flat()) v = static_cast<float>(v * size);
      check_equal(NearestNeighbors(points, {.search = search}).find_others(3), plain(points, points, 3, true));
    }
  }
}

TEST_CASE("neighbours are the same at any number of threads", "[neighbors][threads]") {
  for (const std::size_t cols : {4u, 30u}) {
    const auto points = points_of(Kind::whole, 1500, cols, 7);  // several blocks, the last of them incomplete
    Arena one(1), two(2), four(4);
    const auto alone = NearestNeighbors(points, {.arena = &one}).find_others(6);
    CHECK(NearestNeighbors(points, {.arena = &two}).find_others(6) == alone);
    CHECK(NearestNeighbors(points, {.arena = &four}).find_others(6) == alone);
    CHECK(NearestNeighbors(points).find(points, 7).distances.row(3)[0] == 0.0f);
  }
}

TEST_CASE("few columns are searched by the tree, many by products", "[neighbors]") {
  const auto few = points_of(Kind::normal, 10, 16, 1), many = points_of(Kind::normal, 10, 17, 1);
  CHECK(NearestNeighbors(few).search() == NeighborSearch::tree);
  CHECK(NearestNeighbors(many).search() == NeighborSearch::brute);
}

TEST_CASE("NaN and infinite values, wrong widths and wrong k are refused", "[neighbors]") {
  auto points = points_of(Kind::normal, 9, 3, 1);
  const NearestNeighbors neighbors(points);
  CHECK(neighbors.rows() == 9);
  CHECK(neighbors.cols() == 3);
  CHECK_THROWS_WITH(neighbors.find(points, 10), Catch::Contains("k is 10") && Catch::Contains("[1, 9]"));
  CHECK_THROWS_WITH(neighbors.find(points, 0), Catch::Contains("k is 0"));
  CHECK_THROWS_WITH(neighbors.find_others(9), Catch::Contains("[1, 8]"));
  const Tensor<float> wide({2, 4});
  CHECK_THROWS_WITH(neighbors.find(wide, 1), Catch::Contains("3 columns, the queries 4"));
  points(4, 2) = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH(NearestNeighbors(points), Catch::Contains("point 4 has nan in column 2"));
  CHECK_THROWS_WITH(neighbors.find(points, 1), Catch::Contains("query 4 has nan in column 2"));
  points(4, 2) = std::numeric_limits<float>::infinity();
  CHECK_THROWS_AS(NearestNeighbors(points), Error);
}
