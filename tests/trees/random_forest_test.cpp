#include "redoubt/trees/random_forest.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/trees/binning.hpp"
#include "trees/support.hpp"

namespace redoubt {
namespace {

using test::not_a_number;

/// One tree that sees every row and every column.
RandomForest single_tree(int min_leaf_rows = 1) {
  return {{.trees = 1, .min_leaf_rows = min_leaf_rows, .max_features = 1, .bootstrap = false}};
}

struct NaiveSplit {
  std::size_t column = 0;
  float threshold = 0;
  bool missing_left = false;
  double impurity = 1e300;  ///< weighted, of both sides
};

/// Weighted Gini impurity (labels) or sum of squares about the mean (values) of some rows.
double impurity(const std::vector<std::size_t>& rows, const std::vector<std::int32_t>& labels,
                const std::vector<double>& values) {
  if (labels.empty()) {
    double mean = 0, sum = 0;
    for (const auto r : rows) mean += values[r] / static_cast<double>(rows.size());
    for (const auto r : rows) sum += (values[r] - mean) * (values[r] - mean);
    return sum;
  }
  std::vector<double> counts(10);
  for (const auto r : rows) ++counts[static_cast<std::size_t>(labels[r])];
  double gini = 1;
  const auto n = static_cast<double>(rows.size());
  for (const double c : counts) gini -= c / n * c / n;
  return n * gini;
}

/// The best split of all rows, found by trying everything.
NaiveSplit naive_best(const Tensor<float>& x, const std::vector<std::size_t>& rows,
                      const std::vector<std::int32_t>& labels, const std::vector<double>& values,
                      const BinnedMatrix& bins) {
  NaiveSplit best;
  for (std::size_t c = 0; c < x.cols(); ++c) {
    for (const float cut : bins.column(c).upper) {
      for (const bool missing_left : {false, true}) {
        std::vector<std::size_t> left, right;
        for (const auto r : rows) ((std::isnan(x(r, c)) ? missing_left : x(r, c) <= cut) ? left : right).push_back(r);
        if (left.empty() || right.empty()) continue;
        const double total = impurity(left, labels, values) + impurity(right, labels, values);
        if (total < best.impurity - 1e-9) best = {c, cut, missing_left, total};
      }
    }
  }
  return best;
}

/// Every node's split has the smallest impurity there is, every leaf is pure and holds the mean of its rows.
void check_tree(const Forest& forest, std::int32_t child, std::vector<std::size_t> rows, const Tensor<float>& x,
                const std::vector<std::int32_t>& labels, const std::vector<double>& values, const BinnedMatrix& bins) {
  const auto& a = forest.arrays();
  if (child < 0) {
    CHECK(impurity(rows, labels, values) == Approx(0).margin(1e-9));
    const float* leaf = a.leaf_values.data() + static_cast<std::size_t>(~child) * forest.shape().leaf_width;
    if (labels.empty())
      CHECK(leaf[0] == Approx(values[rows[0]]).margin(1e-6));
    else
      CHECK(leaf[labels[rows[0]]] == 1.0f);
    return;
  }
  const auto i = static_cast<std::size_t>(child);
  std::vector<std::size_t> left, right;
  for (const auto r : rows) {
    const float v = x(r, a.feature[i]);
    ((std::isnan(v) ? (a.flags[i] & missing_left) != 0 : v <= a.threshold[i]) ? left : right).push_back(r);
  }
  REQUIRE(!left.empty());
  REQUIRE(!right.empty());
  const double total = impurity(left, labels, values) + impurity(right, labels, values);
  CHECK(total == Approx(naive_best(x, rows, labels, values, bins).impurity).margin(1e-7));
  CHECK(a.gain[i] == Approx(impurity(rows, labels, values) - total).epsilon(1e-4).margin(1e-5));
  CHECK(a.cover[i] == static_cast<float>(rows.size()));
  check_tree(forest, a.left[i], left, x, labels, values, bins);
  check_tree(forest, a.right[i], right, x, labels, values, bins);
}

TEST_CASE("a tree's splits are the best there are", "[random_forest]") {
  const auto x = test::random_matrix(80, 3, 1, 0.15);
  const BinnedMatrix bins(x, {});
  Random random(2);
  std::vector<double> values;
  std::vector<std::int32_t> labels;
  for (std::size_t r = 0; r < 80; ++r) {
    values.push_back((std::isnan(x(r, 0)) ? 1 : x(r, 0)) + 0.5 * random.normal());
    labels.push_back(values.back() < -0.5 ? 0 : values.back() < 0.5 ? 1 : 2);
  }
  std::vector<std::size_t> all(80);
  std::iota(all.begin(), all.end(), std::size_t{0});
  const auto regression = single_tree().fit_binned(bins, {.values = values}).forest;
  check_tree(*regression, regression->arrays().roots[0], all, x, {}, values, bins);
  const auto classification =
      single_tree().fit_binned(bins, {.task = Task::classification, .labels = labels, .classes = 3}).forest;
  check_tree(*classification, classification->arrays().roots[0], all, x, labels, values, bins);
}

TEST_CASE("categories are split as sets by the forest too", "[random_forest]") {
  Tensor<float> x({600, 1});
  std::vector<std::int32_t> labels;
  for (std::size_t r = 0; r < 600; ++r) {
    x(r, 0) = static_cast<float>(r % 10);
    labels.push_back((r % 10) % 3 == 0);
  }
  const std::vector<std::uint32_t> categories = {10};
  const auto forest =
      single_tree().fit_encoded(x, categories, {.task = Task::classification, .labels = labels, .classes = 2}).forest;
  CHECK(forest->arrays().feature.size() == 1);  // one set does it
  for (std::size_t r = 0; r < 10; ++r)
    CHECK(test::predict_row(*forest, x.row(r))[static_cast<std::size_t>(labels[r])] == 1.0f);
}

TEST_CASE("the forest has the same bytes at any thread count", "[random_forest][threads]") {
  const auto x = test::random_matrix(800, 6, 3, 0.1);
  std::vector<std::int32_t> labels;
  for (std::size_t r = 0; r < 800; ++r) labels.push_back(x(r, 0) > 0 ? 1 : x(r, 1) > 0 ? 2 : 0);
  const TreeTarget y{.task = Task::classification, .labels = labels, .classes = 3};
  std::vector<RandomForestFit> fits;
  for (int threads : {1, 2, 4}) {
    Arena arena(threads);
    fits.push_back(RandomForest{{.trees = 12, .seed = 3, .arena = &arena}}.fit_encoded(x, {}, y));
    CHECK(test::bytes_of(*fits.back().forest) == test::bytes_of(*fits[0].forest));
    CHECK(fits.back().oob_counts == fits[0].oob_counts);
  }
  CHECK(test::bytes_of(*RandomForest{{.trees = 12, .seed = 4}}.fit_encoded(x, {}, y).forest) !=
        test::bytes_of(*fits[0].forest));
}

TEST_CASE("out-of-bag results are those of the trees that did not see the row", "[random_forest]") {
  const auto x = test::random_matrix(300, 4, 5);
  std::vector<std::int32_t> labels;
  Random random(6);
  for (std::size_t r = 0; r < 300; ++r) labels.push_back(x(r, 0) + 0.5 * random.normal() > 0);
  labels[7] = -1;
  const TreeTarget y{.task = Task::classification, .labels = labels, .classes = 2};
  std::vector<std::uint32_t> rows;
  for (std::uint32_t r = 0; r < 250; ++r) rows.push_back(r);
  const BinnedMatrix bins(x, {});
  constexpr int trees = 60;
  const RandomForest forest{{.trees = trees, .seed = 8}};
  const auto fit = forest.fit_binned(bins, y, rows);
  REQUIRE(fit.oob_counts.size() == 300);
  double share = 0;
  for (std::size_t r = 0; r < 300; ++r) {
    if (r >= 250 || r == 7) {
      CHECK(fit.oob_counts[r] == trees);  // never in a bag
    } else {
      share += fit.oob_counts[r] / static_cast<double>(trees) / 249;
    }
    CHECK(fit.oob_proba(r, 0) + fit.oob_proba(r, 1) == Approx(1));
  }
  CHECK(share == Approx(std::exp(-1)).margin(0.02));  // (1 - 1/n)^n
  CHECK(std::isnan(fit.oob_correct[7]));
  // A row that no tree saw: the whole forest's answer.
  for (std::size_t r = 250; r < 300; ++r)
    CHECK(fit.oob_proba(r, 1) == Approx(test::predict_row(*fit.forest, x.row(r))[1]).margin(1e-6));
  // Honest: about as good on its own rows as on the others, and worse than what the trees learned by heart.
  double seen = 0, unseen = 0, heart = 0;
  for (std::size_t r = 0; r < 250; ++r)
    if (r != 7) {
      seen += (fit.oob_proba(r, 1) > 0.5f) == (labels[r] == 1);
      heart += (test::predict_row(*fit.forest, x.row(r))[1] > 0.5f) == (labels[r] == 1);
    }
  for (std::size_t r = 250; r < 300; ++r) unseen += (fit.oob_proba(r, 1) > 0.5f) == (labels[r] == 1);
  CHECK(heart / 249 > 0.98);
  CHECK(seen / 249 < 0.93);
  CHECK(seen / 249 == Approx(unseen / 50).margin(0.12));
  // Mislabelled rows stand out in Data-OOB.
  std::vector<std::int32_t> poisoned = labels;
  for (std::size_t r = 0; r < 250; r += 10) poisoned[r] = 1 - poisoned[r];
  const auto suspicious =
      forest.fit_binned(bins, {.task = Task::classification, .labels = poisoned, .classes = 2}, rows);
  double flipped = 0, kept = 0;
  for (std::size_t r = 0; r < 250; ++r)
    if (r != 7) (r % 10 == 0 ? flipped : kept) += suspicious.oob_correct[r];
  CHECK(flipped / 25 < 0.35);
  CHECK(kept / 224 > 0.7);
  // Not asked for, or no bootstrap: nothing to say.
  CHECK(forest.fit_binned(bins, y, rows, false).oob_counts.empty());
  const auto none = RandomForest{{.trees = 3, .bootstrap = false}}.fit_binned(bins, y, rows);
  CHECK(none.oob_counts[0] == 0);
  CHECK(std::isnan(none.oob_proba(0, 0)));
}

TEST_CASE("a forest weight of zero removes the row", "[random_forest]") {
  const auto x = test::random_matrix(200, 3, 9);
  std::vector<double> values, weights;
  for (std::size_t r = 0; r < 200; ++r) {
    weights.push_back(r % 2);
    values.push_back(r % 2 ? x(r, 0) : 1000.0);
  }
  const auto forest = RandomForest{{.trees = 20}}.fit_encoded(x, {}, {.values = values, .weights = weights}).forest;
  for (std::size_t r = 0; r < 200; ++r) CHECK(test::predict_row(*forest, x.row(r))[0] < 10);
  // Weights move the mean of a leaf.
  const Tensor<float> same({4, 1});
  const std::vector<double> y = {0, 0, 1, 1}, w = {1, 1, 1, 5};
  const auto stump = single_tree().fit_encoded(same, {}, {.values = y, .weights = w}).forest;
  CHECK(test::predict_row(*stump, same.row(0))[0] == Approx(0.75));
}

TEST_CASE("the forest's limits hold", "[random_forest]") {
  const auto x = test::random_matrix(500, 4, 10);
  std::vector<double> values;
  for (std::size_t r = 0; r < 500; ++r) values.push_back(x(r, 0) * x(r, 1));
  CHECK(RandomForest{{.trees = 5, .max_depth = 3}}.fit_encoded(x, {}, {.values = values}).forest->leaves() <= 40);
  const auto forest =
      RandomForest{{.trees = 5, .min_leaf_rows = 10, .bootstrap = false}}.fit_encoded(x, {}, {.values = values}).forest;
  std::vector<std::uint32_t> leaf(5);
  std::vector<std::size_t> rows(forest->leaves());
  for (std::size_t r = 0; r < 500; ++r) {
    forest->leaf_ids(x.row(r), leaf);
    for (const auto l : leaf) ++rows[l];
  }
  for (const auto count : rows) CHECK(count >= 10);
}

TEST_CASE("the best splits come first if leaves are few", "[random_forest]") {
  const auto x = test::random_matrix(500, 4, 12);
  std::vector<double> values;
  for (std::size_t r = 0; r < 500; ++r) values.push_back(x(r, 0) * x(r, 1));
  auto few = single_tree();
  few.options.max_leaves = 8;
  const auto full = single_tree().fit_encoded(x, {}, {.values = values}).forest;
  const auto forest = few.fit_encoded(x, {}, {.values = values}).forest;
  CHECK(forest->leaves() == 8);
  // Splits do not depend on the order: the seven that lowered the impurity most among those that could be reached.
  std::vector<std::pair<float, std::int32_t>> frontier{{full->arrays().gain[0], 0}};
  std::multiset<float> expected, found(forest->arrays().gain.begin(), forest->arrays().gain.end());
  REQUIRE(full->arrays().roots[0] == 0);
  while (expected.size() < 7) {
    const auto best = std::max_element(frontier.begin(), frontier.end());
    const auto node = static_cast<std::size_t>(best->second);
    expected.insert(best->first);
    frontier.erase(best);
    for (const auto child : {full->arrays().left[node], full->arrays().right[node]})
      if (child >= 0) frontier.emplace_back(full->arrays().gain[static_cast<std::size_t>(child)], child);
  }
  CHECK(found == expected);
  // A least gain leaves out exactly the splits below it.
  auto large = single_tree();
  large.options.min_split_gain = 5;
  const auto pruned = large.fit_encoded(x, {}, {.values = values}).forest;
  CHECK(pruned->leaves() > 1);
  CHECK(pruned->leaves() < full->leaves());
  for (const float gain : pruned->arrays().gain) CHECK(gain >= 5);
}

TEST_CASE("class weights are weights of the rows of the class", "[random_forest]") {
  const auto x = test::random_matrix(300, 3, 13);
  std::vector<std::int32_t> labels;
  std::vector<double> weights;
  Random random(14);
  for (std::size_t r = 0; r < 300; ++r) {
    labels.push_back(x(r, 0) + random.normal() > 1);
    weights.push_back(labels[r] ? 4 : 0.5);
  }
  RandomForest forest{{.trees = 5}};
  TreeTarget y{.task = Task::classification, .labels = labels, .classes = 2};
  y.weights = weights;
  const auto by_rows = forest.fit_encoded(x, {}, y).forest;
  y.weights = {};
  forest.options.class_weights = {0.5, 4};
  CHECK(test::bytes_of(*forest.fit_encoded(x, {}, y).forest) == test::bytes_of(*by_rows));
  forest.options.class_weights = {1};
  CHECK_THROWS_WITH(forest.fit_encoded(x, {}, y), Catch::Contains("1 class_weights for 2 classes"));
  // Whole weights of one are counted in whole numbers: the same trees.
  y.weights = {};
  forest.options.class_weights = {};
  const auto counted = forest.fit_encoded(x, {}, y).forest;
  const std::vector<double> ones(300, 1.0);
  y.weights = ones;
  CHECK(test::bytes_of(*forest.fit_encoded(x, {}, y).forest) == test::bytes_of(*counted));
}

TEST_CASE("forest options outside their range are refused by name", "[random_forest]") {
  const auto x = test::random_matrix(20, 2, 11);
  const std::vector<double> values(20, 1.0);
  const auto refused = [&](RandomForestOptions options, const std::string& message) {
    CHECK_THROWS_WITH(RandomForest{options}.fit_encoded(x, {}, {.values = values}), Catch::Contains(message));
  };
  refused({.trees = -3}, "RandomForest: trees is -3");
  refused({.max_depth = -1}, "RandomForest: max_depth is -1");
  refused({.min_leaf_rows = 0}, "RandomForest: min_leaf_rows is 0");
  refused({.max_features = 1.5}, "RandomForest: max_features is 1.5");
  refused({.max_leaves = 1}, "RandomForest: max_leaves is 1");
  refused({.min_split_gain = -1}, "RandomForest: min_split_gain is -1");
  refused({.max_bins = 1}, "RandomForest: max_bins is 1");
  const Dataset data = Dataset::from_matrix(x, values).seal();
  CHECK_THROWS_AS(RandomForest{}.fit(data), Error);
}

TEST_CASE("spambase as good as scikit-learn's random forest", "[random_forest]") {
  REDOUBT_NEED_DATA(path, "uci_arff/spambase.arff");
  const Dataset data = read_arff(path);
  test::Quality mean;
  for (std::uint64_t split = 0; split < 5; ++split) {
    const auto [train, holdout] = test::golden_split(data, split);
    const Model model = RandomForest{{.seed = split}}.fit(train);
    CHECK(model.info().algorithm == "random_forest");
    const auto q = test::quality(model, holdout);
    mean.roc_auc += q.roc_auc / 5;
    mean.accuracy += q.accuracy / 5;
  }
  const auto auc = test::golden("spambase", "random_forest", "roc_auc");
  const auto accuracy = test::golden("spambase", "random_forest", "accuracy");
  INFO("roc_auc " << mean.roc_auc << ", accuracy " << mean.accuracy);
  CHECK(mean.roc_auc >= auc.mean - 2 * auc.error());
  CHECK(mean.accuracy >= accuracy.mean - 2 * accuracy.error());
}

TEST_CASE("california housing as good as scikit-learn's random forest", "[random_forest]") {
  REDOUBT_NEED_DATA(path, "uci_arff/cal.housing.arff");
  const Dataset data = read_arff(path);
  double mean = 0;
  for (std::uint64_t split = 0; split < 2; ++split) {
    const auto [train, holdout] = test::golden_split(data, split);
    const auto p = RandomForest{{.seed = split}}.fit(train).predict_proba(holdout);
    const std::vector<double> predicted(p.flat().begin(), p.flat().end());
    mean += rmse(holdout.targets(), predicted) / 100000 / 2;
  }
  const auto golden = test::golden("cal.housing", "random_forest", "rmse");
  INFO("rmse " << mean);
  CHECK(mean <= golden.mean + 2 * golden.deviation / std::sqrt(2));
}

TEST_CASE("adult as good as scikit-learn's random forest", "[random_forest][slow]") {
  REDOUBT_NEED_DATA(train_path, "adult_keele_modified/adult.data");
  REDOUBT_NEED_DATA(test_path, "adult_keele_modified/adult.test");
  const Dataset all = read_csv(train_path, {.target = "income"});
  const Dataset holdout = read_csv(test_path, {.target = "income", .target_suffix = "."});
  const Dataset train = test::golden_split(all, 0).first;
  const auto q = test::quality(RandomForest{{.min_leaf_rows = 5}}.fit(train), holdout);
  const auto auc = test::golden("adult", "random_forest", "roc_auc");
  const auto accuracy = test::golden("adult", "random_forest", "accuracy");
  INFO("roc_auc " << q.roc_auc << ", accuracy " << q.accuracy);
  CHECK(q.roc_auc >= auc.mean - 2 * auc.deviation);
  CHECK(q.accuracy >= accuracy.mean - 2 * accuracy.deviation);
}

TEST_CASE("optdigits (10 classes) as good as scikit-learn's random forest", "[random_forest]") {
  REDOUBT_NEED_DATA(path, "uci_arff/optdigits.arff");
  const Dataset data = read_arff(path);
  const auto golden = test::golden("optdigits", "random_forest", "accuracy");
  double mean = 0;
  for (std::uint64_t split = 0; split < 5; ++split) {
    const auto [train, holdout] = test::golden_split(data, split);
    mean += test::quality(RandomForest{{.seed = split}}.fit(train), holdout).accuracy / 5;
  }
  INFO("accuracy " << mean);
  CHECK(mean >= golden.mean - 2 * golden.error());
}

}  // namespace
}  // namespace redoubt
