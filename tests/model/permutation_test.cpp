#include "redoubt/model/permutation.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/linear/ridge.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

namespace redoubt {
namespace {

/// y = 3 f0 + f1, f2 is noise, and a category column whose last value shifts y.
Dataset make_data(std::size_t rows, std::uint64_t seed, bool gap = false) {
  Random random(seed);
  std::vector<Column> columns(5);
  for (std::size_t c = 0; c < 3; ++c) columns[c].spec = {"f" + std::to_string(c), ColumnType::numeric};
  columns[3].spec = {"kind", ColumnType::categorical, ColumnRole::feature, {"a", "b", "c"}};
  columns[4].spec = {"y", ColumnType::numeric, ColumnRole::target};
  for (std::size_t r = 0; r < rows; ++r) {
    for (std::size_t c = 0; c < 3; ++c) columns[c].numbers.push_back(random.normal());
    columns[3].codes.push_back(static_cast<std::int32_t>(random.below(3)));
    columns[4].numbers.push_back(3 * columns[0].numbers[r] + columns[1].numbers[r] + 2 * (columns[3].codes[r] == 2) +
                                 0.1 * random.normal());
  }
  if (gap) columns[4].numbers[5] = std::nan("");
  return Dataset(std::move(columns));
}

TEST_CASE("shuffling a column costs what it explains", "[permutation]") {
  const Dataset data = make_data(1500, 1);
  const Model model = Ridge{{.l2 = 1e-6}}.fit(data);
  // A row without a target says nothing.
  const auto found = permutation_importance(model, make_data(1500, 1, true), "rmse", {.repeats = 8});
  REQUIRE(found.size() == 4);
  CHECK(found[0].column == "f0");
  CHECK(found[3].column == "kind");
  // The error of a linear model whose x_j is replaced by another row's is b_j (x - x'), of variance 2 b_j^2 var x.
  CHECK(found[0].value == Approx(std::sqrt(2 * 9.0) - 0.1).epsilon(0.06));
  CHECK(found[1].value == Approx(std::sqrt(2 * 1.0) - 0.1).epsilon(0.08));
  CHECK(std::abs(found[2].value) < 0.005);
  CHECK(found[3].value == Approx(std::sqrt(2 * 4 * 2.0 / 9) - 0.1).epsilon(0.08));
  CHECK(found[0].deviation > 0);
  CHECK(found[0].deviation < 0.3);
  CHECK(permutation_importance(model, data, "r2")[0].value > 0.5);  // more is better, helps: positive too
  CHECK(permutation_importance(model, data)[1].value > 0.5);        // rmse
}

TEST_CASE("it is the same at any thread count and follows the seed", "[permutation][threads]") {
  const Dataset data = make_data(300, 2);
  const Model model = GradientBoosting{{.trees = 10}}.fit(data);
  std::vector<double> expected;
  for (int threads : {1, 2, 4}) {
    Arena arena(threads);
    std::vector<double> values;
    for (const auto& c : permutation_importance(model, data, "mae", {.seed = 3, .arena = &arena}))
      values.push_back(c.value);
    if (expected.empty()) expected = values;
    CHECK(values == expected);
  }
  CHECK(permutation_importance(model, data, "mae", {.seed = 4})[0].value != expected[0]);
}

TEST_CASE("a metric of one's own", "[permutation]") {
  const Dataset data = make_data(200, 3);
  const Model model = Ridge{}.fit(data);
  const auto constant = permutation_importance(model, data, [](MatrixView<const float>) { return 5.0; });
  for (const auto& c : constant) CHECK(c.value == 0);
  CHECK_THROWS_WITH(permutation_importance(model, data, "auc"), Catch::Contains("auc"));
  CHECK_THROWS_WITH(permutation_importance(model, data, "", {.repeats = 0}), Catch::Contains("repeats is 0"));
}

}  // namespace
}  // namespace redoubt
