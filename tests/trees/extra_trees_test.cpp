#include "redoubt/trees/extra_trees.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/trees/binning.hpp"
#include "trees/support.hpp"

namespace redoubt {
namespace {

using test::not_a_number;

TEST_CASE("a single extra tree learns its rows by heart", "[extra_trees]") {
  const auto x = test::random_matrix(400, 5, 1, 0.1);
  std::vector<double> values;
  std::vector<std::int32_t> labels;
  Random random(2);
  for (std::size_t r = 0; r < 400; ++r) {
    values.push_back(random.normal());
    labels.push_back(static_cast<std::int32_t>(random.below(4)));
  }
  const ExtraTrees one{{.trees = 1}};
  const auto regression = one.fit_encoded(x, {}, {.values = values}).forest;
  const auto classes = one.fit_encoded(x, {}, {.task = Task::classification, .labels = labels, .classes = 4}).forest;
  for (std::size_t r = 0; r < 400; ++r) {
    CHECK(test::predict_row(*regression, x.row(r))[0] == Approx(values[r]).margin(1e-5));
    CHECK(test::predict_row(*classes, x.row(r))[static_cast<std::size_t>(labels[r])] == 1.0f);
  }
}

TEST_CASE("cuts are random: every border of a column occurs, the best is taken of as many as columns",
          "[extra_trees]") {
  // One column of eight values, the label splits them in the middle.
  Tensor<float> x({800, 1});
  std::vector<std::int32_t> labels;
  for (std::size_t r = 0; r < 800; ++r) {
    x(r, 0) = static_cast<float>(r % 8);
    labels.push_back(r % 8 >= 4);
  }
  const TreeTarget y{.task = Task::classification, .labels = labels, .classes = 2};
  const auto forest = ExtraTrees{{.trees = 700}}.fit_encoded(x, {}, y).forest;
  std::vector<int> root(8);
  const auto& a = forest->arrays();
  for (const auto r : a.roots) ++root[static_cast<std::size_t>(a.threshold[static_cast<std::size_t>(r)])];
  for (std::size_t b = 0; b < 7; ++b) CHECK(root[b] == Approx(100).margin(45));
  // The same column five times: the middle is the root as often as one of five draws hits it.
  Tensor<float> five({800, 5});
  for (std::size_t r = 0; r < 800; ++r)
    for (std::size_t c = 0; c < 5; ++c) five(r, c) = x(r, 0);
  const auto wide = ExtraTrees{{.trees = 700, .max_features = 1}}.fit_encoded(five, {}, y).forest;
  int middle = 0;
  for (const auto r : wide->arrays().roots)
    middle += wide->arrays().threshold[static_cast<std::size_t>(r)] < 3.9f &&
              wide->arrays().threshold[static_cast<std::size_t>(r)] >= 3.0f;
  CHECK(middle / 700.0 == Approx(1 - std::pow(6 / 7.0, 5)).margin(0.07));
}

TEST_CASE("gaps and categories are split by extra trees", "[extra_trees]") {
  Tensor<float> x({600, 2});
  std::vector<std::int32_t> labels;
  for (std::size_t r = 0; r < 600; ++r) {
    x(r, 0) = r % 2 ? not_a_number : 1.0f;
    x(r, 1) = static_cast<float>(r / 2 % 10);
    labels.push_back(r % 2 != 0 && (r / 2 % 10) % 3 == 0);
  }
  const std::vector<std::uint32_t> categories = {0, 10};
  const TreeTarget y{.task = Task::classification, .labels = labels, .classes = 2};
  const auto forest = ExtraTrees{{.trees = 20}}.fit_encoded(x, categories, y).forest;
  for (std::size_t r = 0; r < 600; ++r)
    CHECK(test::predict_row(*forest, x.row(r))[static_cast<std::size_t>(labels[r])] == 1.0f);
}

TEST_CASE("extra trees have the same bytes at any thread count", "[extra_trees][threads]") {
  const auto x = test::random_matrix(600, 6, 3, 0.1);
  std::vector<std::int32_t> labels;
  std::vector<double> values;
  for (std::size_t r = 0; r < 600; ++r) {
    labels.push_back(x(r, 0) > 0 ? 1 : x(r, 1) > 0 ? 2 : 0);
    values.push_back(std::isnan(x(r, 2)) ? 0 : x(r, 2));
  }
  for (const TreeTarget& y :
       {TreeTarget{.task = Task::classification, .labels = labels, .classes = 3}, TreeTarget{.values = values}}) {
    std::vector<std::vector<std::byte>> bytes;
    for (int threads : {1, 2, 4}) {
      Arena arena(threads);
      bytes.push_back(
          test::bytes_of(*ExtraTrees{{.trees = 12, .seed = 3, .arena = &arena}}.fit_encoded(x, {}, y).forest));
      CHECK(bytes.back() == bytes.front());
    }
    CHECK(test::bytes_of(*ExtraTrees{{.trees = 12, .seed = 4}}.fit_encoded(x, {}, y).forest) != bytes[0]);
  }
}

TEST_CASE("extra trees: limits and weights", "[extra_trees]") {
  const auto x = test::random_matrix(500, 4, 10);
  std::vector<double> values, weights;
  for (std::size_t r = 0; r < 500; ++r) {
    weights.push_back(r % 2);
    values.push_back(r % 2 ? x(r, 0) * x(r, 1) : 1000.0);
  }
  const TreeTarget y{.values = values, .weights = weights};
  const auto forest = ExtraTrees{{.trees = 5, .max_leaves = 9, .min_leaf_rows = 10}}.fit_encoded(x, {}, y).forest;
  CHECK(forest->leaves() == 45);
  std::vector<std::uint32_t> leaf(5);
  std::vector<std::size_t> rows(forest->leaves());
  for (std::size_t r = 1; r < 500; r += 2) {
    forest->leaf_ids(x.row(r), leaf);
    for (const auto l : leaf) ++rows[l];
    CHECK(test::predict_row(*forest, x.row(r))[0] < 10);
  }
  for (const auto count : rows) CHECK(count >= 10);
  CHECK_THROWS_WITH((ExtraTrees{{.trees = 0}}.fit_encoded(x, {}, y)), Catch::Contains("ExtraTrees: trees is 0"));
  CHECK_THROWS_WITH((ExtraTrees{{.max_leaves = 1}}.fit_encoded(x, {}, y)),
                    Catch::Contains("ExtraTrees: max_leaves is 1"));
}

TEST_CASE("as good as scikit-learn's extra trees", "[extra_trees]") {
  for (const std::string name : {"spambase", "optdigits", "cal.housing"}) {
    REDOUBT_NEED_DATA(path, "uci_arff/" + name + ".arff");
    const Dataset data = read_arff(path);
    const bool values = data.task() == Task::regression;
    const int splits = values ? 2 : 5;
    double accuracy = 0, auc = 0, error = 0;
    for (int split = 0; split < splits; ++split) {
      const auto seed = static_cast<std::uint64_t>(split);
      const auto [train, holdout] = test::golden_split(data, seed);
      const Model model = ExtraTrees{{.seed = seed}}.fit(train);
      CHECK(model.info().algorithm == "extra_trees");
      if (values) {
        const auto p = model.predict_proba(holdout);
        error += rmse(holdout.targets(), std::vector<double>(p.flat().begin(), p.flat().end())) / 100000 / splits;
      } else {
        const auto q = test::quality(model, holdout);
        accuracy += q.accuracy / splits;
        auc += q.roc_auc / splits;
      }
    }
    INFO(name << ": accuracy " << accuracy << ", roc_auc " << auc << ", rmse " << error);
    if (values) {
      const auto golden = test::golden(name, "extra_trees", "rmse", "forests");
      CHECK(error <= golden.mean + 2 * golden.deviation / std::sqrt(splits));
      continue;
    }
    const auto golden = test::golden(name, "extra_trees", "accuracy", "forests");
    CHECK(accuracy >= golden.mean - 2 * golden.error());
    if (name != "spambase") continue;
    const auto area = test::golden(name, "extra_trees", "roc_auc", "forests");
    CHECK(auc >= area.mean - 2 * area.error());
  }
}

}  // namespace
}  // namespace redoubt
