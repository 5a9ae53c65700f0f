#include "redoubt/trees/forest.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "trees/support.hpp"

namespace redoubt {
namespace {

using test::infinite;
using test::not_a_number;

/// Any forest: random trees over `inputs` columns, some nodes on categories.
struct RandomForestShape {
  std::uint32_t inputs = 5, outputs = 1, leaf_width = 1;
  ForestLink link = ForestLink::identity;
  int trees = 7, nodes_per_tree = 9;
  bool categories = false;
};

ForestShape shape_of(const RandomForestShape& s) {
  ForestShape shape;
  shape.inputs = s.inputs;
  shape.outputs = s.outputs;
  shape.leaf_width = s.leaf_width;
  shape.link = s.link;
  shape.normaliser = s.link == ForestLink::isolation ? 3.5f : 1.0f;
  for (std::uint32_t k = 0; k < s.outputs; ++k) shape.base.push_back(0.25f * static_cast<float>(k) - 0.1f);
  return shape;
}

ForestArrays random_arrays(const RandomForestShape& s, std::uint64_t seed) {
  Random random(seed);
  ForestArrays a;
  a.category_offsets.push_back(0);
  for (int t = 0; t < s.trees; ++t) {
    a.outputs_of.push_back(s.leaf_width > 1 ? 0 : static_cast<std::uint32_t>(t) % s.outputs);
    const auto new_leaf = [&] {
      const auto leaf = static_cast<std::int32_t>(a.leaf_values.size() / s.leaf_width);
      for (std::uint32_t k = 0; k < s.leaf_width; ++k) a.leaf_values.push_back(static_cast<float>(random.normal()));
      a.leaf_cover.push_back(5);
      return ~leaf;
    };
    a.roots.push_back(new_leaf());
    std::vector<std::int32_t*> open;  // rebuilt each time: the vectors move
    const std::size_t first = a.feature.size();
    for (int n = 0; n < s.nodes_per_tree; ++n) {
      // Turn a random leaf of this tree into a node.
      open.clear();
      if (a.roots.back() < 0) open.push_back(&a.roots.back());
      for (std::size_t i = first; i < a.feature.size(); ++i) {
        if (a.left[i] < 0) open.push_back(&a.left[i]);
        if (a.right[i] < 0) open.push_back(&a.right[i]);
      }
      std::int32_t* place = open[random.below(open.size())];
      const std::int32_t old_leaf = *place;
      *place = static_cast<std::int32_t>(a.feature.size());
      a.feature.push_back(static_cast<std::uint32_t>(random.below(s.inputs)));
      a.threshold.push_back(random.below(10) == 0 ? infinite : static_cast<float>(random.normal()));
      a.flags.push_back(static_cast<std::uint8_t>(random.below(8)));
      a.left.push_back(old_leaf);
      a.right.push_back(new_leaf());
      a.cover.push_back(10);
      a.gain.push_back(static_cast<float>(random.uniform()));
      if (s.categories && random() % 2) {
        a.category_set.push_back(static_cast<std::int32_t>(a.category_offsets.size() - 1));
        for (std::uint64_t w = random.below(3); w-- > 0;) a.category_bits.push_back(random());
        a.category_offsets.push_back(static_cast<std::uint32_t>(a.category_bits.size()));
      } else {
        a.category_set.push_back(-1);
      }
    }
  }
  return a;
}

/// The definition in the header, word for word, in the slowest way.
std::uint32_t naive_leaf(const ForestArrays& a, std::size_t tree, std::span<const float> row) {
  std::int32_t i = a.roots[tree];
  while (i >= 0) {
    const auto n = static_cast<std::size_t>(i);
    const float x = row[a.feature[n]];
    bool left = a.flags[n] & missing_left;
    if (a.category_set[n] < 0) {
      const bool zero = x >= -1e-35f && x <= 1e-35f;
      if (!std::isnan(x) && !(zero && (a.flags[n] & zero_missing))) left = x <= a.threshold[n];
    } else if (!std::isnan(x)) {
      const auto set = static_cast<std::size_t>(a.category_set[n]);
      const std::size_t words = a.category_offsets[set + 1] - a.category_offsets[set];
      left = a.flags[n] & others_left;
      if (x > -1 && std::trunc(x) < 32.0 * static_cast<double>(words)) {
        const auto code = static_cast<std::size_t>(x);
        left = a.category_bits[a.category_offsets[set] + code / 32] & (1u << code % 32);
      }
    }
    i = left ? a.left[n] : a.right[n];
  }
  return static_cast<std::uint32_t>(~i);
}

std::vector<std::int32_t> leaves_of_tree(const ForestArrays& a, std::size_t tree) {
  std::vector<std::int32_t> open = {a.roots[tree]}, leaves;
  while (!open.empty()) {
    const std::int32_t i = open.back();
    open.pop_back();
    if (i < 0) {
      leaves.push_back(~i);
    } else {
      open.push_back(a.left[static_cast<std::size_t>(i)]);
      open.push_back(a.right[static_cast<std::size_t>(i)]);
    }
  }
  return leaves;
}

/// The scale of the header: the largest power of two that keeps the sum of the largest leaves within 2^30.
double naive_scale(const ForestShape& shape, const ForestArrays& a) {
  double bound = 0;
  for (std::uint32_t k = 0; k < shape.outputs; ++k) {
    double sum = 0;
    for (std::size_t t = 0; t < a.roots.size(); ++t) {
      if (shape.leaf_width == 1 && a.outputs_of[t] != k) continue;
      double largest = 0;
      for (const std::int32_t leaf : leaves_of_tree(a, t))
        largest = std::max(
            largest,
            std::abs(static_cast<double>(
                a.leaf_values[static_cast<std::size_t>(leaf) * shape.leaf_width + (shape.leaf_width > 1 ? k : 0)])));
      sum += largest;
    }
    bound = std::max(bound, sum);
  }
  if (bound == 0) return 1;
  return std::exp2(std::floor(30 - std::log2(bound)));
}

std::vector<float> naive_scores(const ForestShape& shape, const ForestArrays& a, double scale,
                                std::span<const float> row) {
  std::vector<double> sums(shape.outputs);
  for (std::size_t t = 0; t < a.roots.size(); ++t) {
    const std::uint32_t leaf = naive_leaf(a, t, row);
    for (std::uint32_t k = 0; k < shape.leaf_width; ++k)
      sums[shape.leaf_width > 1 ? k : a.outputs_of[t]] +=
          std::nearbyint(static_cast<double>(a.leaf_values[leaf * shape.leaf_width + k]) * scale);
  }
  std::vector<float> scores(shape.outputs);
  for (std::uint32_t k = 0; k < shape.outputs; ++k)
    scores[k] = static_cast<float>(static_cast<double>(shape.base[k]) + sums[k] / scale);
  return scores;
}

Tensor<float> probing_rows(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  Tensor<float> x({rows, cols});
  Random random(seed);
  for (float& v : x.flat()) {
    switch (random.below(10)) {
      case 0: v = not_a_number; break;
      case 1: v = static_cast<float>(random.below(100)); break;  // a category code, known or not
      case 2: v = random() & 1 ? infinite : -infinite; break;
      case 3: v = static_cast<float>(random.normal()) * 1e9f; break;
      case 4: v = static_cast<float>(random.normal()) * 1e-35f; break;  // about the bound of a missing zero
      case 5: v = static_cast<float>(random.uniform()) * -1.5f; break;  // truncates to code 0, or to none
      default: v = static_cast<float>(random.normal());
    }
  }
  return x;
}

const std::vector<RandomForestShape> all_shapes = {
    {},
    {.link = ForestLink::sigmoid, .categories = true},
    {.outputs = 3, .link = ForestLink::softmax, .categories = true},
    {.outputs = 4, .leaf_width = 4, .link = ForestLink::average},
    {.outputs = 2, .leaf_width = 2, .link = ForestLink::identity, .categories = true},
    {.inputs = 2, .link = ForestLink::isolation, .trees = 20},
    {.link = ForestLink::exponential},
    {.outputs = 3, .link = ForestLink::sigmoids},
    {.outputs = 3, .link = ForestLink::one_vs_all},
    {.link = ForestLink::signed_square},
    {.link = ForestLink::softplus},
    {.link = ForestLink::step},
    {.trees = 3, .nodes_per_tree = 0},
    {.trees = 0},
};

TEST_CASE("a forest predicts what its definition says", "[forest]") {
  for (const auto& s : all_shapes) {
    const Forest forest(shape_of(s), random_arrays(s, 3));
    const auto x = probing_rows(200, s.inputs, 4);
    const double scale = naive_scale(forest.shape(), forest.arrays());
    std::vector<float> scores(s.outputs);
    std::vector<std::uint32_t> leaves(forest.trees());
    for (std::size_t r = 0; r < x.rows(); ++r) {
      const auto expected = naive_scores(forest.shape(), forest.arrays(), scale, x.row(r));
      forest.leaf_ids(x.row(r), leaves);
      for (std::size_t t = 0; t < forest.trees(); ++t) REQUIRE(leaves[t] == naive_leaf(forest.arrays(), t, x.row(r)));
      forest.scores(x.row(r), scores);
      REQUIRE(scores == expected);
      const auto out = test::predict_row(forest, x.row(r));
      const double n = std::max<double>(1, static_cast<double>(forest.trees()));
      switch (s.link) {
        case ForestLink::identity: REQUIRE(out == expected); break;
        case ForestLink::sigmoid:
          REQUIRE(out.size() == 2);
          CHECK(out[1] == Approx(1 / (1 + std::exp(-expected[0]))));
          CHECK(out[0] + out[1] == Approx(1));
          break;
        case ForestLink::softmax: {
          double total = 0;
          for (const float e : expected) total += std::exp(static_cast<double>(e));
          for (std::size_t k = 0; k < 3; ++k)
            CHECK(out[k] == Approx(std::exp(static_cast<double>(expected[k])) / total));
          break;
        }
        case ForestLink::average:
          for (std::size_t k = 0; k < out.size(); ++k) CHECK(out[k] == Approx(expected[k] / n));
          break;
        case ForestLink::isolation: CHECK(out[0] == Approx(std::pow(2.0, -expected[0] / n / 3.5))); break;
        case ForestLink::exponential: CHECK(out[0] == Approx(std::exp(expected[0]))); break;
        case ForestLink::signed_square: CHECK(out[0] == Approx(std::abs(expected[0]) * expected[0])); break;
        case ForestLink::softplus: CHECK(out[0] == Approx(std::log1p(std::exp(expected[0])))); break;
        case ForestLink::step: CHECK(out[0] == (expected[0] > 0 ? 1.0f : 0.0f)); break;
        case ForestLink::sigmoids:
        case ForestLink::one_vs_all: {
          double total = 0;
          for (const float e : expected) total += 1 / (1 + std::exp(static_cast<double>(-e)));
          for (std::size_t k = 0; k < 3; ++k)
            CHECK(out[k] == Approx(1 / (1 + std::exp(static_cast<double>(-expected[k]))) /
                                   (s.link == ForestLink::sigmoids ? 1 : total)));
          break;
        }
      }
    }
  }
}

TEST_CASE("a batch gives the bits of single rows, at any thread count", "[forest][threads]") {
  for (auto s : all_shapes) {
    s.trees *= 60;  // more than one block of trees
    s.nodes_per_tree *= 3;
    const Forest forest(shape_of(s), random_arrays(s, 5));
    const auto x = probing_rows(301, s.inputs, 6);
    for (int threads : {1, 3}) {
      Arena arena(threads);
      Tensor<float> out({x.rows(), forest.outputs()});
      forest.predict_batch(x, out, &arena);
      for (std::size_t r = 0; r < x.rows(); ++r) {
        const auto single = test::predict_row(forest, x.row(r));
        REQUIRE(std::memcmp(single.data(), out.row(r).data(), single.size() * sizeof(float)) == 0);
      }
    }
    Tensor<float> wrong({x.rows(), forest.outputs() + 1});
    CHECK_THROWS_WITH(forest.predict_batch(x, wrong, nullptr), Catch::Contains("301 x"));
  }
}

/// Joins two forests of one shape.
ForestArrays joined(ForestArrays a, const ForestArrays& b, std::uint32_t leaf_width) {
  const auto nodes = static_cast<std::int32_t>(a.feature.size());
  const auto leaves = static_cast<std::int32_t>(a.leaf_values.size() / leaf_width);
  const auto sets = static_cast<std::int32_t>(a.category_offsets.size() - 1);
  const auto words = static_cast<std::uint32_t>(a.category_bits.size());
  const auto child = [&](std::int32_t c) { return c < 0 ? c - leaves : c + nodes; };
  const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  for (const std::int32_t c : b.roots) a.roots.push_back(child(c));
  for (const std::int32_t c : b.left) a.left.push_back(child(c));
  for (const std::int32_t c : b.right) a.right.push_back(child(c));
  for (const std::int32_t c : b.category_set) a.category_set.push_back(c < 0 ? -1 : c + sets);
  for (std::size_t i = 1; i < b.category_offsets.size(); ++i)
    a.category_offsets.push_back(b.category_offsets[i] + words);
  append(a.outputs_of, b.outputs_of);
  append(a.feature, b.feature);
  append(a.threshold, b.threshold);
  append(a.flags, b.flags);
  append(a.category_bits, b.category_bits);
  append(a.leaf_values, b.leaf_values);
  append(a.cover, b.cover);
  append(a.leaf_cover, b.leaf_cover);
  append(a.gain, b.gain);
  return a;
}

/// Rows that hit thresholds and their neighbours, beside the probing values.
Tensor<float> rows_at_thresholds(const ForestArrays& a, std::size_t rows, std::size_t cols, std::uint64_t seed) {
  Tensor<float> x = probing_rows(rows, cols, seed);
  Random random(seed + 1);
  if (a.feature.empty()) return x;
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t i = 0; i < cols; ++i) {
      const std::size_t node = random.below(a.feature.size());
      float t = a.threshold[node];
      const auto way = random.below(6);
      if (way == 0) t = std::nextafter(t, infinite);
      if (way == 1) t = std::nextafter(t, -infinite);
      if (way < 3) x(r, a.feature[node]) = t;
    }
  return x;
}

struct EngineCase {
  const char* name;
  RandomForestShape shape;
  RandomForestShape also{.trees = 0};  ///< joined to it
  float leaf_factor = 1;               ///< of one leaf value
};

const std::vector<EngineCase> engine_cases = {
    {"plain", {.inputs = 20, .trees = 150, .nodes_per_tree = 30}},
    {"categories, sigmoid",
     {.inputs = 9, .link = ForestLink::sigmoid, .trees = 70, .nodes_per_tree = 20, .categories = true}},
    {"more than 64 columns", {.inputs = 50, .trees = 70, .nodes_per_tree = 40}},
    {"more than 128 columns", {.inputs = 100, .trees = 70, .nodes_per_tree = 40}},
    {"more than 256 columns", {.inputs = 500, .trees = 140, .nodes_per_tree = 25, .categories = true}},
    {"more than 255 thresholds", {.inputs = 2, .link = ForestLink::isolation, .trees = 40, .nodes_per_tree = 120}},
    {"classes", {.inputs = 12, .outputs = 5, .link = ForestLink::softmax, .trees = 90, .nodes_per_tree = 15}},
    {"vectors in leaves",
     {.inputs = 12, .outputs = 3, .leaf_width = 3, .link = ForestLink::average, .trees = 70, .nodes_per_tree = 62}},
    {"255 nodes", {.inputs = 30, .trees = 9, .nodes_per_tree = 255}},
    {"large and small trees",
     {.inputs = 10, .trees = 3, .nodes_per_tree = 400},
     {.inputs = 10, .trees = 30, .nodes_per_tree = 7}},
    {"trees of 1500 leaves",
     {.inputs = 12, .trees = 3, .nodes_per_tree = 1499, .categories = true},
     {.inputs = 12, .trees = 70, .nodes_per_tree = 17}},
    {"large trees, classes",
     {.inputs = 12, .outputs = 3, .link = ForestLink::softmax, .trees = 12, .nodes_per_tree = 300},
     {.inputs = 12, .outputs = 3, .trees = 66, .nodes_per_tree = 16}},
    {"large trees, vectors in leaves",
     {.inputs = 12, .outputs = 2, .leaf_width = 2, .link = ForestLink::average, .trees = 3, .nodes_per_tree = 500},
     {.inputs = 12, .outputs = 2, .leaf_width = 2, .trees = 20, .nodes_per_tree = 5}},
    {"large trees, more than 256 columns",
     {.inputs = 400, .trees = 10, .nodes_per_tree = 290},
     {.inputs = 400, .trees = 60, .nodes_per_tree = 40}},
    {"leaves only, and not",
     {.inputs = 10, .outputs = 2, .trees = 5, .nodes_per_tree = 0},
     {.inputs = 10, .outputs = 2, .trees = 66, .nodes_per_tree = 3}},
    {"one huge leaf",
     {.inputs = 10, .trees = 30, .nodes_per_tree = 10},
     {.inputs = 10, .trees = 1, .nodes_per_tree = 1},
     1e9f},
};

TEST_CASE("every engine gives the bits of the definition", "[forest][engines]") {
  for (const EngineCase& c : engine_cases) {
    ForestArrays arrays = random_arrays(c.shape, 21);
    if (c.also.trees > 0) arrays = joined(std::move(arrays), random_arrays(c.also, 22), c.shape.leaf_width);
    arrays.leaf_values.back() *= c.leaf_factor;
    const auto x = rows_at_thresholds(arrays, 600, c.shape.inputs, 23);
    const Forest reference(shape_of(c.shape), arrays, {.row = ForestPath::walk, .batch = ForestPath::walk});
    Tensor<float> expected({x.rows(), reference.outputs()});
    std::vector<std::uint32_t> leaves(reference.trees()), own(reference.trees());
    for (std::size_t r = 0; r < x.rows(); ++r) {
      reference.leaf_ids(x.row(r), leaves);
      if (r % 50 == 0)
        for (std::size_t t = 0; t < leaves.size(); ++t) REQUIRE(leaves[t] == naive_leaf(arrays, t, x.row(r)));
      std::vector<float> scores(reference.shape().outputs);
      reference.walk_scores(x.row(r), scores, reference.trees());
      reference.predict(x.row(r), expected.row(r), {});
      if (c.shape.link == ForestLink::identity)
        REQUIRE(std::memcmp(scores.data(), expected.row(r).data(), scores.size() * sizeof(float)) == 0);
    }
    const auto equal = [&](const Tensor<float>& got, std::size_t rows) {
      return std::memcmp(got.data(), expected.data(), rows * expected.cols() * sizeof(float)) == 0;
    };
    Arena arena(1);
    for (const ForestPath path :
         {ForestPath::automatic, ForestPath::walk, ForestPath::sweep, ForestPath::blocks, ForestPath::sliced})
      for (const int level : {0, 1, 2}) {
        if (path == ForestPath::walk && level > 0) continue;  // the same for all
        INFO(c.name << ", path " << static_cast<int>(path) << ", level " << level);
        const Forest forest(shape_of(c.shape), arrays,
                            {.row = path, .batch = path, .avx512 = level == 2, .avx2 = level > 0});
        INFO(forest.engine().row << "; " << forest.engine().batch << "; " << forest.engine().reason);
        if (path == ForestPath::sliced && c.leaf_factor == 1) CHECK(forest.engine().sliced_trees > 0);
        if (path == ForestPath::walk)
          CHECK(forest.engine().sliced_trees + forest.engine().swept_trees + forest.engine().block_trees == 0);
        if (path == ForestPath::blocks && c.leaf_factor == 1) {
          CHECK(forest.engine().block_trees > 0);
          CHECK(forest.engine().row == fmt::format("blocks ({})", to_string(std::min(active_isa(), Isa(level)))));
        }
        if (path == ForestPath::sweep && level == 2 && active_isa() >= Isa::avx512 && c.leaf_factor == 1)
          CHECK(forest.engine().swept_trees > 0);
        Tensor<float> out({x.rows(), forest.outputs()});
        const std::size_t single = level == 0 ? 100 : x.rows();
        for (std::size_t r = 0; r < single; ++r) forest.predict(x.row(r), out.row(r), {});
        REQUIRE(equal(out, single));
        for (std::size_t r = 0; r < 60; ++r) {
          reference.leaf_ids(x.row(r), leaves);
          forest.leaf_ids(x.row(r), own);
          REQUIRE(leaves == own);
        }
        for (const std::size_t rows : {1, 2, 7, 8, 63, 64, 65, 511, 512, 513, 600}) {
          if (level == 0 && rows > 65) continue;  // the references are slow
          std::fill(out.flat().begin(), out.flat().end(), -1.0f);
          forest.predict_batch(MatrixView<const float>(x).slice(0, rows), MatrixView<float>(out).slice(0, rows),
                               &arena);
          INFO(rows << " rows");
          REQUIRE(equal(out, rows));
        }
      }
  }
}

TEST_CASE("a tall tree takes all engines", "[forest][engines]") {
  // All nodes in a row, each with one leaf: the codes of such a tree do not nest.
  for (const auto& [nodes, to_the_left] : {std::pair(255, false), {255, true}, {3000, false}, {3000, true}}) {
    const RandomForestShape s{.inputs = 3, .trees = 0};
    ForestArrays a = random_arrays(s, 1);
    a.roots = {0};
    a.outputs_of = {0};
    for (int i = 0; i < nodes; ++i) {
      const std::int32_t next = i == nodes - 1 ? ~nodes : i + 1;
      a.feature.push_back(static_cast<std::uint32_t>(i % 3));
      a.threshold.push_back(static_cast<float>(to_the_left ? nodes - i : i));
      a.left.push_back(to_the_left ? next : ~i);
      a.right.push_back(to_the_left ? ~i : next);
      a.flags.push_back(static_cast<std::uint8_t>(i & 3));
      a.category_set.push_back(-1);
      a.cover.push_back(1);
      a.gain.push_back(1);
    }
    for (int i = 0; i <= nodes; ++i)
      a.leaf_values.push_back(static_cast<float>(i % 1000 * i)), a.leaf_cover.push_back(1);
    Tensor<float> x({700, 3});
    Random random(5);
    for (float& v : x.flat()) v = static_cast<float>(random.below(static_cast<std::size_t>(2 * nodes + 10))) / 2;
    for (const ForestPath path : {ForestPath::sweep, ForestPath::blocks, ForestPath::sliced}) {
      const Forest forest(shape_of(s), a, {.row = path, .batch = path});
      Tensor<float> out({700, 1});
      forest.predict_batch(x, out, nullptr);
      for (std::size_t r = 0; r < x.rows(); ++r) {
        REQUIRE(out(r, 0) == naive_scores(forest.shape(), a, naive_scale(forest.shape(), a), x.row(r))[0]);
        REQUIRE(test::predict_row(forest, x.row(r))[0] == out(r, 0));
      }
    }
  }
}

TEST_CASE("leaf ids, values per tree and stages of a forest", "[forest]") {
  for (const auto& s : all_shapes) {
    const Forest forest(shape_of(s), random_arrays(s, 31));
    const auto x = probing_rows(77, s.inputs, 32);
    const std::size_t trees = forest.trees();
    Tensor<std::uint32_t> ids({x.rows(), trees});
    forest.leaf_ids(x, ids);
    const std::vector<std::size_t> counts = {0, trees / 2, trees / 2, trees};
    Tensor<float> stages({x.rows(), counts.size() * forest.outputs()});
    Tensor<float> scores({x.rows(), counts.size() * s.outputs});
    forest.staged(x, counts, stages);
    forest.staged(x, counts, scores, false);
    std::vector<std::uint32_t> one(trees);
    std::vector<float> values(trees * s.leaf_width), expected(s.outputs);
    for (std::size_t r = 0; r < x.rows(); ++r) {
      forest.leaf_ids(x.row(r), one);
      for (std::size_t t = 0; t < trees; ++t) {
        REQUIRE(one[t] == naive_leaf(forest.arrays(), t, x.row(r)));
        REQUIRE(ids(r, t) == one[t]);
      }
      forest.tree_values(x.row(r), values);
      for (std::size_t t = 0; t < trees; ++t)
        for (std::uint32_t k = 0; k < s.leaf_width; ++k)
          REQUIRE(values[t * s.leaf_width + k] == forest.arrays().leaf_values[one[t] * s.leaf_width + k]);
      for (std::size_t i = 0; i < counts.size(); ++i) {
        forest.walk_scores(x.row(r), expected, counts[i]);
        for (std::uint32_t k = 0; k < s.outputs; ++k) REQUIRE(scores(r, i * s.outputs + k) == expected[k]);
      }
      const auto all = test::predict_row(forest, x.row(r));
      for (std::size_t k = 0; k < all.size(); ++k) REQUIRE(stages(r, 3 * all.size() + k) == all[k]);
    }
    const std::vector<std::size_t> falling = {1, 0}, beyond = {trees + 1};
    Tensor<float> two({x.rows(), 2 * forest.outputs()}), single({x.rows(), forest.outputs()});
    CHECK_THROWS_AS(forest.staged(x, falling, two), Error);
    CHECK_THROWS_AS(forest.staged(x, beyond, single), Error);
    CHECK_THROWS_AS(forest.staged(x, counts, single), Error);
  }
}

TEST_CASE("a forest survives its file", "[forest]") {
  for (const auto& s : all_shapes) {
    const Forest forest(shape_of(s), random_arrays(s, 7));
    const auto bytes = test::bytes_of(forest);
    const auto loaded = find_form("forest")(Archive::from_bytes(bytes));
    CHECK(loaded->form() == "forest");
    CHECK(test::bytes_of(*loaded) == bytes);
    const auto x = probing_rows(20, s.inputs, 8);
    for (std::size_t r = 0; r < x.rows(); ++r)
      CHECK(test::predict_row(*loaded, x.row(r)) == test::predict_row(forest, x.row(r)));
  }
}

TEST_CASE("hostile forests are refused with the place", "[forest]") {
  const RandomForestShape s{.outputs = 2, .categories = true};
  const auto refused = [&](auto change, const std::string& place) {
    ForestShape shape = shape_of(s);
    ForestArrays arrays = random_arrays(s, 9);
    REQUIRE_NOTHROW(Forest(shape, arrays));
    change(shape, arrays);
    try {
      Forest(shape, arrays);
      FAIL("accepted: " << place);
    } catch (const Error& e) {
      CHECK(e.code() == errc::corrupt);
      CHECK_THAT(e.what(), Catch::Contains(place));
    }
  };
  using S = ForestShape;
  using A = ForestArrays;
  refused([](S&, A& a) { a.left[4] = 4; }, "forest.left[4]");
  refused([](S&, A& a) { a.left[4] = 0; }, "does not come after its parent");
  refused([](S&, A& a) { a.right[2] = a.left[2]; }, "reached twice");
  refused([](S&, A& a) { a.right[2] = 1 << 30; }, "does not exist");
  refused([](S&, A& a) { a.right[2] = ~(1 << 30); }, "does not exist");
  refused([](S&, A& a) { a.right[2] = std::numeric_limits<std::int32_t>::min(); }, "does not exist");
  refused([](S&, A& a) { a.roots[1] = a.roots[0]; }, "forest.roots[1]");
  refused([](S&, A& a) { a.feature[3] = 5; }, "forest.feature[3]");
  refused([](S&, A& a) { a.threshold[3] = not_a_number; }, "forest.threshold[3]");
  refused([](S&, A& a) { a.leaf_values[3] = infinite; }, "forest.leaf_values[3]");
  refused([](S&, A& a) { a.leaf_values.pop_back(); }, "forest.leaf_values");
  refused([](S&, A& a) { a.flags[0] = 8; }, "forest.flags[0]");
  refused([](S&, A& a) { a.outputs_of[2] = 2; }, "forest.outputs_of[2]");
  refused([](S&, A& a) { a.category_set[0] = 1 << 20; }, "forest.category_set[0]");
  refused([](S&, A& a) { a.category_set[0] = -2; }, "forest.category_set[0]");
  refused([](S&, A& a) { a.category_offsets.back() += 1; }, "forest.category_offsets");
  refused([](S&, A& a) { a.category_offsets[1] = 0xffffffff; }, "forest.category_offsets");
  refused([](S&, A& a) { a.cover.pop_back(); }, "forest.cover");
  refused([](S&, A& a) { a.leaf_cover.pop_back(); }, "forest.leaf_cover");
  refused([](S&, A& a) { a.gain[1] = not_a_number; }, "forest.gain[1]");
  refused([](S& shape, A&) { shape.base.pop_back(); }, "forest.base");
  refused([](S& shape, A&) { shape.leaf_width = 0; }, "leaf_width");
  refused([](S& shape, A&) { shape.leaf_width = 7; }, "leaf_width");
  refused([](S& shape, A&) { shape.outputs = 0; }, "outputs");
  refused([](S& shape, A&) { shape.link = ForestLink::sigmoid; }, "link");
  refused([](S& shape, A&) { shape.link = static_cast<ForestLink>(13); }, "link");
  refused([](S& shape, A&) { shape.normaliser = 0; }, "normaliser");
}

TEST_CASE("arrays with random damage are refused or harmless", "[forest]") {
  Random random(11);
  const RandomForestShape s{.categories = true};
  const auto x = probing_rows(16, s.inputs, 12);
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    ForestArrays a = random_arrays(s, static_cast<std::uint64_t>(round % 50));
    const auto hit = [&](auto& values) {
      if (!values.empty()) {
        auto& v = values[random.below(values.size())];
        const std::uint32_t bits = random() >> random.below(32);
        std::memcpy(&v, &bits, sizeof v);
      }
    };
    for (std::uint64_t hits = 1 + random.below(3); hits-- > 0;) {
      switch (random.below(9)) {
        case 0: hit(a.roots); break;
        case 1: hit(a.left); break;
        case 2: hit(a.right); break;
        case 3: hit(a.feature); break;
        case 4: hit(a.category_set); break;
        case 5: hit(a.category_offsets); break;
        case 6: hit(a.threshold); break;
        case 7: hit(a.leaf_values); break;
        default: std::swap(a.left[random.below(a.left.size())], a.right[random.below(a.right.size())]);
      }
    }
    try {
      const Forest forest(shape_of(s), std::move(a));
      for (std::size_t r = 0; r < x.rows(); ++r) CHECK(std::isfinite(test::predict_row(forest, x.row(r))[0]));
    } catch (const Error& e) {
      CHECK(e.code() == errc::corrupt);
      ++refused;
    }
  }
  CHECK(refused > 1000);
  CHECK(refused < 3000);
}

TEST_CASE("importance is the sum of gains", "[forest]") {
  const RandomForestShape s{.trees = 4};
  const Forest forest(shape_of(s), random_arrays(s, 13));
  const auto importance = forest.gain_importance();
  REQUIRE(importance.size() == 5);
  for (std::uint32_t column = 0; column < 5; ++column) {
    double sum = 0;
    for (std::size_t i = 0; i < forest.arrays().feature.size(); ++i)
      if (forest.arrays().feature[i] == column) sum += forest.arrays().gain[i];
    CHECK(importance[column] == Approx(sum));
  }
}

TEST_CASE("a forest as C++ source gives the same floats", "[forest]") {
  if (std::system("c++ --version > /dev/null 2>&1") != 0) {
    WARN("SKIPPED: no c++ compiler on this machine");
    return;
  }
  const test::TempDir folder;
  std::ofstream source(folder / "forest.cpp");
  source << "#include <cmath>\n#include <cstdio>\n";
  for (std::size_t i = 0; i < all_shapes.size(); ++i)
    source << Forest(shape_of(all_shapes[i]), random_arrays(all_shapes[i], 15)).to_source("f" + std::to_string(i));
  // Reads rows from stdin as raw floats, writes all outputs of all forests.
  source << "int main() {\n  float row[5], out[4];\n  while (std::fread(row, 4, 5, stdin) == 5) {\n";
  for (std::size_t i = 0; i < all_shapes.size(); ++i) {
    const auto outputs = Forest(shape_of(all_shapes[i]), random_arrays(all_shapes[i], 15)).outputs();
    source << "    f" << i << "(row, out); std::fwrite(out, 4, " << outputs << ", stdout);\n";
  }
  source << "  }\n}\n";
  source.close();
  const auto x = probing_rows(200, 5, 16);
  std::ofstream(folder / "rows", std::ios::binary)
      .write(reinterpret_cast<const char*>(x.data()), static_cast<std::streamsize>(x.size() * sizeof(float)));
  const std::string path = folder.path();
  REQUIRE(std::system(("c++ -std=c++17 -Wall -Wextra -Werror -O1 -ffp-contract=off -o " + path + "/forest " + path +
                       "/forest.cpp && " + path + "/forest < " + path + "/rows > " + path + "/out")
                          .c_str()) == 0);
  std::ifstream result(folder / "out", std::ios::binary);
  for (std::size_t r = 0; r < x.rows(); ++r) {
    for (const auto& s : all_shapes) {
      const auto expected = test::predict_row(Forest(shape_of(s), random_arrays(s, 15)), x.row(r).first(s.inputs));
      std::vector<float> got(expected.size());
      result.read(reinterpret_cast<char*>(got.data()), static_cast<std::streamsize>(got.size() * sizeof(float)));
      REQUIRE(result.good());
      REQUIRE(got == expected);
    }
  }
}

}  // namespace
}  // namespace redoubt
