#include "redoubt/trees/importance.hpp"

#include <catch2/catch.hpp>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "redoubt/linear/ridge.hpp"
#include "redoubt/trees/gradient_boosting.hpp"
#include "trees/support.hpp"

namespace redoubt {
namespace {

TEST_CASE("importances are sums over the splits of a column", "[importance]") {
  Tensor<float> x = test::random_matrix(400, 3, 1);
  for (float& v : x.flat()) v = std::floor(v * 4) / 4 + 0.125f;  // few values: each has a bin
  std::vector<double> y;
  for (std::size_t r = 0; r < 400; ++r) y.push_back(x(r, 2) > 0 ? 4.0 : x(r, 0) > 0 ? 1.0 : 0.0);
  const Dataset data = Dataset::from_matrix(x, y);
  const Model model = GradientBoosting{{.trees = 1, .learning_rate = 1, .max_leaves = 3}}.fit(data);
  const auto split = importance(model, Importance::split), gain = importance(model),
             cover = importance(model, Importance::cover);
  REQUIRE(split.size() == 3);
  CHECK(split[0].column == "f0");
  CHECK(split[0].value == 1);
  CHECK(split[1].value == 0);
  CHECK(split[2].value == 1);
  CHECK(cover[2].value == 400);
  double negative = 0;
  for (std::size_t r = 0; r < 400; ++r) negative += x(r, 2) <= 0;
  CHECK(cover[0].value == negative);
  // With leaves at their means the gains are what the squares of the errors fell by.
  const double mean = std::accumulate(y.begin(), y.end(), 0.0) / 400;
  double squares = 0;
  for (const double v : y) squares += (v - mean) * (v - mean);
  CHECK(gain[0].value + gain[2].value == Approx(squares).epsilon(1e-4));
  CHECK(gain[1].value == 0);
  CHECK(gain[2].value > gain[0].value);
}

TEST_CASE("a column that is encoded as several counts once", "[importance]") {
  std::vector<Column> columns(2);
  columns[0].spec = {"kind", ColumnType::categorical, ColumnRole::feature, {"a", "b", "c"}};
  columns[1].spec = {"y", ColumnType::numeric, ColumnRole::target};
  for (int r = 0; r < 300; ++r) {
    columns[0].codes.push_back(r % 3);
    columns[1].numbers.push_back(r % 3);
  }
  GradientBoostingOptions options{.trees = 3};
  options.encoder.categorical = CategoricalEncoding::one_hot;
  const Dataset data(std::move(columns));
  const auto found = importance(GradientBoosting{options}.fit(data), Importance::split);
  REQUIRE(found.size() == 1);
  CHECK(found[0].value == 6);
  CHECK_THROWS_WITH(importance(Ridge{}.fit(data)), Catch::Contains("permutation_importance"));
}

}  // namespace
}  // namespace redoubt
