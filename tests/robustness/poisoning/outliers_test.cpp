#include "redoubt/robustness/poisoning/outliers.hpp"

#include <catch2/catch.hpp>
#include <limits>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"

using namespace redoubt;

namespace {

/// A round cloud, of which the first five rows lie far out.
Tensor<float> cloud(std::size_t rows) {
  Random random(2);
  Tensor<float> x({rows, 4});
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < 4; ++c)
      x(r, c) = static_cast<float>(random.normal() + (r < 5 ? (r % 2 ? 12 : -12) : 0));
  return x;
}

}  // namespace

TEST_CASE("far rows are outliers, the cloud is not", "[outliers]") {
  const auto x = cloud(600);
  const Dataset data = Dataset::from_matrix(MatrixView<const float>(x));
  Batch batch;
  batch.data = &data;
  batch.features = x;
  const Verdict verdict = run_check(Outliers{}, batch);
  CHECK(verdict.outcome == Outcome::warn);
  REQUIRE(verdict.findings.size() >= 5);
  CHECK(verdict.findings.size() <= 12);
  for (std::size_t i = 0; i < 5; ++i) CHECK(verdict.findings[i].row < 5);
  CHECK(run_check(Outliers{}, batch) == verdict);

  Outliers a, b;
  Batch part;
  const Dataset first = data.take(std::vector<std::size_t>{0, 1, 2});
  std::vector<std::size_t> rest;
  for (std::size_t r = 3; r < 600; ++r) rest.push_back(r);
  const Dataset second = data.take(rest);
  part.data = &first;
  part.features = MatrixView<const float>(x).slice(0, 3);
  a.update(part);
  part.data = &second;
  part.features = MatrixView<const float>(x).slice(3, 600);
  b.update(part);
  a.merge(b);
  CHECK(a.finish() == verdict);
}

TEST_CASE("other methods name the far rows, too, and missing values do not hinder them", "[outliers]") {
  auto x = cloud(600);
  x(100, 2) = std::numeric_limits<float>::quiet_NaN();
  const Dataset data = Dataset::from_matrix(MatrixView<const float>(x));
  Batch batch;
  batch.data = &data;
  batch.features = x;
  for (const auto method : {OutlierMethod::ecod, OutlierMethod::hbos, OutlierMethod::knn, OutlierMethod::lof,
                            OutlierMethod::robust_distance}) {
    CAPTURE(to_string(method));
    const Verdict verdict = run_check(Outliers{.method = method}, batch);
    REQUIRE(verdict.findings.size() >= 5);
    CHECK(verdict.findings.size() <= 30);
    for (std::size_t i = 0; i < 5; ++i) CHECK(verdict.findings[i].row < 5);
    CHECK_THAT(verdict.findings[0].evidence, Catch::StartsWith(to_string(method)));
  }
}

TEST_CASE("outliers abstain with few rows or no features, and check their options", "[outliers]") {
  const auto x = cloud(10);
  const Dataset data = Dataset::from_matrix(MatrixView<const float>(x));
  Batch batch;
  batch.data = &data;
  CHECK_THAT(run_check(Outliers{}, batch).summary, Catch::Contains("features"));
  batch.features = x;
  CHECK(run_check(Outliers{}, batch).outcome == Outcome::abstain);
  CHECK_THROWS_WITH(run_check(Outliers{.cut = -1}, batch), Catch::Contains("cut"));
}
