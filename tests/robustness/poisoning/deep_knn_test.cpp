#include "redoubt/robustness/poisoning/deep_knn.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"

using namespace redoubt;

namespace {

struct Rows {
  Tensor<float> x;
  std::vector<std::int32_t> labels;
};

/// Three clouds, far apart; every 20th row has the label of the next one. The second column is noise of large values.
Rows clouds() {
  Random random(8);
  Rows rows{Tensor<float>({300, 3}), std::vector<std::int32_t>(300)};
  for (std::size_t r = 0; r < 300; ++r) {
    const auto cloud = static_cast<std::int32_t>(r % 3);
    rows.x(r, 0) = static_cast<float>(10 * (cloud == 1) + random.normal());
    rows.x(r, 1) = 1.0f;
    rows.x(r, 2) = static_cast<float>(10 * (cloud == 2) + random.normal());
    rows.labels[r] = r % 20 == 0 ? (cloud + 1) % 3 : cloud;
  }
  rows.x(7, 0) = std::numeric_limits<float>::quiet_NaN();
  return rows;
}

Batch batch_of(const Dataset& data, MatrixView<const float> x) {
  Batch batch;
  batch.data = &data;
  batch.features = x;
  return batch;
}

}  // namespace

TEST_CASE("rows among another class are named, and no others", "[deep_knn]") {
  const auto rows = clouds();
  const MatrixView<const float> x(rows.x);
  const auto data = Dataset::from_matrix(x, std::span(rows.labels));
  for (const bool scaled : {true, false}) {
    const auto verdict = run_check(DeepKnn{.scaled = scaled}, batch_of(data, x));
    CHECK(verdict.outcome == Outcome::warn);
    std::size_t planted = 0;
    for (const auto& f : verdict.findings) planted += f.row % 20 == 0;
    CHECK(planted == 15);
    CHECK(verdict.findings.size() <= 16);  // row 7 lies anywhere
    CHECK_THAT(verdict.findings[0].evidence, Catch::Contains("of the 20 nearest rows are"));
  }

  DeepKnn a, b;
  std::vector<std::size_t> head, tail;
  for (std::size_t r = 0; r < 300; ++r) (r < 120 ? head : tail).push_back(r);
  const Dataset first = data.take(head), second = data.take(tail);
  a.update(batch_of(first, x.slice(0, 120)));
  b.update(batch_of(second, x.slice(120, 300)));
  a.merge(b);
  CHECK(a.finish() == run_check(DeepKnn{}, batch_of(data, x)));
}

TEST_CASE("a label that ties with the most frequent one is not named, few rows abstain", "[deep_knn]") {
  // On a line: rows alternate, so two neighbours on the inside are both of the other class, and k = 4 ties.
  Tensor<float> x({9, 1});
  std::vector<std::int32_t> labels(9);
  for (std::size_t r = 0; r < 9; ++r) x(r, 0) = static_cast<float>(r), labels[r] = static_cast<std::int32_t>(r % 2);
  const auto data = Dataset::from_matrix(MatrixView<const float>(x), std::span(labels));
  for (const auto& f : run_check(DeepKnn{.k = 4}, batch_of(data, x)).findings) CHECK((f.row < 2 || f.row > 6));
  CHECK(run_check(DeepKnn{.k = 2}, batch_of(data, x)).findings.size() >= 7);

  const auto few = MatrixView<const float>(x).slice(0, 4);
  const auto small = Dataset::from_matrix(few, std::span(labels).first(4));
  CHECK(run_check(DeepKnn{}, batch_of(small, few)).outcome == Outcome::abstain);
  CHECK_THROWS_WITH(run_check(DeepKnn{.k = 0}, batch_of(data, x)), Catch::Contains("k is 0"));
}
