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

/// Bin of a cell as the growers see it: out of the stored bytes, in both orders, and of the lists.
std::uint8_t stored_code(const BinnedMatrix& bins, std::size_t r, std::size_t c) {
  const BinnedMatrix::Place& place = bins.place(c);
  const std::uint8_t common = bins.common_bin(c);
  if (place.stored != BinnedMatrix::Place::none) {
    const std::uint8_t stored = bins.stored_column(place.stored)[r];
    REQUIRE(stored < bins.stored_bins(place.stored));
    REQUIRE(bins.stored_rows()[r * bins.stored_stride() + place.stored] == stored);
    if (!place.bundled) return stored;
    if (stored < place.first || stored >= place.first + place.codes) return common;
    const int rank = stored - place.first;
    return static_cast<std::uint8_t>(rank < common ? rank : rank + 1);
  }
  const BinnedMatrix::Sparse& group = bins.sparse()[place.group];
  REQUIRE(group.columns[place.listed] == c);
  std::vector<std::uint8_t> by_row, by_column;
  for (auto e = group.row_offsets[r]; e < group.row_offsets[r + 1]; ++e)
    if (group.bins[e] >= group.offsets[place.listed] && group.bins[e] < group.offsets[place.listed + 1])
      by_row.push_back(static_cast<std::uint8_t>(group.bins[e] - group.offsets[place.listed]));
  for (auto e = group.column_offsets[place.listed]; e < group.column_offsets[place.listed + 1]; ++e)
    if (group.cell_rows[e] == r) by_column.push_back(group.cell_bins[e]);
  REQUIRE(by_row == by_column);
  REQUIRE(by_row.size() <= 1);
  if (by_row.empty()) return common;
  REQUIRE(by_row[0] != common);
  return by_row[0];
}

/// Columns of all kinds: one-hot (they never meet), rare, with gaps, dense, constant.
Tensor<float> mixed_matrix(std::size_t rows, std::size_t cols) {
  Tensor<float> x({rows, cols});
  Random random(3);
  for (std::size_t r = 0; r < rows; ++r) {
    x(r, random.below(6)) = 1;
    for (std::size_t c = 8; c < cols; ++c)
      if (random.uniform() < 0.05)
        x(r, c) = random.uniform() < 0.1 ? not_a_number : static_cast<float>(random.normal());
    x(r, 7) = static_cast<float>(random.normal());
    if (random.uniform() < 0.4) x(r, 9) = static_cast<float>(random.below(3));
  }
  return x;
}

struct Csr {
  std::vector<std::uint64_t> row_offsets = {0};
  std::vector<std::uint32_t> columns;
  std::vector<float> values;
  std::size_t cols = 0;

  explicit Csr(MatrixView<const float> x) : cols(x.cols()) {
    for (std::size_t r = 0; r < x.rows(); ++r) {
      for (std::size_t c = x.cols(); c-- > 0;) {         // any order will do
        if (x(r, c) == 0 && (r + c) % 7 != 0) continue;  // some zeros are written out
        columns.push_back(static_cast<std::uint32_t>(c));
        values.push_back(x(r, c));
      }
      row_offsets.push_back(values.size());
    }
  }
  CsrView view() const { return {row_offsets, columns, values, cols}; }
};

TEST_CASE("columns are stored as bytes, bundles or lists, and every cell is there", "[binning]") {
  for (const std::size_t rows : {3000u, 61u}) {
    const auto x = mixed_matrix(rows, 200);
    const Csr csr(x);
    const BinnedMatrix dense(x, {}), sparse(csr.view(), {});
    CHECK(dense.dense());
    CHECK(!sparse.dense());
    for (const BinnedMatrix* bins : {&dense, &sparse}) {
      REQUIRE(bins->rows() == rows);
      REQUIRE(bins->cols() == 200);
      if (rows == 3000) {
        for (std::size_t c = 1; c < 6; ++c) {
          CHECK(bins->place(c).bundled);
          CHECK(bins->place(c).stored == bins->place(0).stored);
        }
        CHECK(bins->place(7).stored != BinnedMatrix::Place::none);
        CHECK(!bins->place(7).bundled);
        CHECK(bins->place(100).stored == BinnedMatrix::Place::none);
        CHECK(bins->stored_columns() < 10);
      }
      for (std::size_t r = 0; r < rows; r += 7) {
        for (std::size_t c = 0; c < 200; ++c) {
          const auto expected = bins->column(c)(x(r, c));
          REQUIRE(bins->code(r, c) == expected);
          REQUIRE(stored_code(*bins, r, c) == expected);
          if (bins->dense()) REQUIRE(bins->row(r)[c] == expected);
        }
      }
    }
    // The same cuts, whichever way the numbers came.
    for (std::size_t c = 0; c < 200; ++c) CHECK(dense.column(c).upper == sparse.column(c).upper);
    CHECK_THROWS_WITH(sparse.row(0), Catch::Contains("no dense rows"));
  }
}

TEST_CASE("a sparse matrix may have categories", "[binning]") {
  Tensor<float> x({600, 2});
  for (std::size_t r = 0; r < 600; ++r) {
    x(r, 0) = static_cast<float>(r % 3 ? 0 : r % 5);
    x(r, 1) = static_cast<float>(r % 301);
  }
  x(3, 0) = not_a_number;
  const std::vector<std::uint32_t> counts = {5, 301};
  const Csr csr(x);
  const BinnedMatrix dense(x, counts), sparse(csr.view(), counts);
  for (std::size_t c = 0; c < 2; ++c) {
    CHECK(dense.column(c).bin_of_code == sparse.column(c).bin_of_code);
    for (std::size_t r = 0; r < 600; ++r) REQUIRE(dense.code(r, c) == sparse.code(r, c));
  }
}

TEST_CASE("a malformed sparse matrix is refused with the row", "[binning]") {
  const std::vector<std::uint64_t> offsets = {0, 1, 3};
  const std::vector<std::uint32_t> columns = {0, 1, 2};
  const std::vector<float> values = {1, 2, 3};
  const auto make = [](std::span<const std::uint64_t> o, std::span<const std::uint32_t> c, std::span<const float> v,
                       std::size_t cols) {
    return BinnedMatrix(CsrView{o, c, v, cols}, {});
  };
  CHECK(make(offsets, columns, values, 3).rows() == 2);
  CHECK(make({}, {}, {}, 3).rows() == 0);
  CHECK_THROWS_WITH(make(offsets, columns, values, 2), Catch::Contains("row 1") && Catch::Contains("column 2"));
  CHECK_THROWS_WITH(make(offsets, std::vector<std::uint32_t>{0, 1, 1}, values, 3),
                    Catch::Contains("row 1 has column 1 twice"));
  CHECK_THROWS_WITH(make(offsets, std::vector<std::uint32_t>{0, 1}, values, 3), Catch::Contains("2 column numbers"));
  CHECK_THROWS_WITH(make(std::vector<std::uint64_t>{0, 2, 1, 3}, columns, values, 3),
                    Catch::Contains("row 1 ends before"));
  CHECK_THROWS_WITH(make(std::vector<std::uint64_t>{0, 9, 3}, columns, values, 3),
                    Catch::Contains("row 0 ends beyond"));
  CHECK_THROWS_WITH(make(std::vector<std::uint64_t>{0, 1}, columns, values, 3), Catch::Contains("span"));
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
