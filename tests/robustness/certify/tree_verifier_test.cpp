#include "redoubt/robustness/certify/tree_verifier.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/trees/forest.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();

void add_leaf(ForestArrays& a, float value, std::int32_t& link) {
  link = ~static_cast<std::int32_t>(a.leaf_values.size());
  a.leaf_values.push_back(value);
  a.leaf_cover.push_back(1);
}

std::int32_t add_node(ForestArrays& a, std::uint32_t feature, float threshold, std::uint8_t flags) {
  a.feature.push_back(feature);
  a.threshold.push_back(threshold);
  a.left.push_back(0);
  a.right.push_back(0);
  a.flags.push_back(flags);
  a.category_set.push_back(-1);
  a.cover.push_back(1);
  a.gain.push_back(0);
  return static_cast<std::int32_t>(a.feature.size()) - 1;
}

/// A random tree; thresholds lie on a coarse grid, so that trees share some.
void grow(ForestArrays& a, Random& random, std::uint32_t columns, int depth, std::int32_t& link, bool zeros) {
  if (depth == 0 || random.uniform() < 0.15) return add_leaf(a, static_cast<float>(random.normal()), link);
  const float grid = zeros && random.uniform() < 0.3 ? 0.0f : static_cast<float>(random.below(17)) / 8 - 1;
  std::uint8_t flags = random.below(2) ? missing_left : 0;
  if (zeros && random.uniform() < 0.4) flags |= zero_missing;
  const std::int32_t node = add_node(a, static_cast<std::uint32_t>(random.below(columns)), grid, flags);
  link = node;
  std::int32_t left = 0, right = 0;
  grow(a, random, columns, depth - 1, left, zeros);
  grow(a, random, columns, depth - 1, right, zeros);
  a.left[static_cast<std::size_t>(node)] = left;
  a.right[static_cast<std::size_t>(node)] = right;
}

Forest random_forest(std::uint64_t seed, std::uint32_t columns, int trees, std::uint32_t outputs, bool zeros = false) {
  Random random(seed, 0);
  ForestShape shape;
  shape.inputs = columns;
  shape.outputs = outputs;
  shape.link = outputs == 1 ? ForestLink::sigmoid : ForestLink::softmax;
  for (std::uint32_t k = 0; k < outputs; ++k) shape.base.push_back(static_cast<float>(random.normal()) / 4);
  ForestArrays a;
  a.category_offsets = {0};
  for (int t = 0; t < trees; ++t) {
    std::int32_t root = 0;
    grow(a, random, columns, 4, root, zeros);
    a.roots.push_back(root);
    a.outputs_of.push_back(static_cast<std::uint32_t>(t) % outputs);
  }
  return Forest(std::move(shape), std::move(a));
}

std::size_t class_of(const Forest& forest, std::span<const float> row) {
  std::vector<float> scores(forest.shape().outputs);
  forest.scores(row, scores);
  if (scores.size() == 1) return scores[0] > 0;
  return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

/// Every combination of cells, by a value of each cell that is nearest to the row: (distance, row) of all of them.
struct Brute {
  std::vector<std::vector<float>> values;  // per column
  explicit Brute(const Forest& forest, std::span<const float> row) : values(row.size()) {
    const ForestArrays& a = forest.arrays();
    for (std::size_t c = 0; c < row.size(); ++c) {
      values[c].push_back(row[c]);
      if (std::isnan(row[c])) continue;
      std::vector<float> edges;
      for (std::size_t i = 0; i < a.feature.size(); ++i)
        if (a.feature[i] == c) {
          edges.push_back(a.threshold[i]);
          if (a.flags[i] & zero_missing)
            for (float z : {1e-35f, std::nextafter(-1e-35f, -inf)}) edges.push_back(z);
        }
      for (const float t : edges) values[c].push_back(t < row[c] ? t : std::nextafter(t, inf));
      std::sort(values[c].begin(), values[c].end());
      values[c].erase(std::unique(values[c].begin(), values[c].end()), values[c].end());
    }
  }
  template <class F>
  void each(std::span<const float> row, double radius, const F& f) const {
    std::vector<float> at(row.begin(), row.end());
    visit(row, radius, 0, at, f);
  }
  template <class F>
  void visit(std::span<const float> row, double radius, std::size_t c, std::vector<float>& at, const F& f) const {
    if (c == row.size()) return f(at);
    for (const float v : values[c]) {
      if (std::abs(static_cast<double>(v) - static_cast<double>(row[c])) > radius) continue;
      at[c] = v;
      visit(row, radius, c + 1, at, f);
    }
  }
};

}  // namespace

TEST_CASE("trees are verified as brute force over all cells does", "[tree_verifier]") {
  std::size_t certified = 0, broken = 0;
  for (std::uint64_t seed = 0; seed < 12; ++seed) {
    const std::uint32_t outputs = seed % 3 == 2 ? 3 : 1;
    const Forest forest = random_forest(seed, 4, outputs == 1 ? 6 : 9, outputs, seed % 2 == 1);
    const TreeVerifier verifier(forest);
    REQUIRE(verifier.classes() == std::max<std::size_t>(outputs, 2));
    Random random(seed, 1);
    for (int r = 0; r < 6; ++r) {
      std::vector<float> row(4);
      for (float& x : row) x = static_cast<float>(random.normal()) / 2;
      if (r == 3) row[1] = std::numeric_limits<float>::quiet_NaN();
      if (r == 4) row[2] = 0;
      const std::size_t label = class_of(forest, row);
      const Brute brute(forest, row);
      for (const double radius : {0.0, 0.1, 0.3, 0.9}) {
        double least = INFINITY, lowest = INFINITY, highest = -INFINITY;
        bool changes = false;
        std::vector<float> scores(outputs);
        brute.each(row, radius, [&](const std::vector<float>& at) {
          forest.scores(at, scores);
          lowest = std::min(lowest, static_cast<double>(scores[0]));
          highest = std::max(highest, static_cast<double>(scores[0]));
          double margin = INFINITY;
          if (outputs == 1) {
            margin = label == 1 ? scores[0] : -scores[0];
          } else {
            for (std::size_t k = 0; k < outputs; ++k)
              if (k != label) margin = std::min(margin, static_cast<double>(scores[label]) - scores[k]);
          }
          least = std::min(least, margin);
          changes = changes || class_of(forest, at) != label;
        });
        const TreeCertificate answer = verifier.verify(row, label, radius);
        CAPTURE(seed, r, radius);
        CHECK(answer.result == (changes ? Robustness::broken : Robustness::certified));
        CHECK(answer.lower <= least + 1e-5);
        if (changes) {
          ++broken;
          CHECK(class_of(forest, answer.counterexample) != label);
          for (std::size_t c = 0; c < row.size(); ++c)
            if (!std::isnan(row[c])) CHECK(std::abs(double(answer.counterexample[c]) - row[c]) <= radius);
        } else {
          ++certified;
          CHECK(answer.lower > 0);
        }
        const ScoreRange range = verifier.score_range(row, radius);
        CHECK(range.exact);
        CHECK(range.lower == Approx(lowest).margin(1e-5));
        CHECK(range.upper == Approx(highest).margin(1e-5));
      }
      // The radius is that of the nearest cell combination of another class.
      double nearest = INFINITY;
      brute.each(row, 3.0, [&](const std::vector<float>& at) {
        if (class_of(forest, at) == label) return;
        double distance = 0;
        for (std::size_t c = 0; c < row.size(); ++c)
          if (!std::isnan(row[c])) distance = std::max(distance, std::abs(double(at[c]) - double(row[c])));
        nearest = std::min(nearest, distance);
      });
      const RobustRadius radius = verifier.robust_radius(row, label, 3.0);
      CHECK(radius.exact(3.0));
      CHECK(radius.broken == nearest);
      if (std::isfinite(nearest)) CHECK(radius.certified == nearest);
    }
  }
  CHECK(certified > 50);
  CHECK(broken > 50);
}

TEST_CASE("rules keep columns fixed, whole and within their range", "[tree_verifier]") {
  // Class 1 iff x0 > 2.5 or x1 > 0.5.
  ForestShape shape;
  shape.inputs = 2;
  shape.outputs = 1;
  shape.link = ForestLink::sigmoid;
  shape.base = {-1};
  ForestArrays a;
  a.category_offsets = {0};
  for (std::uint32_t c : {0u, 1u}) {
    const auto node = static_cast<std::size_t>(add_node(a, c, c == 0 ? 2.5f : 0.5f, 0));
    add_leaf(a, 0, a.left[node]);
    add_leaf(a, 2, a.right[node]);
    a.roots.push_back(static_cast<std::int32_t>(node));
    a.outputs_of.push_back(0);
  }
  const Forest forest(shape, a);
  const std::vector<float> row{1, 0};
  const auto radius = [&](FeatureRule x0, FeatureRule x1) {
    return TreeVerifier(forest, {.rules = {x0, x1}}).robust_radius(row, 0, 10).broken;
  };
  CHECK(radius({}, {}) == Approx(0.5));
  CHECK(radius({}, {.fixed = true}) == Approx(1.5));
  CHECK(radius({.whole = true}, {.fixed = true}) == 2);  // 2.6 is not possible, 3 is
  CHECK(radius({.whole = true, .upper = 2}, {.fixed = true}) == INFINITY);
  CHECK(radius({.upper = 2.5f}, {.fixed = true}) == INFINITY);
  CHECK(radius({.fixed = true}, {.unit = 0.25}) == Approx(2));
  // A counterexample keeps to the rules.
  const auto found = TreeVerifier(forest, {.rules = {{.whole = true}, {.fixed = true}}}).verify(row, 0, 2);
  REQUIRE(found.result == Robustness::broken);
  CHECK(found.counterexample == std::vector<float>{3, 0});
}

TEST_CASE("what cannot be verified is an error, what takes too long is unknown", "[tree_verifier]") {
  const Forest forest = random_forest(3, 4, 40, 1);
  const std::vector<float> row(4, 0.1f);
  const TreeVerifier verifier(forest);
  CHECK_THROWS_AS(verifier.verify(row, 2, 0.1), Error);
  CHECK_THROWS_AS(verifier.verify(row, 0, -1), Error);
  CHECK_THROWS_AS(verifier.verify(std::vector<float>(3), 0, 0.1), Error);
  CHECK_THROWS_AS(verifier.score_range(row, 0.1, 1), Error);
  CHECK_THROWS_AS(TreeVerifier(forest, {.rules = std::vector<FeatureRule>(3)}), Error);
  CHECK_THROWS_AS(TreeVerifier(forest, {.rules = std::vector<FeatureRule>(4, {.unit = 0})}), Error);
  CHECK_THROWS_AS(TreeVerifier(forest, {.rules = std::vector<FeatureRule>(4, {.whole = true})}).verify(row, 0, 1),
                  Error);

  // With a budget of one box the bounds still hold, and nothing is claimed that is not so.
  const ScoreRange exact = verifier.score_range(row, 0.5);
  const ScoreRange rough = TreeVerifier(forest, {.max_states = 1}).score_range(row, 0.5);
  REQUIRE(exact.exact);
  CHECK_FALSE(rough.exact);
  CHECK(rough.lower <= exact.lower);
  CHECK(rough.upper >= exact.upper);
}

TEST_CASE("the published bound of a robust breast-cancer model", "[tree_verifier]") {
  REDOUBT_NEED_DATA(model_path, "golden/tree_verification/breast_cancer_robust.0008.json")
  REDOUBT_NEED_DATA(rows_path, "golden/tree_verification/example_breast_cancer0.libsvm")
  // A dump of XGBoost: left iff x < split_condition, which is x <= the float below it.
  ForestShape shape;
  shape.inputs = 11;  // its columns count from 1
  shape.outputs = 1;
  shape.link = ForestLink::sigmoid;
  shape.base = {0};
  ForestArrays a;
  a.category_offsets = {0};
  std::ifstream file(model_path);
  const auto read = [&](const auto& self, const nlohmann::json& json, std::int32_t& link) -> void {
    if (json.contains("leaf")) return add_leaf(a, json["leaf"].get<float>(), link);
    const float condition = json["split_condition"].get<float>();
    const auto node = static_cast<std::size_t>(
        add_node(a, json["split"].get<std::uint32_t>(), std::nextafter(condition, -inf), missing_left));
    link = static_cast<std::int32_t>(node);
    for (const auto& child : json["children"]) {
      std::int32_t down = 0;
      self(self, child, down);
      (child["nodeid"] == json["yes"] ? a.left : a.right)[node] = down;
    }
  };
  for (const auto& tree : nlohmann::json::parse(file)) {
    std::int32_t root = 0;
    read(read, tree, root);
    a.roots.push_back(root);
    a.outputs_of.push_back(0);
  }
  const Forest forest(shape, a);
  REQUIRE(forest.trees() == 8);
  const TreeVerifier verifier(forest);

  // The search of its example: ten steps from 0.3, doubling until a radius breaks, halving until one holds.
  std::ifstream rows(rows_path);
  double bounds = 0, exact = 0;
  int points = 0, failed = 0;
  for (std::string line; points < 100 && std::getline(rows, line); ++points) {
    std::istringstream cells(line);
    std::size_t label = 0;
    cells >> label;
    std::vector<float> row(11, 0.0f);
    for (std::string cell; cells >> cell;) row[std::stoul(cell)] = std::stof(cell.substr(cell.find(':') + 1));
    double eps = 0.3, held = 0, broke = 0;
    for (int step = 0; step < 10; ++step) {
      const bool holds = verifier.verify(row, label, eps).result == Robustness::certified;
      if (step == 0 && !holds) ++failed;
      (holds ? held : broke) = eps;
      if (held == 0) {
        eps /= 2;
      } else if (broke == 0) {
        if (eps >= 1) break;
        eps *= 2;
      } else {
        eps = (held + broke) / 2;
      }
    }
    bounds += held;
    const RobustRadius radius = verifier.robust_radius(row, label, 4);
    CHECK(radius.exact(4));
    exact += std::min(radius.certified, 1.2);
  }
  REQUIRE(points == 100);
  CHECK(bounds / points == Approx(0.39518).margin(5e-6));
  CHECK(failed / 100.0 == 0.13);
  CHECK(exact / points >= bounds / points);
}
