#include "redoubt/robustness/poisoning/activation_clustering.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"

using namespace redoubt;

namespace {

/// Three classes; `poison` rows of class 1 carry a pattern over a third of the columns.
struct Rows {
  Rows(std::uint64_t seed, std::size_t rows, std::size_t columns, std::size_t poison) : x({rows, columns}) {
    Random random(seed);
    for (std::size_t r = 0; r < rows; ++r) {
      labels.push_back(static_cast<std::int32_t>(r % 3));
      for (std::size_t c = 0; c < columns; ++c)
        x(r, c) = static_cast<float>(5 * static_cast<double>(r % 3) + (1 + static_cast<double>(c)) * random.normal());
    }
    for (std::size_t k = 0; k < poison; ++k) {
      planted.insert(1 + 3 * k);
      for (std::size_t c = 0; c < columns / 3; ++c) x(1 + 3 * k, c) += 9 * (1 + static_cast<float>(c));
    }
    data = Dataset::from_matrix(MatrixView<const float>(x), labels);
  }
  Verdict verdict(ActivationClustering check = {}) const { return run_check(check, {.data = &data, .features = x}); }
  Tensor<float> x;
  std::vector<std::int32_t> labels;
  std::set<RowId> planted;
  Dataset data;
};

}  // namespace

TEST_CASE("rows with a trigger make a part of their own, honest classes are left alone", "[activation_clustering]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const Rows rows(seed, 600, 12, 20);
    const Verdict verdict = rows.verdict();
    std::set<RowId> named;
    for (const Finding& f : verdict.findings) named.insert(f.row);
    CHECK(named == rows.planted);
    CHECK(verdict.outcome == Outcome::warn);
    CHECK(Rows(seed, 600, 12, 0).verdict().outcome == Outcome::pass);
  }
  // More columns than rows in a class, and a missing value.
  Rows wide(9, 90, 60, 7);
  wide.x(0, 3) = std::numeric_limits<float>::quiet_NaN();
  CHECK(wide.verdict({.directions = 3}).findings.size() == 7);
}

TEST_CASE("activation clustering streams, abstains and refuses", "[activation_clustering]") {
  const Rows rows(1, 300, 6, 12);
  std::vector<std::size_t> first, second;
  for (std::size_t r = 0; r < 300; ++r) (r < 120 ? first : second).push_back(r);
  const Dataset a = rows.data.take(first), b = rows.data.take(second);
  ActivationClustering one, two;
  const MatrixView<const float> x(rows.x);
  one.update({.data = &a, .features = x.slice(0, 120)});
  two.update({.data = &b, .features = x.slice(120, 300)});
  one.merge(two);
  CHECK(one.finish() == rows.verdict());
  CHECK(Rows(1, 12, 6, 0).verdict().outcome == Outcome::abstain);
  CHECK_THROWS_AS(rows.verdict({.directions = 0}), Error);
  CHECK_THROWS_AS(rows.verdict({.largest_share = 0.6}), Error);
}
