#include "redoubt/trees/shap.hpp"

#include <bit>
#include <catch2/catch.hpp>
#include <map>

#include "kernels/shap.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/linear/ridge.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "redoubt/trees/isolation_forest.hpp"
#include "redoubt/trees/random_forest.hpp"
#include "trees/shap_program.hpp"
#include "trees/support.hpp"

namespace redoubt {
namespace {

using test::not_a_number;

// Models --------------------------------------------------------------------------------------------------------

struct Plan {
  std::uint32_t inputs = 5, outputs = 1, leaf_width = 1;
  int trees = 6, nodes_per_tree = 9;
  ForestLink link = ForestLink::identity;
  bool zero_covers = false;
};

/// Any trees: every kind of node, features that come back on a path, one tree of one leaf.
Forest random_forest(const Plan& plan, std::uint64_t seed) {
  Random random(seed);
  ForestArrays a;
  a.category_offsets.push_back(0);
  const auto leaf = [&] {
    for (std::uint32_t k = 0; k < plan.leaf_width; ++k) a.leaf_values.push_back(static_cast<float>(random.normal()));
    a.leaf_cover.push_back(plan.zero_covers && random.below(3) == 0 ? 0.0f
                                                                    : 1.0f + static_cast<float>(random.below(50)));
    return ~static_cast<std::int32_t>(a.leaf_cover.size() - 1);
  };
  const auto grow = [&](auto&& self, int nodes) -> std::int32_t {
    if (nodes == 0) return leaf();
    const std::size_t i = a.feature.size();
    const auto feature = static_cast<std::uint32_t>(random.below(plan.inputs));
    a.feature.push_back(feature);
    a.threshold.push_back(static_cast<float>(random.normal()) * 0.7f);
    a.flags.push_back(static_cast<std::uint8_t>(random.below(8)));
    a.category_set.push_back(-1);
    a.gain.push_back(1);
    if (feature == 1) {
      a.category_set.back() = static_cast<std::int32_t>(a.category_offsets.size() - 1);
      a.category_bits.push_back(static_cast<std::uint32_t>(random.below(std::uint64_t{1} << 32)));
      a.category_offsets.push_back(static_cast<std::uint32_t>(a.category_bits.size()));
    }
    for (auto* v : {&a.left, &a.right}) v->push_back(0);
    a.cover.push_back(0);
    const int left = static_cast<int>(random.below(static_cast<std::uint64_t>(nodes)));
    const auto cover = [&](std::int32_t c) { return c < 0 ? a.leaf_cover[~c] : a.cover[c]; };
    const std::int32_t l = self(self, left), r = self(self, nodes - 1 - left);
    a.left[i] = l;
    a.right[i] = r;
    a.cover[i] = cover(l) + cover(r);
    return static_cast<std::int32_t>(i);
  };
  for (int t = 0; t < plan.trees; ++t) {
    a.roots.push_back(grow(grow, t == 1 ? 0 : plan.nodes_per_tree));
    a.outputs_of.push_back(plan.leaf_width > 1 ? 0 : static_cast<std::uint32_t>(t) % plan.outputs);
  }
  ForestShape shape{plan.inputs, plan.outputs, plan.leaf_width, plan.link, 1.0f, {}};
  for (std::uint32_t k = 0; k < plan.outputs; ++k) shape.base.push_back(0.5f - static_cast<float>(k));
  return Forest(shape, a);
}

/// Rows that meet every kind of node: zeros, missing values, codes in and out of the sets.
Tensor<float> awkward_rows(std::size_t rows, std::size_t cols, std::uint64_t seed) {
  Tensor<float> x = test::random_matrix(rows, cols, seed, 0.15);
  Random random(seed + 1);
  for (float& v : x.flat())
    if (random.below(6) == 0) v = 0;
  if (cols > 1)
    for (std::size_t r = 0; r < rows; ++r)
      x(r, 1) = random.below(8) == 0 ? not_a_number : static_cast<float>(random.below(40)) - 3;
  return x;
}

/// A tree of `depth` nodes in a row, each on a column of its own.
Forest chain(std::uint32_t depth) {
  ForestArrays a;
  Random random(3);
  for (std::uint32_t i = 0; i < depth; ++i) {
    const bool last = i + 1 == depth, swap = i % 2 == 1;
    const std::int32_t leaf = ~static_cast<std::int32_t>(i);
    const std::int32_t next = last ? ~static_cast<std::int32_t>(depth) : static_cast<std::int32_t>(i + 1);
    a.feature.push_back(i);
    a.threshold.push_back(0);
    a.flags.push_back(0);
    a.category_set.push_back(-1);
    a.gain.push_back(1);
    a.left.push_back(swap ? next : leaf);
    a.right.push_back(swap ? leaf : next);
    a.cover.push_back(static_cast<float>(10 * (depth - i) + 5));
    a.leaf_values.push_back(static_cast<float>(random.normal()));
    a.leaf_cover.push_back(10);
  }
  a.leaf_values.push_back(3);
  a.leaf_cover.push_back(5);
  a.roots = {0};
  a.outputs_of = {0};
  return Forest({depth, 1, 1, ForestLink::identity, 1.0f, {0.0f}}, a);
}

/// Score `k` before the link, in double, averaged over the trees where the prediction is.
double score(const Forest& forest, std::span<const float> row, std::size_t k) {
  std::vector<std::uint32_t> ids(forest.trees());
  forest.leaf_ids(row, ids);
  const std::size_t width = forest.shape().leaf_width;
  double sum = forest.shape().base[k];
  for (std::size_t t = 0; t < ids.size(); ++t)
    if (width > 1 || forest.arrays().outputs_of[t] == k)
      sum += forest.arrays().leaf_values[ids[t] * width + (width > 1 ? k : 0)];
  const bool mean = forest.shape().link == ForestLink::average || forest.shape().link == ForestLink::isolation;
  return mean ? sum / static_cast<double>(forest.trees()) : sum;
}

// Oracles: the definitions -----------------------------------------------------------------------------------------

bool left_at(const ForestArrays& a, std::int32_t node, float x) {
  if (a.category_set[node] < 0) {
    if (std::isnan(x) || ((a.flags[node] & zero_missing) && x == 0)) return a.flags[node] & missing_left;
    return x <= a.threshold[node];
  }
  if (std::isnan(x)) return a.flags[node] & missing_left;
  if (x <= -1 || x >= 32) return a.flags[node] & others_left;
  return a.category_bits[a.category_offsets[a.category_set[node]]] >> static_cast<int>(x) & 1;
}

/// Score k of the game in which only the columns of `known` are known, path-dependent.
double by_cover(const Forest& forest, std::span<const float> x, std::uint32_t known, std::size_t k) {
  const ForestArrays& a = forest.arrays();
  const std::size_t width = forest.shape().leaf_width;
  const auto cover = [&](std::int32_t c) -> double { return c < 0 ? a.leaf_cover[~c] : a.cover[c]; };
  const auto value = [&](auto&& self, std::int32_t node) -> double {
    if (node < 0) return a.leaf_values[static_cast<std::size_t>(~node) * width + (width > 1 ? k : 0)];
    if (known >> a.feature[node] & 1)
      return self(self, left_at(a, node, x[a.feature[node]]) ? a.left[node] : a.right[node]);
    const double l = cover(a.left[node]), r = cover(a.right[node]);
    const double share = l + r > 0 ? l / (l + r) : 0.5;
    return share * self(self, a.left[node]) + (1 - share) * self(self, a.right[node]);
  };
  double sum = forest.shape().base[k];
  for (std::size_t t = 0; t < forest.trees(); ++t)
    if (width > 1 || a.outputs_of[t] == k) sum += value(value, a.roots[t]);
  return forest.shape().link == ForestLink::average ? sum / static_cast<double>(forest.trees()) : sum;
}

double by_background(const Forest& forest, std::span<const float> x, const Tensor<float>& background,
                     std::uint32_t known, std::size_t k) {
  double sum = 0;
  for (std::size_t b = 0; b < background.rows(); ++b) {
    std::vector<float> mixed(background.row(b).begin(), background.row(b).end());
    for (std::size_t f = 0; f < mixed.size(); ++f)
      if (known >> f & 1) mixed[f] = x[f];
    sum += score(forest, mixed, k);
  }
  return sum / static_cast<double>(background.rows());
}

double factorial(std::size_t n) { return std::tgamma(static_cast<double>(n + 1)); }

/// From the values of all 2^n subsets.
std::vector<double> shapley(const std::vector<double>& game, std::size_t n) {
  std::vector<double> phi(n);
  for (std::size_t i = 0; i < n; ++i)
    for (std::uint32_t s = 0; s < game.size(); ++s) {
      if (s >> i & 1) continue;
      const std::size_t size = static_cast<std::size_t>(std::popcount(s));
      phi[i] += factorial(size) * factorial(n - size - 1) / factorial(n) * (game[s | 1u << i] - game[s]);
    }
  return phi;
}

std::vector<double> shapley_pairs(const std::vector<double>& game, std::size_t n) {
  std::vector<double> pairs(n * n);
  const std::vector<double> phi = shapley(game, n);
  for (std::size_t i = 0; i < n; ++i) {
    double rest = phi[i];
    for (std::size_t j = 0; j < n; ++j) {
      if (i == j) continue;
      for (std::uint32_t s = 0; s < game.size(); ++s) {
        if (s >> i & 1 || s >> j & 1) continue;
        const std::size_t size = static_cast<std::size_t>(std::popcount(s));
        const double together = game[s | 1u << i | 1u << j] - game[s | 1u << i] - game[s | 1u << j] + game[s];
        pairs[i * n + j] += factorial(size) * factorial(n - size - 2) / (2 * factorial(n - 1)) * together;
      }
      rest -= pairs[i * n + j];
    }
    pairs[i * n + i] = rest;
  }
  return pairs;
}

/// Algorithm 2 of arXiv:1802.03888, one tree: extend and unwind over the path from the root.
struct Recursive {
  struct Element {
    std::int32_t feature;
    double zero, one, weight;
  };
  const ForestArrays& a;
  std::span<const float> x;
  std::vector<double>& phi;

  static std::vector<Element> extend(std::vector<Element> path, double zero, double one, std::int32_t feature) {
    const std::size_t length = path.size();
    path.push_back({feature, zero, one, length == 0 ? 1.0 : 0.0});
    const double n = static_cast<double>(length + 1);
    for (std::size_t i = length; i-- > 0;) {
      path[i + 1].weight += one * path[i].weight * static_cast<double>(i + 1) / n;
      path[i].weight = zero * path[i].weight * static_cast<double>(length - i) / n;
    }
    return path;
  }
  static std::vector<Element> unwind(std::vector<Element> path, std::size_t which) {
    const std::size_t last = path.size() - 1;
    const double one = path[which].one, zero = path[which].zero, n = static_cast<double>(last + 1);
    double next = path[last].weight;
    for (std::size_t j = last; j-- > 0;) {
      if (one != 0) {
        const double t = path[j].weight;
        path[j].weight = next * n / (static_cast<double>(j + 1) * one);
        next = t - path[j].weight * zero * static_cast<double>(last - j) / n;
      } else {
        path[j].weight = path[j].weight * n / (zero * static_cast<double>(last - j));
      }
    }
    for (std::size_t j = which; j < last; ++j) {
      path[j].feature = path[j + 1].feature;
      path[j].zero = path[j + 1].zero;
      path[j].one = path[j + 1].one;
    }
    path.pop_back();
    return path;
  }
  void visit(std::int32_t node, std::vector<Element> path, double zero, double one, std::int32_t feature) {
    path = extend(std::move(path), zero, one, feature);
    if (node < 0) {
      for (std::size_t i = 1; i < path.size(); ++i) {
        double sum = 0;
        for (const Element& e : unwind(path, i)) sum += e.weight;
        phi[static_cast<std::size_t>(path[i].feature)] += sum * (path[i].one - path[i].zero) * a.leaf_values[~node];
      }
      return;
    }
    const auto f = static_cast<std::int32_t>(a.feature[node]);
    double zero_before = 1, one_before = 1;
    for (std::size_t i = 1; i < path.size(); ++i)
      if (path[i].feature == f) {
        zero_before = path[i].zero;
        one_before = path[i].one;
        path = unwind(std::move(path), i);
        break;
      }
    const auto cover = [&](std::int32_t c) -> double { return c < 0 ? a.leaf_cover[~c] : a.cover[c]; };
    const double l = cover(a.left[node]), r = cover(a.right[node]);
    const bool left = left_at(a, node, x[a.feature[node]]);
    visit(a.left[node], path, zero_before * l / (l + r), left ? one_before : 0, f);
    visit(a.right[node], path, zero_before * r / (l + r), left ? 0 : one_before, f);
  }
};

void check_sums(const Forest& forest, const TreeShap& shap, const Tensor<float>& x) {
  const Tensor<double> values = shap.values(x);
  double worst = 0;
  for (std::size_t r = 0; r < x.rows(); ++r)
    for (std::size_t k = 0; k < shap.outputs(); ++k) {
      double sum = shap.base()[k];
      for (std::size_t f = 0; f < shap.inputs(); ++f) sum += values(r, k * shap.inputs() + f);
      worst = std::max(worst, std::abs(sum - score(forest, x.row(r), k)));
    }
  CHECK(worst < 1e-9);
}

std::vector<Plan> plans() {
  return {{},
          {.inputs = 3, .trees = 4, .nodes_per_tree = 25},
          {.inputs = 6, .outputs = 3, .trees = 7, .nodes_per_tree = 14},
          {.inputs = 4, .outputs = 3, .leaf_width = 3, .trees = 4, .link = ForestLink::average},
          {.inputs = 5, .trees = 4, .nodes_per_tree = 30, .zero_covers = true},
          {.inputs = 2, .trees = 3, .nodes_per_tree = 1}};
}

// Golden files -----------------------------------------------------------------------------------------------------

using Fields = std::map<std::string, std::vector<double>>;

std::map<std::string, Fields> golden_models() {
  std::ifstream file(std::string(REDOUBT_SOURCE_DIR) + "/tests/trees/golden/shap.txt");
  REQUIRE(file);
  std::map<std::string, Fields> models;
  std::string name, word, model;
  while (file >> name >> word) {
    if (name == "model") {
      model = word;
      continue;
    }
    std::vector<double>& values = models[model][name];
    for (std::size_t n = std::stoul(word); n-- > 0;) {
      file >> word;
      values.push_back(std::stod(word));
    }
  }
  return models;
}

Forest golden_forest(Fields& f) {
  const auto fill = [&](const char* name, auto& to) {
    for (const double v : f[name]) to.push_back(static_cast<std::decay_t<decltype(to[0])>>(v));
  };
  ForestArrays a;
  fill("roots", a.roots);
  fill("outputs_of", a.outputs_of);
  fill("feature", a.feature);
  fill("threshold", a.threshold);
  fill("left", a.left);
  fill("right", a.right);
  fill("flags", a.flags);
  fill("category_set", a.category_set);
  fill("category_offsets", a.category_offsets);
  fill("category_bits", a.category_bits);
  fill("leaf_values", a.leaf_values);
  fill("cover", a.cover);
  fill("leaf_cover", a.leaf_cover);
  a.gain.resize(a.feature.size());
  ForestShape shape;
  shape.inputs = static_cast<std::uint32_t>(f["shape"][0]);
  shape.outputs = static_cast<std::uint32_t>(f["shape"][1]);
  shape.leaf_width = static_cast<std::uint32_t>(f["shape"][2]);
  shape.link = static_cast<ForestLink>(f["shape"][3]);
  shape.base.resize(shape.outputs);
  return Forest(shape, a);
}

Tensor<float> matrix_of(const std::vector<double>& values, std::size_t cols) {
  Tensor<float> x({values.size() / cols, cols});
  for (std::size_t i = 0; i < values.size(); ++i) x.data()[i] = static_cast<float>(values[i]);
  return x;
}

void check_equal(std::span<const double> ours, const std::vector<double>& theirs, double tolerance) {
  REQUIRE(ours.size() == theirs.size());
  double worst = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) worst = std::max(worst, std::abs(ours[i] - theirs[i]));
  CHECK(worst < tolerance);
}

}  // namespace

TEST_CASE("SHAP values are the Shapley values of the game of the covers", "[shap]") {
  for (const Plan& plan : plans()) {
    const Forest forest = random_forest(plan, 11);
    const std::size_t n = plan.inputs;
    const Tensor<float> x = awkward_rows(11, n, 5);  // a full vector of rows and a part of one
    const TreeShap shap(forest);
    const Tensor<double> values = shap.values(x), pairs = shap.interactions(x);
    check_sums(forest, shap, x);
    for (std::size_t r = 0; r < x.rows(); ++r)
      for (std::size_t k = 0; k < plan.outputs; ++k) {
        std::vector<double> game;
        for (std::uint32_t s = 0; s < 1u << n; ++s) game.push_back(by_cover(forest, x.row(r), s, k));
        REQUIRE(shap.base()[k] == Approx(game[0]).margin(1e-12));
        const std::vector<double> phi = shapley(game, n), both = shapley_pairs(game, n);
        for (std::size_t f = 0; f < n; ++f) REQUIRE(values(r, k * n + f) == Approx(phi[f]).margin(1e-11));
        for (std::size_t p = 0; p < n * n; ++p) REQUIRE(pairs(r, k * n * n + p) == Approx(both[p]).margin(1e-11));
      }
  }
}

TEST_CASE("interventional SHAP values are the Shapley values of the game of the background", "[shap]") {
  for (const Plan& plan : plans()) {
    const Forest forest = random_forest(plan, 12);
    const std::size_t n = plan.inputs;
    const Tensor<float> x = awkward_rows(5, n, 6), background = awkward_rows(7, n, 7);
    const TreeShap shap(forest, background);
    const Tensor<double> values = shap.values(x);
    check_sums(forest, shap, x);
    for (std::size_t r = 0; r < x.rows(); ++r)
      for (std::size_t k = 0; k < plan.outputs; ++k) {
        std::vector<double> game;
        for (std::uint32_t s = 0; s < 1u << n; ++s) game.push_back(by_background(forest, x.row(r), background, s, k));
        REQUIRE(shap.base()[k] == Approx(game[0]).margin(1e-12));
        const std::vector<double> phi = shapley(game, n);
        for (std::size_t f = 0; f < n; ++f) REQUIRE(values(r, k * n + f) == Approx(phi[f]).margin(1e-11));
      }
  }
}

TEST_CASE("SHAP values equal those of LightGBM, interventional ones and interactions those of shap", "[shap]") {
  auto models = golden_models();
  REQUIRE(models.size() == 6);
  for (auto& [name, fields] : models) {
    INFO(name);
    const Forest forest = golden_forest(fields);
    const Tensor<float> x = matrix_of(fields["rows"], forest.inputs());
    const TreeShap shap(forest);
    check_sums(forest, shap, x);
    check_equal(shap.values(x).flat(), fields["values"], 1e-6);
    check_equal(shap.base(), fields["base"], 1e-6);
    if (fields["background"].empty()) continue;
    check_equal(shap.interactions(x).flat(), fields["interactions"], 1e-6);
    const Tensor<float> background = matrix_of(fields["background"], forest.inputs());
    const TreeShap against(forest, background);
    check_sums(forest, against, x);
    check_equal(against.values(x).flat(), fields["interventional"], 1e-6);
    check_equal(against.base(), fields["interventional_base"], 1e-6);
  }
}

TEST_CASE("deep paths: as the recursive algorithm, at any number of points", "[shap]") {
  for (const std::uint32_t depth : {1, 2, 15, 16, 17, 33, 64, 90, 512}) {
    INFO(depth);
    const Forest forest = chain(depth);
    const Tensor<float> x = test::random_matrix(9, depth, depth);
    const TreeShap shap(forest);
    check_sums(forest, shap, x);
    const Tensor<double> values = shap.values(x);
    if (depth > 33) continue;  // the recursion itself loses digits
    for (std::size_t r = 0; r < x.rows(); ++r) {
      std::vector<double> phi(depth);
      Recursive{forest.arrays(), x.row(r), phi}.visit(0, {}, 1, 1, -1);
      for (std::size_t f = 0; f < depth; ++f) REQUIRE(values(r, f) == Approx(phi[f]).margin(1e-9));
    }
  }
  const Forest bushy = random_forest({.inputs = 30, .trees = 3, .nodes_per_tree = 400}, 4);
  const Tensor<float> x = awkward_rows(16, 30, 8);
  const TreeShap shap(bushy);
  const Tensor<double> values = shap.values(x);
  for (std::size_t r = 0; r < x.rows(); ++r) {
    std::vector<double> phi(30);
    for (const std::int32_t root : bushy.arrays().roots)
      Recursive{bushy.arrays(), x.row(r), phi}.visit(root, {}, 1, 1, -1);
    for (std::size_t f = 0; f < 30; ++f) REQUIRE(values(r, f) == Approx(phi[f]).margin(1e-9));
  }
}

TEST_CASE("interactions of deep paths add up, patterns of more than 64 columns too", "[shap]") {
  const Forest forest = chain(70);
  const Tensor<float> x = test::random_matrix(9, 70, 1), background = test::random_matrix(20, 70, 2);
  const TreeShap shap(forest);
  const Tensor<double> values = shap.values(x), pairs = shap.interactions(x);
  for (std::size_t r = 0; r < x.rows(); ++r)
    for (std::size_t i = 0; i < 70; ++i) {
      double sum = 0;
      for (std::size_t j = 0; j < 70; ++j) {
        sum += pairs(r, i * 70 + j);
        REQUIRE(pairs(r, i * 70 + j) == pairs(r, j * 70 + i));
      }
      REQUIRE(sum == Approx(values(r, i)).margin(1e-12));
    }
  check_sums(forest, TreeShap(forest, background), x);
  // One row against one: a column that both send the same way gets nothing.
  const Tensor<float> one = test::random_matrix(1, 70, 3);
  const Tensor<double> against = TreeShap(forest, one).values(x);
  for (std::size_t r = 0; r < x.rows(); ++r)
    for (std::size_t f = 0; f < 70; ++f)
      if ((x(r, f) <= 0) == (one(0, f) <= 0)) REQUIRE(against(r, f) == 0);
}

TEST_CASE("the SHAP kernels of all levels agree with the naive one", "[shap][isa]") {
  using namespace kernels::detail;
  for (const std::uint32_t depth : {2, 5, 9, 16, 40}) {
    const Forest forest = depth == 40 ? chain(40) : random_forest({.inputs = depth, .nodes_per_tree = 60}, depth);
    const Tensor<float> rows = awkward_rows(shap_lanes, forest.inputs(), depth);
    Tensor<float> x({forest.inputs(), shap_lanes});
    for (std::size_t f = 0; f < forest.inputs(); ++f)
      for (std::size_t lane = 0; lane < shap_lanes; ++lane) x(f, lane) = rows(lane, f);
    const detail::ShapProgram program(forest, 0, 0);
    const std::size_t n = forest.inputs(), block = program.points() * shap_lanes;
    const auto run = [&](const ShapTable& table, bool with_pairs) {
      std::vector<std::uint8_t> goes_left(program.count()), open(3 * program.count());
      for (const auto& [place, node] : program.decided())
        for (std::size_t lane = 0; lane < shap_lanes; ++lane)
          goes_left[place] |= static_cast<std::uint8_t>(
              left_at(forest.arrays(), node, rows(lane, forest.arrays().feature[node])) << lane);
      Tensor<double> slots({program.slots() * block}), edges({program.count() * block}), sums({n, shap_lanes}),
          pairs({n, n, shap_lanes});
      table.add_tree(program.view(), {x.data(), n, goes_left.data(), open.data(), slots.data(), edges.data(),
                                      sums.data(), with_pairs ? pairs.data() : nullptr});
      std::vector<double> all(sums.flat().begin(), sums.flat().end());
      all.insert(all.end(), pairs.flat().begin(), pairs.flat().end());
      return all;
    };
    for (const bool pairs : {false, true}) {
      const std::vector<double> reference = run(naive_shap_table, pairs);
      for (int i = 0; i <= int(std::min(detected_isa(), Isa::avx512)); ++i)
        check_equal(run(shap_table_for(Isa(i)), pairs), reference, 1e-12);
    }
  }
}

TEST_CASE("SHAP values are the same bits at any thread count and in any company", "[shap][threads]") {
  const Forest forest = random_forest({.inputs = 8, .outputs = 2, .trees = 20, .nodes_per_tree = 30}, 9);
  const Tensor<float> x = awkward_rows(300, 8, 3), background = awkward_rows(30, 8, 4);
  for (const TreeShap& shap : {TreeShap(forest), TreeShap(forest, background)}) {
    Arena one(1);
    const Tensor<double> expected = shap.values(x, &one);
    for (const int threads : {2, 4}) {
      Arena arena(threads);
      CHECK(shap.values(x, &arena) == expected);
    }
    for (const std::size_t r : {0, 7, 8, 299}) {
      const Tensor<double> alone = shap.values(MatrixView<const float>(x).slice(r, r + 1));
      CHECK(std::equal(alone.flat().begin(), alone.flat().end(), expected.row(r).begin()));
    }
  }
}

TEST_CASE("a forest too large for tables gives the same values", "[shap]") {
  // One tree of 300 columns in a row, repeated until its tables exceed what is kept.
  const Forest small = chain(300);
  const Tensor<float> x = test::random_matrix(3, 300, 1);
  const Tensor<double> expected = TreeShap(small).values(x);
  ForestArrays a = small.arrays();
  const ForestArrays once = a;
  const int copies = 45;
  for (int c = 1; c < copies; ++c) {
    const auto nodes = static_cast<std::int32_t>(a.feature.size());
    const auto leaves = static_cast<std::int32_t>(a.leaf_cover.size());
    const auto moved = [&](std::int32_t child) { return child < 0 ? child - leaves : child + nodes; };
    const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    for (const std::int32_t v : once.roots) a.roots.push_back(moved(v));
    for (const std::int32_t v : once.left) a.left.push_back(moved(v));
    for (const std::int32_t v : once.right) a.right.push_back(moved(v));
    append(a.outputs_of, once.outputs_of);
    append(a.feature, once.feature);
    append(a.threshold, once.threshold);
    append(a.flags, once.flags);
    append(a.category_set, once.category_set);
    append(a.leaf_values, once.leaf_values);
    append(a.cover, once.cover);
    append(a.leaf_cover, once.leaf_cover);
    append(a.gain, once.gain);
  }
  REQUIRE(copies * detail::ShapProgram(small, 0, 0).bytes() > std::size_t{128} << 20);
  const Forest large(small.shape(), a);
  const Tensor<double> values = TreeShap(large).values(x);
  for (std::size_t i = 0; i < values.size(); ++i)
    REQUIRE(values.flat()[i] == Approx(copies * expected.flat()[i]).margin(1e-9));
}

TEST_CASE("TreeShap names what does not fit", "[shap]") {
  const Forest forest = random_forest({}, 1);
  const TreeShap shap(forest);
  Tensor<double> wrong({2, 4}), right({2, 5});
  const auto says = [](auto&& call, errc code, const char* text) {
    try {
      call();
      FAIL("no error");
    } catch (const Error& e) {
      CHECK(e.code() == code);
      CHECK(std::string(e.what()).find(text) != std::string::npos);
    }
  };
  const Tensor<float> x({2, 5}), narrow({2, 4}), none({0, 5}), wide({1, 513});
  says([&] { shap.values(x, wrong); }, errc::shape_mismatch, "2 x 4");
  says([&] { shap.values(narrow, right); }, errc::shape_mismatch, "rows 2 x 4");
  says([&] { shap.interactions(x, right); }, errc::shape_mismatch, "25 columns");
  says([&] { TreeShap(forest, narrow); }, errc::shape_mismatch, "4 columns");
  says([&] { TreeShap(forest, none); }, errc::invalid_argument, "no rows");
  says([&] { TreeShap(forest, x).interactions(x); }, errc::unsupported, "background");
  CHECK(shap.values(none).size() == 0);
  says([&] { TreeShap{chain(513)}; }, errc::unsupported, "512");
  says([&] { TreeShap(chain(513), wide); }, errc::unsupported, "512");
}

namespace {

Dataset people(std::size_t rows) {
  Column age{{.name = "age"}}, city{{.name = "city", .type = ColumnType::categorical, .categories = {"A", "B", "C"}}};
  Column noise{{.name = "noise"}};
  Column buys{
      {.name = "buys", .type = ColumnType::categorical, .role = ColumnRole::target, .categories = {"no", "yes"}}};
  Random random(5);
  for (std::size_t r = 0; r < rows; ++r) {
    age.numbers.push_back(20 + 50 * random.uniform());
    city.codes.push_back(static_cast<std::int32_t>(random.below(3)));
    noise.numbers.push_back(random.normal());
    buys.codes.push_back(age.numbers.back() + (city.codes.back() == 1 ? 15 : 0) + 3 * random.normal() > 50);
  }
  return Dataset({age, noise, city, buys});
}

}  // namespace

TEST_CASE("explain names the columns that users know and adds up to the score", "[shap]") {
  const Dataset data = people(600);
  for (const CategoricalEncoding encoding : {CategoricalEncoding::ordinal, CategoricalEncoding::one_hot}) {
    const Model model =
        GradientBoosting{{.trees = 20, .max_leaves = 8, .encoder = {.categorical = encoding}}}.fit(data);
    const auto& forest = dynamic_cast<const Forest&>(model.predictor());
    const Explanation e = explain(model, data), against = Explainer(model, data).explain(data);
    CHECK(e.columns == std::vector<std::string>{"age", "noise", "city"});
    CHECK(e.outputs == std::vector<std::string>{"yes"});
    REQUIRE(e.rows() == data.rows());
    const Tensor<float> x = model.encoder().apply(data), p = model.predict_proba(data);
    Tensor<float> raw({data.rows(), model.inputs()});
    double mean = 0;
    for (std::size_t r = 0; r < data.rows(); ++r) {
      CHECK(e.score(r) == Approx(score(forest, x.row(r), 0)).margin(1e-9));
      CHECK(1 / (1 + std::exp(-e.score(r))) == Approx(p(r, 1)).margin(1e-5));
      CHECK(against.score(r) == Approx(e.score(r)).margin(1e-9));
      mean += e.score(r) / static_cast<double>(data.rows());
      model.encoder().raw_row(data.row(r), raw.row(r));
    }
    CHECK(against.base[0] == Approx(mean).margin(1e-9));
    CHECK(e.base[0] == Approx(mean).margin(1e-4));  // every row was in every tree, so the covers count them
    CHECK(Explainer(model).explain(MatrixView<const float>(raw)).values == e.values);
    CHECK_THROWS_WITH(Explainer(model).explain(MatrixView<const float>(raw.data(), 2, 2)),
                      Catch::Contains("2 columns") && Catch::Contains("takes 3"));
    const std::vector<double> importance = e.importance();
    CHECK(importance[0] > importance[2]);
    CHECK(importance[2] > importance[1]);
  }
}

TEST_CASE("an explanation in words", "[shap]") {
  Explanation e{{"age", "noise", "city"}, {"yes"}, {0.5}, Tensor<double>({1, 1, 3})};
  e.values.data()[0] = 0.25;
  e.values.data()[1] = -0.125;
  e.values.data()[2] = -2;
  CHECK(e.order(0) == std::vector<std::size_t>{2, 0, 1});
  CHECK(e.text(0) == "yes -1.38 = base 0.50 - city 2.00 + age 0.25 - noise 0.12");
  CHECK(e.text(0, 0, 1) == "yes -1.38 = base 0.50 - city 2.00 + 2 others 0.12");
  CHECK(e.text(0, 0, 2) == "yes -1.38 = base 0.50 - city 2.00 + age 0.25 - 1 other 0.12");
}

TEST_CASE("explain: random and isolation forests, and models that are none", "[shap]") {
  const Dataset data = people(300);
  const Model model = RandomForest{{.trees = 10}}.fit(data);
  const Explanation e = explain(model, data);
  CHECK(e.outputs == std::vector<std::string>{"no", "yes"});
  const Tensor<float> p = model.predict_proba(data);
  CHECK(e.base[0] + e.base[1] == Approx(1));
  CHECK(e.base[1] > 0.2);
  CHECK(e.base[1] < 0.6);
  for (std::size_t r = 0; r < data.rows(); ++r)
    for (std::size_t k = 0; k < 2; ++k) CHECK(e.score(r, k) == Approx(p(r, k)).margin(1e-5));

  const Dataset numbers = data.with_role("city", ColumnRole::ignore).with_role("buys", ColumnRole::ignore);
  const Model isolation = IsolationForest{{.trees = 10}}.fit(numbers);
  const auto& forest = dynamic_cast<const Forest&>(isolation.predictor());
  const Explanation paths = explain(isolation, numbers);
  CHECK(paths.base[0] > 1);  // a mean path length
  CHECK(paths.outputs == std::vector<std::string>{"value"});
  const Tensor<float> x = isolation.encoder().apply(numbers);
  for (std::size_t r = 0; r < 20; ++r) CHECK(paths.score(r) == Approx(score(forest, x.row(r), 0)).margin(1e-9));

  const Model line = Ridge{}.fit(data.with_role("buys", ColumnRole::ignore).with_role("noise", ColumnRole::target));
  CHECK_THROWS_WITH(explain(line, data), Catch::Contains("linear"));
}

}  // namespace redoubt
