#include "redoubt/trees/binning.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "redoubt/data/sparse.hpp"
#include "trees/grower.hpp"
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
  float below = -infinite, above = infinite;  // nearest to zero
  for (std::size_t r = 0; r < x.rows(); ++r) {
    x(r, 0) = static_cast<float>(r % 4) * 10;
    x(r, 1) = static_cast<float>(random.normal());
    (x(r, 1) < 0 ? below : above) = x(r, 1) < 0 ? std::max(below, x(r, 1)) : std::min(above, x(r, 1));
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
      if (c == 1 && b == bins.column(1)(below)) {
        CHECK(bins.column(1)(above) == b + 1);  // numbers below zero share no bin with others
        CHECK(counts[b] <= 102);
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

TEST_CASE("columns are stored as bytes, bundles or lists, and every cell is there", "[binning]") {
  for (const std::size_t rows : {3000u, 61u}) {
    const auto x = mixed_matrix(rows, 200);
    const test::Csr csr(x);
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

TEST_CASE("stored columns of few codes share bytes", "[binning]") {
  // Ten categorical columns of 2 to 11 codes, some missing, and a dense one.
  const std::size_t rows = 700;
  Tensor<float> x({rows, 11});
  Random random(8);
  std::vector<std::uint32_t> counts(11);
  for (std::size_t c = 0; c < 10; ++c) counts[c] = static_cast<std::uint32_t>(c + 2);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < 10; ++c)
      x(r, c) = c % 3 == 0 && r % 9 == 4 ? not_a_number : static_cast<float>(random.below(c + 2));
    x(r, 10) = static_cast<float>(random.normal());
  }
  const BinnedMatrix dense(x, counts), sparse(test::Csr(x).view(), counts), numeric(x, {});
  const auto many_values = test::random_matrix(500, 9, 1);
  CHECK(BinnedMatrix(many_values, {}).packs().empty());
  for (const BinnedMatrix* bins : {&dense, &sparse, &numeric}) {
    REQUIRE(!bins->packs().empty());
    CHECK(bins->packs().size() * 2 <= bins->stored_columns());
    REQUIRE(bins->packed_stride() >= bins->packs().size());
    std::vector<int> seen(bins->stored_columns());
    for (std::size_t k = 0; k < bins->packs().size(); ++k) {
      const auto& pack = bins->packs()[k];
      REQUIRE(pack.stored.size() == pack.radices.size());
      for (const auto s : pack.stored) ++seen[s];
      for (std::size_t r = 0; r < rows; ++r) {
        std::uint32_t code = bins->packed_rows()[r * bins->packed_stride() + k];
        for (std::size_t m = 0; m < pack.stored.size(); ++m) {
          REQUIRE(code % pack.radices[m] == bins->stored_column(pack.stored[m])[r]);
          code /= pack.radices[m];
        }
        REQUIRE(code == 0);
      }
    }
    CHECK(seen == std::vector<int>(bins->stored_columns(), 1));
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
  const test::Csr csr(x);
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

// --- what the growers make of it ------------------------------------------------------------------------

struct Gradients {
  std::vector<float> g, h;
  std::vector<std::uint32_t> rows;
};

/// Of a signal in the columns 0, 7 and 100, and noise.
Gradients make_gradients(MatrixView<const float> x, std::uint64_t seed) {
  Gradients result;
  Random random(seed);
  for (std::size_t r = 0; r < x.rows(); ++r) {
    const float a = std::isnan(x(r, 7)) ? -1 : x(r, 7), b = x.cols() > 100 ? x(r, 100) : 0;
    result.g.push_back(static_cast<float>((x(r, 0) != 0 ? 1.0 : -0.5) + std::sin(2.0 * a) +
                                          (std::isnan(b) ? 2 : 3 * b) + 0.3 * random.normal()));
    result.h.push_back(static_cast<float>(random.uniform(0.2, 1)));
    if (random.below(10) > 0) result.rows.push_back(static_cast<std::uint32_t>(r));
  }
  return result;
}

/// From a copy: the grower may use the memory of the gradients for something else.
detail::GrownTree grow_with(detail::Grower grower, Gradients data, std::span<const std::uint8_t> on) {
  return grower.grow(data.rows, data.g, data.h, 3, on);
}

detail::GrownTree grow(const BinnedMatrix& bins, const Gradients& data, const detail::GrowerOptions& options,
                       std::uint64_t number = 3, Arena* arena = nullptr) {
  const std::vector<std::uint8_t> on(bins.cols(), 1);
  detail::Team team(arena);
  detail::Grower grower(bins, options, team);
  Gradients used = data;
  const auto tree = grower.grow(used.rows, used.g, used.h, number, on);
  // Rows are in the leaf that a walk finds, each once, and leaves are Newton steps.
  std::size_t count = 0;
  for (std::uint32_t leaf = 0; leaf < tree.leaf_values.size(); ++leaf) {
    const auto rows = grower.leaf_rows(leaf);
    REQUIRE(std::is_sorted(rows.begin(), rows.end()));
    double g = 0, h = 0;
    for (const auto r : rows) {
      REQUIRE(detail::leaf_of(tree, bins, r) == leaf);
      g += data.g[r];
      h += data.h[r];
    }
    count += rows.size();
    CHECK(tree.leaf_cover[leaf] == static_cast<float>(rows.size()));
    if (options.l1 == 0 && options.max_delta_step == 0 && options.path_smooth == 0 && options.monotone.empty())
      CHECK(tree.leaf_values[leaf] == Approx(-g / (h + options.l2)).epsilon(1e-5).margin(1e-6));
  }
  CHECK(count == data.rows.size());
  return tree;
}

void check_equal(const detail::GrownTree& a, const detail::GrownTree& b) {
  REQUIRE(a.nodes.size() == b.nodes.size());
  CHECK(a.root == b.root);
  CHECK(a.leaf_values == b.leaf_values);
  for (std::size_t i = 0; i < a.nodes.size(); ++i) {
    CHECK(a.nodes[i].column == b.nodes[i].column);
    CHECK(a.nodes[i].last_bin == b.nodes[i].last_bin);
    CHECK(a.nodes[i].left == b.nodes[i].left);
    CHECK(a.nodes[i].right == b.nodes[i].right);
    CHECK(a.nodes[i].gain == b.nodes[i].gain);
    CHECK(a.nodes[i].cover == b.nodes[i].cover);
    for (std::uint32_t bin = 0; bin < 256; ++bin)
      REQUIRE(a.nodes[i].left_bins.contains(bin) == b.nodes[i].left_bins.contains(bin));
  }
}

std::vector<int> depths(const detail::GrownTree& tree) {
  std::vector<int> depth(tree.nodes.size());
  for (std::size_t i = 0; i < tree.nodes.size(); ++i)
    for (const auto child : {tree.nodes[i].left, tree.nodes[i].right})
      if (child >= 0) depth[static_cast<std::size_t>(child)] = depth[i] + 1;
  return depth;
}

TEST_CASE("trees do not depend on how a matrix is stored nor on the threads", "[binning][grower][threads]") {
  for (const std::size_t rows : {1500u, 20000u}) {
    const auto x = mixed_matrix(rows, 130);
    const auto data = make_gradients(x, 1);
    const BinnedMatrix dense(x, {}), sparse(test::Csr(x).view(), {});
    detail::GrowerOptions options;
    options.max_leaves = 40;
    detail::GrownTree expected;
    for (const int threads : {1, 2, 4}) {
      Arena arena(threads);
      for (const BinnedMatrix* bins : {&dense, &sparse}) {
        const auto tree = grow(*bins, data, options, 3, &arena);
        CHECK(tree.nodes.size() == 39);
        if (expected.nodes.empty()) expected = tree;
        check_equal(tree, expected);
      }
    }
    const auto uses = [&](std::uint32_t column) {
      return std::any_of(expected.nodes.begin(), expected.nodes.end(), [&](auto& n) { return n.column == column; });
    };
    for (const std::uint32_t column : {0u, 7u, 100u}) CHECK(uses(column));
  }
}

TEST_CASE("sums over packs are those over their columns", "[binning][grower][threads]") {
  // Codes that fill bytes, next to wide columns enough that the same codes are not packed.
  const std::size_t rows = 30000;
  const auto wide = test::random_matrix(rows, 40, 4);
  Tensor<float> few({rows, 8}), many({rows, 48});
  Random random(5);
  std::vector<std::uint32_t> counts(8);
  for (std::size_t c = 0; c < 8; c += 2) counts[c] = static_cast<std::uint32_t>(c + 3);
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < 8; ++c)
      few(r, c) = c == 3 && r % 7 == 0 ? not_a_number : static_cast<float>(random.below(c + 3));
    for (std::size_t c = 0; c < 48; ++c) many(r, c) = c < 8 ? few(r, c) : wide(r, c - 8);
  }
  const auto data = make_gradients(few, 1);
  const BinnedMatrix packed(few, counts);
  counts.resize(48);
  const BinnedMatrix whole(many, counts);
  REQUIRE(!packed.packs().empty());
  REQUIRE(whole.packs().empty());
  std::vector<std::uint8_t> on(48);
  std::fill_n(on.begin(), 8, std::uint8_t{1});
  for (const int threads : {1, 2}) {
    Arena arena(threads);
    detail::Team team(&arena);
    detail::GrowerOptions options;
    options.max_leaves = 60;
    options.min_leaf_rows = 3;  // also nodes that are too small for packs
    const auto expected = grow_with(detail::Grower(whole, options, team), data, on);
    const auto tree = grow_with(detail::Grower(packed, options, team), data, std::span(on).first(8));
    CHECK(tree.nodes.size() == 59);
    check_equal(tree, expected);
  }
}

TEST_CASE("packs of a few columns are in the padding of the rows, and their sums are those over the columns",
          "[binning][grower][threads]") {
  const std::size_t rows = 30000;
  const auto wide = test::random_matrix(rows, 40, 4);
  Tensor<float> padded({rows, 24}), many({rows, 48});
  Random random(5);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < 48; ++c) {
      const std::size_t few = c % 3 == 1 && c < 24 ? c / 3 + 3 : 0;  // codes of eight columns among the others
      many(r, c) = c == 10 && r % 7 == 0 ? not_a_number
                   : few > 0             ? static_cast<float>(random.below(few))
                   : c < 24              ? wide(r, c)
                                         : wide(r, c - 8);
      if (c < 24) padded(r, c) = many(r, c);
    }
  const BinnedMatrix packed(padded, {}), whole(many, {});
  REQUIRE(packed.packed_in_padding());
  REQUIRE(packed.packed_stride() == packed.stored_stride());
  REQUIRE(whole.packs().empty());
  CHECK(packed.packs().size() < 24);
  std::vector<int> seen(24), places(32);
  for (std::size_t k = 0; k < packed.packs().size(); ++k) {
    const auto& pack = packed.packs()[k];
    const std::size_t at = packed.packed_at()[k];
    ++places.at(at);
    for (const auto s : pack.stored) ++seen[s];
    for (std::size_t r = 0; r < rows; r += 11) {
      std::uint32_t code = packed.packed_rows()[r * packed.packed_stride() + at];
      for (std::size_t m = 0; m < pack.stored.size(); ++m) {
        REQUIRE(code % pack.radices[m] == packed.stored_column(pack.stored[m])[r]);
        code /= pack.radices[m];
      }
      REQUIRE(code == 0);
    }
  }
  CHECK(seen == std::vector<int>(24, 1));
  CHECK(*std::max_element(places.begin(), places.end()) == 1);
  for (std::size_t r = 0; r < rows; r += 101)  // the columns' own bytes are still there
    for (std::size_t c = 0; c < 24; ++c) REQUIRE(packed.row(r)[c] == whole.row(r)[c]);

  const auto data = make_gradients(padded, 1);
  for (const std::size_t columns : {24u, 8u}) {
    std::vector<std::uint8_t> on(48);
    std::fill_n(on.begin(), columns, std::uint8_t{1});
    for (const int threads : {1, 2}) {
      Arena arena(threads);
      detail::Team team(&arena);
      detail::GrowerOptions options;
      options.max_leaves = 60;
      options.min_leaf_rows = 3;  // also nodes that are too small for packs
      const auto expected = grow_with(detail::Grower(whole, options, team), data, on);
      const auto tree = grow_with(detail::Grower(packed, options, team), data, std::span(on).first(24));
      CHECK(tree.nodes.size() == 59);
      check_equal(tree, expected);
    }
  }
}

TEST_CASE("many rows are shared by threads and give the tree of one", "[binning][grower][threads]") {
  const auto x = test::random_matrix(150000, 9, 8, 0.1);
  const auto data = make_gradients(x, 2);
  const BinnedMatrix bins(x, {});
  detail::GrownTree expected;
  for (const int threads : {1, 2, 4}) {
    Arena arena(threads);
    detail::Team team(&arena);
    detail::GrowerOptions options;
    const std::vector<std::uint8_t> on(9, 1);
    const auto tree = grow_with(detail::Grower(bins, options, team), data, on);
    if (expected.nodes.empty()) expected = tree;
    check_equal(tree, expected);
  }
  CHECK(expected.nodes.size() == 30);
}

TEST_CASE("rows of leaves are in the memory of the gradients or in other, and all rows need no list",
          "[binning][grower]") {
  const std::size_t rows = 60000;
  const auto x = test::random_matrix(rows, 9, 8, 0.1);
  auto data = make_gradients(x, 2);
  data.rows.resize(rows);
  std::iota(data.rows.begin(), data.rows.end(), 0u);
  const BinnedMatrix bins(x, {});
  detail::Team team(nullptr);
  detail::GrownTree expected;
  for (const bool listed : {true, false})
    for (const bool keep_g : {true, false})
      for (const bool keep_h : {true, false}) {
        detail::GrowerOptions options;
        options.keep_gradient = keep_g;
        options.keep_hessian = keep_h;
        detail::Grower grower(bins, options, team);
        for (const bool split : {true, false, true}) {
          const std::vector<std::uint8_t> columns(9, split);
          Gradients used = data;
          const auto list = listed ? detail::RowList(used.rows) : detail::RowList::all(rows);
          const auto tree = grower.grow(list, used.g, used.h, 3, columns);
          if (expected.nodes.empty()) expected = tree;
          if (split) check_equal(tree, expected);
          CHECK(tree.nodes.empty() == !split);
          std::vector<int> seen(rows);
          for (std::uint32_t leaf = 0; leaf < tree.leaf_values.size(); ++leaf)
            for (const auto r : grower.leaf_rows(leaf)) seen[r] += detail::leaf_of(tree, bins, r) == leaf;
          CHECK(seen == std::vector<int>(rows, 1));
          if (keep_g) CHECK(used.g == data.g);
          if (keep_h) CHECK(used.h == data.h);
        }
      }
}

TEST_CASE("rounded gradients choose the split of the exact ones", "[binning][grower]") {
  const auto x = test::random_matrix(30000, 9, 9);
  const auto data = make_gradients(x, 3);
  const BinnedMatrix bins(x, {});
  detail::GrowerOptions options;
  options.max_leaves = 2;
  const auto tree = grow(bins, data, options);
  double best = 0;
  std::uint32_t best_column = 0, best_bin = 0;
  for (std::uint32_t c = 0; c < 9; ++c) {
    std::vector<double> g(256), h(256);
    double all_g = 0, all_h = 0;
    for (const auto r : data.rows) {
      g[bins.code(r, c)] += data.g[r];
      h[bins.code(r, c)] += data.h[r];
      all_g += data.g[r];
      all_h += data.h[r];
    }
    double left_g = 0, left_h = 0;
    for (std::uint32_t b = 0; b + 1 < bins.column(c).count; ++b) {
      left_g += g[b];
      left_h += h[b];
      const double gain =
          left_g * left_g / left_h + (all_g - left_g) * (all_g - left_g) / (all_h - left_h) - all_g * all_g / all_h;
      if (gain > best) {
        best = gain;
        best_column = c;
        best_bin = b;
      }
    }
  }
  CHECK(tree.nodes[0].column == best_column);
  CHECK(tree.nodes[0].last_bin == best_bin);
  CHECK(tree.nodes[0].gain == Approx(best).epsilon(1e-3));
}

TEST_CASE("growing depth by depth splits a level before the next", "[binning][grower]") {
  const auto x = mixed_matrix(5000, 130);
  const BinnedMatrix bins(x, {});
  const auto data = make_gradients(x, 4);
  detail::GrowerOptions options;
  options.max_leaves = 24;
  options.depthwise = true;
  const auto depth = depths(grow(bins, data, options));
  CHECK(std::is_sorted(depth.begin(), depth.end()));
  options.max_leaves = 1000;
  options.max_depth = 3;
  options.min_leaf_rows = 1;
  CHECK(grow(bins, data, options).nodes.size() == 7);
  options.depthwise = false;
  options.max_leaves = 24;
  options.max_depth = 0;
  const auto free = depths(grow(bins, data, options));
  CHECK(!std::is_sorted(free.begin(), free.end()));
}

TEST_CASE("leaves can be shrunk, limited and smoothed", "[binning][grower]") {
  const auto x = mixed_matrix(5000, 130);
  const BinnedMatrix bins(x, {});
  const auto data = make_gradients(x, 5);
  detail::GrowerOptions options;
  const auto plain = grow(bins, data, options);
  const auto largest = [](const detail::GrownTree& tree) {
    float result = 0;
    for (const float v : tree.leaf_values) result = std::max(result, std::abs(v));
    return result;
  };
  options.max_delta_step = 0.5;
  CHECK(largest(plain) > 1);
  CHECK(largest(grow(bins, data, options)) == 0.5f);
  options.max_delta_step = 0;
  options.l1 = 20;
  const auto shrunk = grow(bins, data, options);
  for (std::size_t leaf = 0; leaf < shrunk.leaf_values.size(); ++leaf) {
    double g = 0, h = 0;
    for (const auto r : data.rows) {
      if (detail::leaf_of(shrunk, bins, r) != leaf) continue;
      g += data.g[r];
      h += data.h[r];
    }
    const double step = std::abs(g) > 20 ? -(g - std::copysign(20, g)) / h : 0;
    CHECK(shrunk.leaf_values[leaf] == Approx(step).epsilon(1e-4).margin(1e-6));
  }
  options.l1 = 0;
  options.path_smooth = 1e9;  // nothing is left of the leaves' own values
  CHECK(largest(grow(bins, data, options)) < 1e-3f);
}

TEST_CASE("a monotone column never turns", "[binning][grower]") {
  auto x = test::random_matrix(8000, 9, 10, 0.05);
  const BinnedMatrix bins(x, {});
  const auto data = make_gradients(x, 6);  // a sine of column 7: not monotone by itself
  std::vector<std::int8_t> monotone(9);
  monotone[7] = 1;
  monotone[0] = -1;
  detail::GrowerOptions options;
  options.max_leaves = 60;
  const auto turns = [&](const detail::GrownTree& tree, std::uint32_t column, int sign) {
    int found = 0;
    std::vector<std::uint8_t> codes(9);
    for (std::size_t r = 0; r < 300; ++r) {
      std::copy_n(bins.row(r), 9, codes.begin());
      float before = -test::infinite;
      for (std::uint32_t b = 0; b < bins.column(column).count; ++b) {
        codes[column] = static_cast<std::uint8_t>(b);
        const float value = static_cast<float>(sign) * tree.leaf_values[tree.leaf_of(codes.data())];
        found += value < before;
        before = value;
      }
    }
    return found;
  };
  CHECK(turns(grow(bins, data, options), 7, 1) > 0);
  options.monotone = monotone;
  const auto tree = grow(bins, data, options);
  CHECK(turns(tree, 7, 1) == 0);
  CHECK(turns(tree, 0, -1) == 0);
  CHECK(tree.nodes.size() > 30);
  CHECK(std::any_of(tree.nodes.begin(), tree.nodes.end(), [](auto& node) { return node.column == 7; }));
}

TEST_CASE("columns of different groups never meet on a path", "[binning][grower]") {
  const auto x = test::random_matrix(8000, 9, 11);
  const BinnedMatrix bins(x, {});
  const auto data = make_gradients(x, 7);
  const std::vector<std::vector<std::uint32_t>> groups = {{0, 1, 2}, {2, 7}, {3, 4}};
  detail::GrowerOptions options;
  options.max_leaves = 60;
  options.interactions = groups;
  const auto tree = grow(bins, data, options);
  std::vector<std::vector<std::uint32_t>> above(tree.nodes.size());
  std::size_t together = 0;
  for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
    above[i].push_back(tree.nodes[i].column);
    std::sort(above[i].begin(), above[i].end());
    above[i].erase(std::unique(above[i].begin(), above[i].end()), above[i].end());
    const bool alone = above[i].size() == 1;
    together += !alone;
    CHECK((alone || std::any_of(groups.begin(), groups.end(), [&](auto& group) {
             return std::includes(group.begin(), group.end(), above[i].begin(), above[i].end());
           })));
    for (const auto child : {tree.nodes[i].left, tree.nodes[i].right})
      if (child >= 0) above[static_cast<std::size_t>(child)] = above[i];
  }
  CHECK(together > 0);
}

TEST_CASE("columns drawn for each node and random cuts depend on seed and tree", "[binning][grower]") {
  const auto x = mixed_matrix(5000, 130);
  const BinnedMatrix bins(x, {});
  const auto data = make_gradients(x, 8);
  for (const bool cuts : {false, true}) {
    detail::GrowerOptions options;
    options.max_leaves = 20;
    options.random_thresholds = cuts;
    if (!cuts) options.node_column_fraction = 0.1;
    const auto tree = grow(bins, data, options);
    check_equal(tree, grow(bins, data, options));
    const auto differs = [&](const detail::GrownTree& other) { return other.leaf_values != tree.leaf_values; };
    CHECK(differs(grow(bins, data, options, 4)));
    options.seed = 1;
    CHECK(differs(grow(bins, data, options)));
    // Weaker trees than with all there is to choose from.
    detail::GrowerOptions all;
    all.max_leaves = 20;
    const auto gain = [](const detail::GrownTree& grown) {
      double sum = 0;
      for (const auto& node : grown.nodes) sum += node.gain;
      return sum;
    };
    CHECK(gain(tree) < gain(grow(bins, data, all)));
  }
}

}  // namespace
}  // namespace redoubt
