#include "redoubt/robustness/poisoning/rating_shift.hpp"

#include <catch2/catch.hpp>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;
using namespace redoubt::test;

namespace {

constexpr std::int64_t hour = 3'600'000'000;
constexpr std::size_t honest_rows = 3000;

/// 60 products, each with a rating of its own that stays as it is; then `planted` five-star rows about product 0, which
/// few like, within two days.
Dataset market(std::size_t planted, std::uint64_t seed = 1) {
  Random random(seed);
  std::vector<std::string> products;
  for (int p = 0; p < 60; ++p) products.push_back("p" + std::to_string(p));
  std::vector<std::int32_t> product, label;
  std::vector<std::int64_t> times;
  for (std::size_t r = 0; r < honest_rows + planted; ++r) {
    const bool bad = r >= honest_rows;
    const auto p = bad ? 0 : random.below(60);
    product.push_back(static_cast<std::int32_t>(p));
    const double liked = 0.2 + 0.1 * static_cast<double>(p % 7);  // 0.2 for product 0
    label.push_back(bad || random.uniform() < liked);
    times.push_back(static_cast<std::int64_t>((bad ? 500 + random.uniform() * 48 : random.uniform() * 8760) * hour));
  }
  return Dataset({categorical("product", products, product), timestamps(times),
                  categorical("y", {"bad", "good"}, label, ColumnRole::target)});
}

}  // namespace

TEST_CASE("a bought run of good ratings is found where it is", "[ratingshift]") {
  const auto shifts = find_rating_shifts(market(24));
  REQUIRE(shifts.size() == 1);
  CHECK(shifts[0].item == 0);
  CHECK(shifts[0].label == 1);
  CHECK(shifts[0].share - shifts[0].usual >= 0.3);
  std::size_t found = 0;
  for (const std::uint32_t r : shifts[0].rows) found += r >= honest_rows;
  CHECK(found >= 18);  // runs have 8, 12, 18, 27, ... rows
  CHECK(shifts[0].rows.size() - found <= 6);
}

TEST_CASE("steady ratings are not named more often than promised", "[ratingshift]") {
  std::size_t named = 0;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) named += !find_rating_shifts(market(0, seed)).empty();
  CHECK(named <= 2);  // at a false discovery rate of 0.01, 0.4 of 40 are expected
}

TEST_CASE("rating shifts as a check stream and abstain", "[ratingshift]") {
  const Dataset data = market(24);
  Batch batch;
  batch.data = &data;
  const Verdict whole = run_check(RatingShifts{}, batch);
  CHECK(whole.outcome == Outcome::warn);
  REQUIRE(!whole.findings.empty());
  CHECK_THAT(whole.findings[0].evidence, Catch::Contains("product = p0") && Catch::Contains("labelled good"));
  std::vector<std::size_t> a_rows, b_rows;
  for (std::size_t r = 0; r < data.rows(); ++r) (r < 900 ? a_rows : b_rows).push_back(r);
  const Dataset first = data.take(a_rows), second = data.take(b_rows);
  RatingShifts a, b;
  Batch part;
  part.data = &first;
  a.update(part);
  part.data = &second;
  b.update(part);
  a.merge(b);
  CHECK(a.finish() == whole);
  const Dataset timeless({categorical("y", {"n", "p"}, {0, 1}, ColumnRole::target)});
  batch.data = &timeless;
  CHECK(run_check(RatingShifts{}, batch).outcome == Outcome::abstain);
  CHECK_THROWS_WITH(find_rating_shifts(data, {.min_rows = 1}), Catch::Contains("min_rows"));
  CHECK_THROWS_WITH(find_rating_shifts(data, {.min_shift = 2}), Catch::Contains("min_shift"));
}
