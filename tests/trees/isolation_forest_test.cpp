#include "redoubt/trees/isolation_forest.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "redoubt/data/npy.hpp"
#include "trees/support.hpp"

namespace redoubt {
namespace {

using test::not_a_number;

TEST_CASE("an isolated point has the highest score", "[isolation_forest]") {
  auto x = test::random_matrix(500, 4, 1);
  for (float& v : x.row(17)) v = 8;
  const auto forest = IsolationForest{}.fit_encoded(x);
  CHECK(forest->shape().link == ForestLink::isolation);
  const float outlier = test::predict_row(*forest, x.row(17))[0];
  CHECK(outlier > 0.7f);
  double sum = 0;
  for (std::size_t r = 0; r < 500; ++r) {
    const float score = test::predict_row(*forest, x.row(r))[0];
    CHECK(score > 0);
    CHECK(score < 1);
    if (r != 17) CHECK(score < outlier);
    sum += score;
  }
  CHECK(sum / 500 == Approx(0.47).margin(0.05));
}

TEST_CASE("leaf values are path lengths", "[isolation_forest]") {
  // Two distinct rows: one split parts them, path length 1, c(2) = 1, score 2^-1.
  Tensor<float> two({2, 1});
  two(1, 0) = 1;
  const auto forest = IsolationForest{{.trees = 10}}.fit_encoded(two);
  CHECK(forest->shape().normaliser == 1.0f);
  CHECK(forest->leaves() == 20);
  CHECK(test::predict_row(*forest, two.row(0))[0] == Approx(0.5));
  // Equal rows cannot be parted: the path is c(n) and the score is 2^-1 again.
  const Tensor<float> equal({100, 3});
  const auto flat = IsolationForest{{.trees = 5}}.fit_encoded(equal);
  CHECK(flat->leaves() == 5);
  CHECK(flat->shape().normaliser == Approx(2 * (std::log(99.0) + 0.5772156649) - 2 * 99.0 / 100));
  CHECK(test::predict_row(*flat, equal.row(0))[0] == Approx(0.5));
  // Depth is at most ceil(log2(256)) = 8, counts add up to the subsample at each root.
  const auto x = test::random_matrix(1000, 3, 2);
  const auto deep = IsolationForest{{.trees = 10}}.fit_encoded(x);
  const auto& a = deep->arrays();
  for (std::size_t t = 0; t < 10; ++t) {
    CHECK(a.cover[static_cast<std::size_t>(a.roots[t])] == 256);
    std::vector<std::pair<std::int32_t, int>> open{{a.roots[t], 0}};
    while (!open.empty()) {
      const auto [child, depth] = open.back();
      open.pop_back();
      CHECK(depth <= 8);
      if (child >= 0) {
        open.push_back({a.left[static_cast<std::size_t>(child)], depth + 1});
        open.push_back({a.right[static_cast<std::size_t>(child)], depth + 1});
      } else {
        CHECK(a.leaf_values[static_cast<std::size_t>(~child)] >= static_cast<float>(depth));
      }
    }
  }
}

TEST_CASE("gaps and categories can be isolated from", "[isolation_forest]") {
  Tensor<float> x({600, 3});
  Random random(3);
  for (std::size_t r = 0; r < 600; ++r) {
    x(r, 0) = random.uniform() < 0.1 ? not_a_number : static_cast<float>(random.normal());
    x(r, 1) = r == 5 ? 39.0f : static_cast<float>(random.below(2));  // a category that occurs once
    x(r, 2) = not_a_number;
  }
  const std::vector<std::uint32_t> categories = {0, 40, 0};
  const auto forest = IsolationForest{{.trees = 300}}.fit_encoded(x, categories);
  double sum = 0;
  for (std::size_t r = 0; r < 600; ++r) sum += test::predict_row(*forest, x.row(r))[0] / 600;
  CHECK(test::predict_row(*forest, x.row(5))[0] > sum + 0.03);
  const std::vector<float> unseen = {0, 1000, 3};
  CHECK(test::predict_row(*forest, unseen)[0] > 0);
}

TEST_CASE("isolation depends on the seed only", "[isolation_forest]") {
  const auto x = test::random_matrix(400, 3, 4);
  CHECK(test::bytes_of(*IsolationForest{{.seed = 1}}.fit_encoded(x)) ==
        test::bytes_of(*IsolationForest{{.seed = 1}}.fit_encoded(x)));
  CHECK(test::bytes_of(*IsolationForest{{.seed = 1}}.fit_encoded(x)) !=
        test::bytes_of(*IsolationForest{{.seed = 2}}.fit_encoded(x)));
}

TEST_CASE("isolation has the same bytes at any thread count", "[isolation_forest][threads]") {
  auto x = test::random_matrix(700, 4, 6, 0.1);
  for (std::size_t r = 0; r < 700; ++r) x(r, 3) = static_cast<float>(r % 7);
  const std::vector<std::uint32_t> categories = {0, 0, 0, 7};
  std::vector<std::vector<std::byte>> bytes;
  for (int threads : {1, 2, 4}) {
    Arena arena(threads);
    bytes.push_back(test::bytes_of(*IsolationForest{{.trees = 45, .arena = &arena}}.fit_encoded(x, categories)));
    CHECK(bytes.back() == bytes.front());
  }
}

TEST_CASE("isolation trees see a share of the columns, and rows with or without repetition", "[isolation_forest]") {
  const auto x = test::random_matrix(256, 8, 7);
  const auto forest = IsolationForest{{.trees = 40, .max_features = 0.25}}.fit_encoded(x);
  const auto& a = forest->arrays();
  std::vector<bool> any(8);
  for (std::size_t t = 0; t < 40; ++t) {
    const auto end = t + 1 < 40 ? static_cast<std::size_t>(a.roots[t + 1]) : a.feature.size();
    std::vector<bool> used(8);
    for (auto i = static_cast<std::size_t>(a.roots[t]); i < end; ++i) any[a.feature[i]] = used[a.feature[i]] = true;
    CHECK(std::count(used.begin(), used.end(), true) == 2);
  }
  CHECK(std::count(any.begin(), any.end(), true) == 8);
  // Of two rows both are drawn, which makes two leaves; with repetition half the trees draw one row twice.
  const auto two = test::random_matrix(2, 1, 8);
  CHECK(IsolationForest{{.trees = 200}}.fit_encoded(two)->leaves() == 400);
  const auto repeated = IsolationForest{{.trees = 200, .bootstrap = true}}.fit_encoded(two)->leaves();
  CHECK(repeated > 260);
  CHECK(repeated < 340);
}

TEST_CASE("the threshold of a contamination is a percentile", "[isolation_forest]") {
  std::vector<float> scores;
  for (int i = 100; i >= 0; --i) scores.push_back(static_cast<float>(i));
  CHECK(IsolationForest::threshold(scores, 0.1) == Approx(90));
  CHECK(IsolationForest::threshold(scores, 0.105) == Approx(89.5));
  CHECK(IsolationForest::threshold(std::vector<float>{3}, 0.5) == 3);
  CHECK_THROWS_WITH(IsolationForest::threshold(scores, 0.6), Catch::Contains("contamination is 0.6"));
  CHECK_THROWS_WITH(IsolationForest::threshold({}, 0.1), Catch::Contains("no scores"));
}

TEST_CASE("isolation refuses what it cannot use", "[isolation_forest]") {
  const auto x = test::random_matrix(10, 2, 5);
  const auto one = test::random_matrix(1, 2, 5);
  CHECK_THROWS_WITH(IsolationForest{{.trees = 0}}.fit_encoded(x), Catch::Contains("IsolationForest: trees is 0"));
  CHECK_THROWS_WITH(IsolationForest{{.subsample = 1}}.fit_encoded(x),
                    Catch::Contains("IsolationForest: subsample is 1"));
  CHECK_THROWS_WITH(IsolationForest{{.max_features = 0}}.fit_encoded(x),
                    Catch::Contains("IsolationForest: max_features is 0"));
  CHECK_THROWS_WITH(IsolationForest{}.fit_encoded(one), Catch::Contains("at least 2 rows"));
  const std::vector<std::uint32_t> wrong = {1};
  CHECK_THROWS_WITH(IsolationForest{}.fit_encoded(x, wrong), Catch::Contains("1 category counts"));
  CHECK_THROWS_AS(IsolationForest{}.fit(Dataset::from_matrix(x).seal()), Error);
}

void check_against_pyod(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    REDOUBT_NEED_DATA(path, "adbench/" + name + ".npz");
    const Npz file = Npz::read(path);
    const auto x = file.get<float>("X");
    const auto y = file.get<std::int32_t>("y");
    const std::vector<std::int32_t> truth(y.flat().begin(), y.flat().end());
    const Dataset data = Dataset::from_matrix(x);
    const int seeds = data.rows() > 20000 ? 5 : 10;
    double mean = 0;
    for (int seed = 0; seed < seeds; ++seed) {
      const Model model = IsolationForest{{.seed = static_cast<std::uint64_t>(seed)}}.fit(data);
      CHECK(model.info().algorithm == "isolation_forest");
      const auto scores = model.predict_proba(data);
      REQUIRE(scores.cols() == 1);
      mean += roc_auc(truth, std::vector<double>(scores.flat().begin(), scores.flat().end())) / seeds;
    }
    const auto golden = test::golden(name, "isolation_forest_pyod", "roc_auc", "forests");
    // The standard errors of both means, ours taken to be like theirs.
    const double tolerance = 2 * golden.deviation * std::sqrt(1.0 / seeds + 1.0 / golden.runs);
    INFO(name << ": " << mean << " against " << golden.mean << " +- " << tolerance);
    CHECK(std::abs(mean - golden.mean) < std::max(0.01, tolerance));
  }
}

TEST_CASE("ADBench sets as well as PyOD's isolation forest", "[isolation_forest]") {
  check_against_pyod({"4_breastw", "6_cardio", "12_fault", "18_Ionosphere", "25_musk", "28_pendigits", "31_satimage-2",
                      "38_thyroid", "44_Wilt"});
}

TEST_CASE("large ADBench sets as well as PyOD's isolation forest", "[isolation_forest][slow]") {
  check_against_pyod({"5_campaign", "10_cover", "32_shuttle"});
}

}  // namespace
}  // namespace redoubt
