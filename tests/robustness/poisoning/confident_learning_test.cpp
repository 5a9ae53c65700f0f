#include "redoubt/robustness/poisoning/confident_learning.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <set>

#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/metrics/ranking.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

/// Body of a version-1 .npy file of 8-byte elements; the golden files are known to be such.
template <class T>
std::vector<T> npy_body(const std::string& path) {
  static_assert(sizeof(T) == 8);
  std::ifstream file(path, std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  REQUIRE(bytes.size() > 10);
  const std::size_t start = 10 + static_cast<unsigned char>(bytes[8]) + 256 * static_cast<unsigned char>(bytes[9]);
  std::vector<T> values((bytes.size() - start) / 8);
  std::memcpy(values.data(), bytes.data() + start, values.size() * 8);
  return values;
}

struct Golden {
  Tensor<double> probabilities{50000, 10};
  std::vector<std::int32_t> noisy, truth;
};

Golden golden(const std::string& probabilities_path) {
  const std::string stem = probabilities_path.substr(0, probabilities_path.find(".pred_probs"));
  Golden g;
  const auto values = npy_body<double>(probabilities_path);  // Fortran order
  REQUIRE(values.size() == 500000);
  for (std::size_t c = 0; c < 10; ++c)
    for (std::size_t r = 0; r < 50000; ++r) g.probabilities(r, c) = values[c * 50000 + r];
  for (auto label : npy_body<std::int64_t>(stem + ".noisy_labels.npy")) g.noisy.push_back(static_cast<int>(label));
  for (auto label : npy_body<std::int64_t>(stem + ".true_labels.npy")) g.truth.push_back(static_cast<int>(label));
  return g;
}

struct Figures {
  double auroc, average_precision, precision, recall;
  std::size_t flagged, off_diagonal;
};

Figures figures(const Golden& g) {
  const auto issues = confident_learning(MatrixView<const double>(g.probabilities), g.noisy);
  std::vector<std::int32_t> wrong;
  std::vector<double> score;
  double errors = 0, hits = 0;
  for (std::size_t r = 0; r < g.truth.size(); ++r) {
    wrong.push_back(g.truth[r] != g.noisy[r]);
    score.push_back(1 - issues.self_confidence[r]);
    errors += wrong.back();
  }
  for (std::uint32_t r : issues.flagged) hits += wrong[r];
  std::size_t off_diagonal = 0;
  for (std::size_t i = 0; i < 10; ++i)
    for (std::size_t j = 0; j < 10; ++j) off_diagonal += i == j ? 0 : issues.confident(i, j);
  return {roc_auc(wrong, score), pr_auc(wrong, score),  hits / static_cast<double>(issues.flagged.size()),
          hits / errors,         issues.flagged.size(), off_diagonal};
}

Dataset labelled(const std::vector<std::int32_t>& codes) {
  Column x{{"x", ColumnType::numeric, ColumnRole::feature, {}}, std::vector<double>(codes.size(), 1.0), {}, {}, {}};
  Column y{{"y", ColumnType::categorical, ColumnRole::target, {"no", "yes"}}, {}, codes, {}, {}};
  std::vector<RowId> ids;
  for (std::size_t r = 0; r < codes.size(); ++r) ids.push_back(100 + r);
  return Dataset({x, y}, ids);
}

}  // namespace

TEST_CASE("confident learning gives the published figures on CIFAR-10 with synthetic flips", "[confident_learning]") {
  REDOUBT_NEED_DATA(path, "golden/cleanlab_cifar10/synthetic20_resnet18.pred_probs.npy");
  const Figures f = figures(golden(path));
  CHECK(f.auroc == Approx(0.9969).margin(5e-5));
  CHECK(f.average_precision == Approx(0.9890).margin(5e-5));
  CHECK(f.off_diagonal == 9325);
  CHECK(f.flagged == 9323);  // what cleanlab 2.9 returns: two of their labels are the most probable class
  CHECK(f.precision == Approx(0.936).margin(5e-4));
  CHECK(f.recall == Approx(0.875).margin(5e-4));
}

TEST_CASE("confident learning gives the published figures on CIFAR-10 with human labels", "[confident_learning]") {
  REDOUBT_NEED_DATA(path, "golden/cleanlab_cifar10/aggregate_resnet18.pred_probs.npy");
  const Figures f = figures(golden(path));
  CHECK(f.auroc == Approx(0.9773).margin(5e-5));
  CHECK(f.average_precision == Approx(0.8747).margin(5e-5));
  CHECK(f.off_diagonal == 2035);
  CHECK(f.flagged == 2035);
  CHECK(f.precision == Approx(0.918).margin(5e-4));
  CHECK(f.recall == Approx(0.415).margin(5e-4));
}

TEST_CASE("thresholds, counts and flags of a case worked by hand", "[confident_learning]") {
  // Class 0: mean of 0.9, 0.8, 0.1 = 0.6. Class 1: mean of 0.7, 0.6 = 0.65.
  const Tensor<float> p = [] {
    Tensor<float> t({6, 2});
    const float zero[] = {0.9f, 0.8f, 0.1f, 0.3f, 0.4f, 0.05f};
    for (std::size_t r = 0; r < 6; ++r) t(r, 0) = zero[r], t(r, 1) = 1 - zero[r];
    return t;
  }();
  const std::vector<std::int32_t> labels{0, 0, 0, 1, 1, -1};
  const auto issues = confident_learning(MatrixView<const float>(p), labels);
  CHECK(issues.thresholds[0] == Approx(0.6));
  CHECK(issues.thresholds[1] == Approx(0.65));
  CHECK(issues.flagged == std::vector<std::uint32_t>{2});
  CHECK(issues.guess == std::vector<std::int32_t>{0, 0, 1, 1, -1, -1});
  CHECK(issues.confident(0, 0) == 2);
  CHECK(issues.confident(0, 1) == 1);
  CHECK(issues.confident(1, 1) == 1);
  CHECK(issues.confident(1, 0) == 0);
  CHECK(std::isnan(issues.self_confidence[5]));
}

TEST_CASE("a class without rows attracts nobody and no rows give no issues", "[confident_learning]") {
  Tensor<float> p({2, 3});
  p(0, 2) = 1;
  p(1, 0) = 1;
  const auto issues = confident_learning(MatrixView<const float>(p), std::vector<std::int32_t>{0, 0});
  CHECK(std::isnan(issues.thresholds[2]));
  CHECK(issues.flagged.empty());
  const Tensor<float> none({0, 3});
  CHECK(confident_learning(MatrixView<const float>(none), std::vector<std::int32_t>{}).flagged.empty());
}

TEST_CASE("sizes, labels and probabilities are checked", "[confident_learning]") {
  Tensor<float> p({2, 2});
  const MatrixView<const float> view(p);
  CHECK_THROWS_WITH(confident_learning(view, std::vector<std::int32_t>{0}),
                    Catch::Contains("2 x 2") && Catch::Contains("1 labels"));
  CHECK_THROWS_WITH(confident_learning(view, std::vector<std::int32_t>{0, 2}), Catch::Contains("row 1 has label 2"));
  p(1, 0) = NAN;
  CHECK_THROWS_WITH(confident_learning(view, std::vector<std::int32_t>{0, 1}), Catch::Contains("class 0 in row 1"));
}

TEST_CASE("the check names stable row ids and streams", "[confident_learning]") {
  Random random(1);
  std::vector<std::int32_t> labels;
  Tensor<float> p({200, 2});
  std::set<RowId> planted;
  for (std::size_t r = 0; r < 200; ++r) {
    const int truth = static_cast<int>(random.below(2));
    const bool flip = r % 20 == 0;
    labels.push_back(flip ? 1 - truth : truth);
    if (flip) planted.insert(100 + r);
    p(r, truth) = static_cast<float>(random.uniform(0.85, 1.0));
    p(r, 1 - truth) = 1 - p(r, truth);
  }
  const Dataset data = labelled(labels);
  Batch batch;
  batch.data = &data;
  batch.probabilities = p;
  const Verdict whole = run_check(ConfidentLearning{}, batch);
  CHECK(whole.outcome == Outcome::warn);
  std::set<RowId> found;
  for (const Finding& f : whole.findings) found.insert(f.row);
  CHECK(found == planted);
  CHECK(whole.score == Approx(planted.size() / 200.0));

  std::vector<std::size_t> first_rows, second_rows;
  for (std::size_t r = 0; r < 200; ++r) (r < 77 ? first_rows : second_rows).push_back(r);
  const Dataset first = data.take(first_rows), second = data.take(second_rows);
  ConfidentLearning a, b;
  Batch part;
  part.data = &first;
  part.probabilities = MatrixView<const float>(p).slice(0, 77);
  a.update(part);
  part.data = &second;
  part.probabilities = MatrixView<const float>(p).slice(77, 200);
  b.update(part);
  a.merge(b);
  CHECK(a.finish() == whole);
}

TEST_CASE("confident learning abstains without probabilities, labels or rows", "[confident_learning]") {
  const Dataset data = labelled({0, 1, 0});
  Batch batch;
  batch.data = &data;
  CHECK(run_check(ConfidentLearning{}, batch).outcome == Outcome::abstain);
  CHECK_THAT(run_check(ConfidentLearning{}, batch).summary, Catch::Contains("probabilities"));
  const Dataset none;
  batch.data = &none;
  CHECK(run_check(ConfidentLearning{}, batch).outcome == Outcome::abstain);
  CHECK(ConfidentLearning{}.finish().outcome == Outcome::abstain);
}
