#include "redoubt/robustness/poisoning/robust_fit.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/linear/ridge.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;

namespace {

constexpr std::size_t columns = 5;

/// y = sum of the columns and noise, or its sign; the last `poison` rows pull the other way from far out.
Dataset rows_of(std::uint64_t seed, std::size_t clean, std::size_t poison, bool classes) {
  Random random(seed);
  std::vector<std::vector<double>> x(columns);
  std::vector<double> y;
  std::vector<std::int32_t> label;
  for (std::size_t r = 0; r < clean + poison; ++r) {
    const bool bad = r >= clean;
    double sum = 0;
    for (auto& column : x) {
      column.push_back(bad ? 2.5 + 0.1 * random.normal() : random.normal());
      sum += column.back();
    }
    const double value = bad ? -sum : sum + 0.5 * random.normal();
    y.push_back(value);
    label.push_back(value > 0);
  }
  std::vector<Column> all;
  for (std::size_t c = 0; c < columns; ++c) all.push_back(test::numeric("x" + std::to_string(c), x[c]));
  if (classes)
    all.push_back(test::categorical("y", {"no", "yes"}, label, ColumnRole::target));
  else
    all.push_back(test::numeric("y", y, ColumnRole::target));
  return Dataset(std::move(all));
}

Model ridge(const Dataset& rows) { return Ridge{}.fit(rows); }
Model logistic(const Dataset& rows) { return LogisticRegression{}.fit(rows); }

std::size_t poisoned(const std::vector<RowId>& removed, std::size_t clean) {
  return static_cast<std::size_t>(std::count_if(removed.begin(), removed.end(), [&](RowId r) { return r >= clean; }));
}

}  // namespace

TEST_CASE("trim recovers the regression that poison hides", "[robust_fit]") {
  const std::size_t clean = 400, poison = 40;
  const Dataset data = rows_of(1, clean, poison, false), test = rows_of(2, 300, 0, false);
  const double honest = Ridge{}.fit(rows_of(1, clean, 0, false)).evaluate(test).value("rmse");
  const double fooled = ridge(data).evaluate(test).value("rmse");
  const RobustFit fit = trim(data, ridge, {.poison = 0.12});
  CAPTURE(honest, fooled, fit.loss, fit.rounds);
  CHECK(fooled > 2 * honest);
  CHECK(fit.model.evaluate(test).value("rmse") < 1.1 * honest);
  CHECK(poisoned(fit.removed, clean) == poison);
  CHECK(fit.removed.size() == 53);
  CHECK(std::is_sorted(fit.removed.begin(), fit.removed.end()));
  CHECK(trim(data, ridge, {.poison = 0.12}).removed == fit.removed);
}

TEST_CASE("sever leaves out rows that pull together", "[robust_fit]") {
  const std::size_t clean = 400, poison = 30;
  const Dataset data = rows_of(3, clean, poison, true), test = rows_of(4, 500, 0, true);
  const double honest = LogisticRegression{}.fit(rows_of(3, clean, 0, true)).evaluate(test).value("accuracy");
  const double fooled = logistic(data).evaluate(test).value("accuracy");
  const RobustFit fit = sever(data, logistic, {.poison = 0.1});
  CAPTURE(honest, fooled, fit.loss);
  CHECK(fooled < honest - 0.02);
  CHECK(fit.model.evaluate(test).value("accuracy") > honest - 0.01);
  CHECK(poisoned(fit.removed, clean) == poison);
  CHECK(fit.removed.size() == 43);
  CHECK(fit.rounds == 5);
  // Values, too.
  const RobustFit values = sever(rows_of(1, clean, poison, false), ridge, {.poison = 0.1});
  CHECK(poisoned(values.removed, clean) == poison);
}

TEST_CASE("robust fits refuse options and data without sense", "[robust_fit]") {
  const Dataset data = rows_of(1, 20, 0, false);
  CHECK_THROWS_AS(trim(data, ridge, {.poison = 0.5}), Error);
  CHECK_THROWS_AS(trim(data, ridge, {.starts = 0}), Error);
  CHECK_THROWS_AS(sever(data, ridge, {.rounds = 0}), Error);
  CHECK_THROWS_AS(sever(Dataset({test::numeric("x", {1, 2})}), ridge), Error);
  CHECK_THROWS_AS(trim(data.seal(), ridge), Error);
}
