#include "redoubt/robustness/poisoning/data_oob.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/trees/random_forest.hpp"

using namespace redoubt;

namespace {

struct Flipped {
  Tensor<float> x;
  std::vector<std::int32_t> labels;
};

/// Three classes in three columns, the middle one around the origin; missing cells; every 8th row of 360 has the next
/// class for its label.
Flipped mislabelled() {
  Random random(2);
  Flipped out{Tensor<float>({360, 3}), std::vector<std::int32_t>(360)};
  for (std::size_t r = 0; r < 360; ++r) {
    const int side = static_cast<int>(r % 3);
    for (std::size_t c = 0; c < 3; ++c) out.x(r, c) = static_cast<float>(random.normal() + 4 * (side - 1));
    if (r % 11 == 0) out.x(r, r % 2) = NAN;
    out.labels[r] = r % 8 == 0 ? (side + 1) % 3 : side;
  }
  return out;
}

Batch batch_of(const Dataset& data, const Tensor<float>& x, std::size_t begin, std::size_t end) {
  Batch batch;
  batch.data = &data;
  batch.features = MatrixView<const float>(x).slice(begin, end);
  return batch;
}

}  // namespace

TEST_CASE("Data-OOB names rows whose label the trees that did not see them deny", "[data_oob]") {
  const auto rows = mislabelled();
  const auto data = Dataset::from_matrix(MatrixView<const float>(rows.x), std::span(rows.labels));
  const auto batch = batch_of(data, rows.x, 0, 360);
  const auto verdict = run_check(DataOob{}, batch);
  CHECK(verdict.outcome == Outcome::warn);
  std::size_t found = 0;
  for (const auto& f : verdict.findings) found += f.row % 8 == 0;
  CHECK(found >= 40);  // of 45
  CHECK(verdict.findings.size() - found <= 6);
  CHECK(std::is_sorted(verdict.findings.begin(), verdict.findings.end(),
                       [](const auto& a, const auto& b) { return a.score > b.score; }));
  CHECK(run_check(DataOob{}, batch) == verdict);

  // Scores are the forest's values.
  const RandomForest forest{{.trees = 200}};
  const auto fit = forest.fit_encoded(rows.x, {}, {.task = Task::classification, .labels = rows.labels, .classes = 3});
  for (const auto& f : verdict.findings) CHECK(f.score == 1 - static_cast<double>(fit.oob_correct[f.row]));
  // Nothing is named in silence: the others have more trees for their label, or about as many.
  for (std::size_t r = 0; r < 360; ++r) {
    const auto share = fit.oob_proba.row(r);
    const bool named =
        std::any_of(verdict.findings.begin(), verdict.findings.end(), [&](const auto& f) { return f.row == r; });
    const float own = share[static_cast<std::size_t>(rows.labels[r])];
    const float most = *std::max_element(share.begin(), share.end());
    if (named) CHECK(most > own);
    if (!named) CHECK(most - own < 0.25f);
  }
  CHECK(run_check(DataOob{.cut = 6}, batch).findings.size() < verdict.findings.size());

  std::vector<std::size_t> head(100), tail(260);
  std::iota(head.begin(), head.end(), std::size_t{0});
  std::iota(tail.begin(), tail.end(), std::size_t{100});
  const Dataset first = data.take(head), second = data.take(tail);
  DataOob a, b;
  a.update(batch_of(first, rows.x, 0, 100));
  b.update(batch_of(second, rows.x, 100, 360));
  a.merge(b);
  CHECK(a.finish() == verdict);
}

TEST_CASE("Data-OOB abstains with few rows or one class, and checks its options", "[data_oob]") {
  const auto rows = mislabelled();
  const auto data_of = [&](std::size_t n, std::vector<std::int32_t> labels) {
    labels.resize(n);
    return Dataset::from_matrix(MatrixView<const float>(rows.x).slice(0, n), std::span<const std::int32_t>(labels));
  };
  const auto few = data_of(19, rows.labels), one = data_of(60, std::vector<std::int32_t>(60, 0));
  CHECK(run_check(DataOob{}, batch_of(few, rows.x, 0, 19)).outcome == Outcome::abstain);
  CHECK(run_check(DataOob{}, batch_of(one, rows.x, 0, 60)).outcome == Outcome::abstain);
  CHECK_THROWS_WITH(run_check(DataOob{.trees = 9}, batch_of(few, rows.x, 0, 19)), Catch::Contains("trees is 9"));
  CHECK_THROWS_WITH(run_check(DataOob{.cut = 0}, batch_of(few, rows.x, 0, 19)), Catch::Contains("cut is 0"));
}
