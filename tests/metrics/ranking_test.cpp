#include "redoubt/metrics/ranking.hpp"

#include <array>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "metrics/golden_inputs.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"

using namespace redoubt;

namespace {

const test::GoldenInputs inputs;

/// The definition: every pair of a positive and a negative.
double pairwise_auc(std::span<const std::int32_t> truth, std::span<const double> score, std::span<const double> w) {
  double won = 0, pairs = 0;
  for (std::size_t i = 0; i < truth.size(); ++i)
    for (std::size_t j = 0; j < truth.size(); ++j) {
      if (truth[i] != 1 || truth[j] != 0) continue;
      won += w[i] * w[j] * (score[i] > score[j] ? 1.0 : score[i] == score[j] ? 0.5 : 0.0);
      pairs += w[i] * w[j];
    }
  return won / pairs;
}

}  // namespace

TEST_CASE("ROC and PR areas equal scikit-learn's to 1e-9", "[ranking]") {
  for (const bool weighted : {false, true}) {
    const std::span<const double> w = weighted ? std::span<const double>(inputs.weights) : std::span<const double>();
    const std::string tag = weighted ? ".weighted" : "";
    const auto golden = [&](const std::string& name) {
      return Approx(test::golden(name + tag)).margin(1e-9).epsilon(0);
    };
    CHECK(roc_auc(inputs.binary_truth, inputs.fine, w) == golden("roc_auc.fine"));
    CHECK(roc_auc(inputs.binary_truth, inputs.ties, w) == golden("roc_auc.ties"));
    CHECK(pr_auc(inputs.binary_truth, inputs.fine, w) == golden("pr_auc.fine"));
    CHECK(pr_auc(inputs.binary_truth, inputs.ties, w) == golden("pr_auc.ties"));
    CHECK(roc_auc(inputs.truth, MatrixView<const double>(inputs.probabilities), w) == golden("roc_auc.multi"));
    CHECK(pr_auc(inputs.truth, MatrixView<const double>(inputs.probabilities), w) == golden("pr_auc.multi"));
  }
}

TEST_CASE("the ROC area is the share of pairs in the right order", "[ranking]") {
  for (std::uint64_t round = 0; round < 50; ++round) {
    Random random(11, round);
    const std::size_t rows = 2 + random.below(60), levels = 1 + random.below(10);
    std::vector<std::int32_t> truth(rows);
    std::vector<double> score(rows), w(rows);
    for (std::size_t i = 0; i < rows; ++i) {
      truth[i] = i < 2 ? static_cast<std::int32_t>(i) : static_cast<std::int32_t>(random.below(2));
      score[i] = static_cast<double>(random.below(levels));
      w[i] = 0.5 + random.uniform();
    }
    CHECK(roc_auc(truth, score, w) == Approx(pairwise_auc(truth, score, w)).epsilon(1e-12));
    // The curve encloses the same area.
    const auto curve = roc_curve(truth, score, w);
    double area = 0;
    for (std::size_t i = 1; i < curve.size(); ++i)
      area += (curve[i].false_positive_rate - curve[i - 1].false_positive_rate) *
              (curve[i].true_positive_rate + curve[i - 1].true_positive_rate) / 2;
    CHECK(area == Approx(pairwise_auc(truth, score, w)).epsilon(1e-12));
  }
}

TEST_CASE("the ROC curve has the corners that a threshold can reach", "[ranking]") {
  const std::array<std::int32_t, 6> truth{0, 0, 1, 0, 1, 1};
  const std::array<double, 6> score{0.1, 0.4, 0.35, 0.4, 0.8, 0.9};
  const auto curve = roc_curve(truth, score);
  REQUIRE(curve.size() == 5);
  CHECK(curve[0] == RocPoint{0, 0, std::numeric_limits<double>::infinity()});
  CHECK(curve[1] == RocPoint{0, 2.0 / 3, 0.8});  // 0.9 lies on the line to it
  CHECK(curve[2] == RocPoint{2.0 / 3, 2.0 / 3, 0.4});
  CHECK(curve[3] == RocPoint{2.0 / 3, 1, 0.35});
  CHECK(curve[4] == RocPoint{1, 1, 0.1});
}

TEST_CASE("perfect, reversed and uninformative scores", "[ranking]") {
  const std::array<std::int32_t, 4> truth{0, 0, 1, 1};
  CHECK(roc_auc(truth, std::array{0.0, 0.1, 0.2, 0.3}) == 1.0);
  CHECK(roc_auc(truth, std::array{0.3, 0.2, 0.1, 0.0}) == 0.0);
  CHECK(roc_auc(truth, std::array{0.5, 0.5, 0.5, 0.5}) == 0.5);
  CHECK(pr_auc(truth, std::array{0.0, 0.1, 0.2, 0.3}) == 1.0);
  CHECK(pr_auc(truth, std::array{0.5, 0.5, 0.5, 0.5}) == 0.5);
  const double infinity = std::numeric_limits<double>::infinity();
  CHECK(roc_auc(truth, std::array{-infinity, 0.0, 0.0, infinity}) == 0.875);
}

TEST_CASE("one class alone has no ranking: NaN, and no curve", "[ranking]") {
  const std::array<std::int32_t, 3> negatives{0, 0, 0}, positives{1, 1, 1}, two_of_three{0, 1, 1};
  const std::array<double, 3> score{0.1, 0.2, 0.3};
  CHECK(std::isnan(roc_auc(negatives, score)));
  CHECK(std::isnan(roc_auc(positives, score)));
  CHECK(std::isnan(pr_auc(negatives, score)));
  CHECK(pr_auc(positives, score) == 1.0);
  CHECK(roc_curve(negatives, score).empty());
  CHECK(std::isnan(roc_auc(two_of_three, score, std::array{1.0, 0.0, 0.0})));  // the positives weigh nothing
  Tensor<double> three{3, 3};
  CHECK(std::isnan(roc_auc(two_of_three, MatrixView<const double>(three))));  // class 2 is absent
}

TEST_CASE("ranking metrics refuse what does not fit", "[ranking]") {
  const std::array<std::int32_t, 3> truth{0, 1, 1}, three{0, 1, 2};
  const std::array<double, 3> score{0.1, 0.2, 0.3}, nan_score{0.1, std::nan(""), 0.3};
  CHECK_THROWS_WITH(roc_auc(truth, std::array{0.1, 0.2}), "2 scores for 3 true values");
  CHECK_THROWS_WITH(roc_auc(truth, nan_score), "the score of row 1 is not a number");
  CHECK_THROWS_WITH(pr_auc(three, score), "the true class 2 of row 2 is not in 0..1");
  CHECK_THROWS_WITH(roc_curve(truth, score, std::array{1.0, -1.0, 1.0}), "the weight of row 1 is -1");
  CHECK_THROWS_AS(roc_auc(std::span<const std::int32_t>(), std::span<const double>()), Error);
}
