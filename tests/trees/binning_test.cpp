#include "redoubt/trees/binning.hpp"

#include <algorithm>
#include <catch2/catch.hpp>

#include "redoubt/core/error.hpp"
#include "trees/support.hpp"

namespace redoubt {
namespace {

using test::infinite;
using test::not_a_number;

TEST_CASE("going left of a bin is going left of its cut point", "[binning]") {
  constexpr std::size_t rows = 3000;
  Tensor<float> x({rows, 6});
  Random random(1);
  for (std::size_t r = 0; r < rows; ++r) {
    x(r, 0) = static_cast<float>(random.normal());
    x(r, 1) = static_cast<float>(random.below(7));
    x(r, 2) = static_cast<float>(std::exp(20 * random.normal()));  // many magnitudes, also infinity
    x(r, 3) = std::nextafter(1.0f, random() & 1 ? 2.0f : 0.0f);    // two neighbouring floats
    x(r, 4) = random.below(3) == 0 ? not_a_number : static_cast<float>(random.below(2) ? infinite : -infinite);
    x(r, 5) = not_a_number;
  }
  for (int max_bins : {2, 3, 17, 255}) {
    BinningOptions options;
    options.max_bins = max_bins;
    const BinnedMatrix bins(x, {}, options);
    for (std::size_t c = 0; c < x.cols(); ++c) {
      const ColumnBins& column = bins.column(c);
      REQUIRE(column.count == column.upper.size());
      REQUIRE(column.count <= static_cast<std::uint32_t>(max_bins));
      REQUIRE(column.upper.back() == infinite);
      REQUIRE(std::is_sorted(column.upper.begin(), column.upper.end()));
      std::vector<float> probes = {0.0f, -0.0f, infinite, -infinite, 1e-45f, -1e-45f};
      for (const float cut : column.upper) {
        probes.push_back(cut);
        probes.push_back(std::nextafter(cut, infinite));
        probes.push_back(std::nextafter(cut, -infinite));
      }
      for (std::size_t r = 0; r < rows; ++r) probes.push_back(x(r, c));
      for (const float v : probes) {
        const auto bin = column(v);
        if (v != v) {
          REQUIRE(bin == column.missing());
          continue;
        }
        REQUIRE(bin < column.count);
        for (std::uint32_t b = 0; b < column.count; ++b) REQUIRE((bin <= b) == (v <= column.upper[b]));
      }
      for (std::size_t r = 0; r < rows; ++r) REQUIRE(bins.row(r)[c] == column(x(r, c)));
    }
    CHECK(bins.column(3).count == 2);
    CHECK(bins.column(5).count == 1);
  }
}

TEST_CASE("few values get cuts half way, many values bins of equal size", "[binning]") {
  Tensor<float> x({10000, 3});
  Random random(2);
  for (std::size_t r = 0; r < x.rows(); ++r) {
    x(r, 0) = static_cast<float>(r % 4) * 10;
    x(r, 1) = static_cast<float>(random.normal());
    x(r, 2) = r % 2 ? 0.5f : static_cast<float>(random.uniform());  // one value is half of the rows
  }
  BinningOptions options;
  options.max_bins = 100;
  const BinnedMatrix bins(x, {}, options);
  CHECK(bins.column(0).upper == std::vector<float>{5, 15, 25, infinite});
  for (std::size_t c : {1u, 2u}) {
    std::vector<std::size_t> counts(100);
    for (std::size_t r = 0; r < x.rows(); ++r) ++counts[bins.row(r)[c]];
    REQUIRE(bins.column(c).count == 100);
    const auto half = bins.column(c)(0.5f);
    for (std::size_t b = 0; b < 100; ++b) {
      if (c == 2 && b == half) {
        CHECK(counts[b] >= 5000);
        continue;
      }
      // Of what is left: 10000 rows in 100 bins, or 5000 in 99.
      const double wanted = c == 1 ? 100 : 5000.0 / 99;
      if (b + 1 < 100 && b + 1 != half) CHECK(counts[b] == Approx(wanted).margin(2));
    }
  }
}

TEST_CASE("categories have their own bins, the rarest share that of missing values", "[binning]") {
  Tensor<float> x({1000, 2});
  for (std::size_t r = 0; r < x.rows(); ++r) {
    x(r, 0) = static_cast<float>(r % 5);
    x(r, 1) = static_cast<float>(r < 900 ? 300 - r % 3 : r % 300);  // 298..300 are frequent
  }
  x(0, 0) = not_a_number;
  x(1, 0) = -1;
  x(2, 0) = 5;  // beyond the categories
  const std::vector<std::uint32_t> counts = {5, 301};
  BinningOptions options;
  options.max_bins = 20;
  const BinnedMatrix bins(x, counts, options);
  CHECK(bins.column(0).categories == 5);
  CHECK(bins.column(0).count == 5);
  for (std::size_t r = 3; r < 10; ++r) CHECK(bins.row(r)[0] == r % 5);
  for (std::size_t r = 0; r < 3; ++r) CHECK(bins.row(r)[0] == 5);
  const ColumnBins& column = bins.column(1);
  CHECK(column.count == 20);
  CHECK(column.bin_of_code.size() == 301);
  for (const float frequent : {298.0f, 299.0f, 300.0f}) CHECK(column(frequent) < 3);
  CHECK(std::count(column.bin_of_code.begin(), column.bin_of_code.end(), column.missing()) == 281);
}

TEST_CASE("sparse columns list what their common bin leaves out", "[binning]") {
  Tensor<float> x({500, 200});
  Random random(3);
  for (float& v : x.flat())
    if (random.uniform() < 0.05) v = random.uniform() < 0.1 ? not_a_number : static_cast<float>(random.normal());
  for (std::size_t r = 0; r < x.rows(); ++r) x(r, 7) = static_cast<float>(random.normal());  // a dense one
  const BinnedMatrix bins(x, {});
  CHECK(bins.dense_columns().size() == 1);
  CHECK(bins.dense_columns()[0] == 7);
  std::vector<std::vector<std::uint8_t>> rebuilt(500, std::vector<std::uint8_t>(200));
  std::size_t covered = 1;
  for (const auto& group : bins.sparse()) {
    covered += group.columns.size();
    for (std::size_t r = 0; r < 500; ++r) {
      for (std::size_t i = 0; i < group.columns.size(); ++i)
        rebuilt[r][group.columns[i]] = bins.common_bin(group.columns[i]);
      for (auto e = group.row_offsets[r]; e < group.row_offsets[r + 1]; ++e) {
        const auto offsets = bins.offsets();
        const auto c = static_cast<std::size_t>(std::upper_bound(offsets.begin(), offsets.end(), group.bins[e]) -
                                                offsets.begin() - 1);
        rebuilt[r][c] = static_cast<std::uint8_t>(group.bins[e] - offsets[c]);
      }
    }
  }
  CHECK(covered == 200);
  for (std::size_t r = 0; r < 500; ++r)
    for (std::size_t c = 0; c < 200; ++c)
      if (c != 7) REQUIRE(rebuilt[r][c] == bins.row(r)[c]);
}

TEST_CASE("cut points come from a sample when there are many rows", "[binning]") {
  const auto x = test::random_matrix(20000, 1, 4);
  BinningOptions options;
  options.sample_rows = 5000;
  options.max_bins = 10;
  const BinnedMatrix bins(x, {}, options);
  std::vector<std::size_t> counts(10);
  for (std::size_t r = 0; r < x.rows(); ++r) ++counts[bins.row(r)[0]];
  for (const auto count : counts) CHECK(count == Approx(2000).margin(250));
  options.seed = 1;
  CHECK(BinnedMatrix(x, {}, options).column(0).upper != bins.column(0).upper);
}

TEST_CASE("binning refuses what it cannot do", "[binning]") {
  const auto x = test::random_matrix(10, 3, 5);
  const std::vector<std::uint32_t> counts = {1, 2};
  CHECK_THROWS_WITH(BinnedMatrix(x, counts), Catch::Contains("2 category counts") && Catch::Contains("10 x 3"));
  BinningOptions options;
  options.max_bins = 256;
  CHECK_THROWS_WITH(BinnedMatrix(x, {}, options), Catch::Contains("max_bins is 256"));
  const Tensor<float> nothing({0, 3});
  const BinnedMatrix empty(nothing, {});
  CHECK(empty.rows() == 0);
  CHECK(empty.column(0).count == 1);
}

}  // namespace
}  // namespace redoubt
