#include "trees/robust_cuts.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/gradient_boosting.hpp"

using namespace redoubt;

namespace {

/// What a split of centred targets gains, 0 on an empty side.
double gain(double left, double left_rows, double all, double rows) {
  const auto score = [](double sum, double n) { return n > 0 ? sum * sum / n : 0; };
  return score(left, left_rows) + score(all - left, rows - left_rows) - score(all, rows);
}

}  // namespace

TEST_CASE("a robust cut is the one whose worst of four cases is best", "[robust_cuts]") {
  std::size_t moved = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    Random random(seed, 1);
    const std::size_t n = 60;
    Tensor<float> x({n, std::size_t{1}});
    std::vector<double> y;
    for (std::size_t r = 0; r < n; ++r) {
      x(r, 0) = static_cast<float>(random.uniform(0, 10));
      y.push_back((x(r, 0) > 4) + 0.6 * (x(r, 0) > 7) + 0.5 * random.normal());
    }
    double mean = 0, middle = 0, square = 0, all = 0;
    for (std::size_t r = 0; r < n; ++r) mean += y[r] / n, middle += x(r, 0) / n;
    for (std::size_t r = 0; r < n; ++r) square += std::pow(x(r, 0) - middle, 2) / n;
    const double radius = 0.1, reach = radius * std::sqrt(square);
    const BinnedMatrix bins(x, {}, {});
    REQUIRE(bins.column(0).count == n);  // a bin for each row: nothing is lost
    double best = 0, plain_best = 0, cut = 0, plain_cut = 0;
    for (std::uint32_t b = 0; b + 1 < n; ++b) {
      const double at = bins.column(0).upper[b];
      double sums[4] = {}, rows[4] = {};
      for (std::size_t r = 0; r < n; ++r) {
        const bool left = x(r, 0) <= at, crosses = left ? x(r, 0) + reach > at : x(r, 0) - reach <= at;
        const bool cases[4] = {left, left || crosses, left && !crosses, left != crosses};
        for (int k = 0; k < 4; ++k)
          if (cases[k]) sums[k] += y[r] - mean, rows[k] += 1;
      }
      double worst = HUGE_VAL;
      for (int k = 0; k < 4; ++k) worst = std::min(worst, gain(sums[k], rows[k], all, n));
      if (worst > best) best = worst, cut = at;
      if (const double plain = gain(sums[0], rows[0], all, n); plain > plain_best) plain_best = plain, plain_cut = at;
    }
    moved += cut != plain_cut;
    TreeTarget target;
    target.values = y;
    const GradientBoosting stump{{.trees = 1, .max_leaves = 2, .min_leaf_rows = 1, .robust_radius = radius}};
    const auto forest = stump.fit_encoded(x, {}, target);
    if (best <= 0) {
      CHECK(forest->leaves() == 1);
      continue;
    }
    const float least = std::nextafter(static_cast<float>(cut), -HUGE_VALF);
    std::vector<float> below(1), above(1);
    const float row_at[] = {static_cast<float>(cut)}, row_above[] = {std::nextafter(row_at[0], HUGE_VALF)},
                row_least[] = {least};
    std::uint32_t leaf_at = 0, leaf_above = 0, leaf_least = 0;
    forest->leaf_ids(row_at, {&leaf_at, 1});
    forest->leaf_ids(row_above, {&leaf_above, 1});
    forest->leaf_ids(row_least, {&leaf_least, 1});
    CHECK(leaf_at != leaf_above);
    CHECK(leaf_at == leaf_least);
  }
  CHECK(moved > 5);  // else plain splits would pass, too
}

TEST_CASE("robust splits want rows and no random thresholds", "[robust_cuts]") {
  Tensor<float> x({std::size_t{40}, std::size_t{1}});
  TreeTarget target;
  std::vector<double> y;
  for (std::size_t r = 0; r < 40; ++r) {
    x(r, 0) = static_cast<float>(r);
    y.push_back(static_cast<double>(r));
  }
  target.values = y;
  const BinnedMatrix bins(x, {}, {});
  CHECK_THROWS_WITH((GradientBoosting{{.robust_radius = 0.1}}.fit_binned(bins, target)),
                    Catch::Contains("robust_radius needs the rows"));
  CHECK_THROWS_WITH((GradientBoosting{{.robust_radius = -1}}.fit_encoded(x, {}, target)),
                    Catch::Contains("robust_radius"));
  CHECK_THROWS_WITH((GradientBoosting{{.random_thresholds = true, .robust_radius = 0.1}}.fit_encoded(x, {}, target)),
                    Catch::Contains("robust_radius"));
}
