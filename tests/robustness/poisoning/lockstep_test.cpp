#include "redoubt/robustness/poisoning/lockstep.hpp"

#include <catch2/catch.hpp>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;
using namespace redoubt::test;

namespace {

constexpr std::int64_t hour = 3'600'000'000;
constexpr std::size_t honest_rows = 4000;

/// 400 people with a taste (20 of 100 products) and a busy month of their own in a year; then `accounts` that act on
/// the same six products on the same six days, and on three others each for camouflage.
Dataset market(std::size_t accounts, std::uint64_t seed = 1) {
  Random random(seed);
  std::vector<std::string> products, people;
  for (int p = 0; p < 100; ++p) products.push_back("p" + std::to_string(p));
  for (std::size_t s = 0; s < 400 + accounts; ++s) people.push_back("u" + std::to_string(s));
  std::vector<std::int32_t> product, who, label;
  std::vector<std::int64_t> times;
  const auto add = [&](std::size_t s, std::uint64_t p, double at, std::uint64_t y) {
    who.push_back(static_cast<std::int32_t>(s));
    product.push_back(static_cast<std::int32_t>(p));
    times.push_back(static_cast<std::int64_t>(at * hour));
    label.push_back(static_cast<std::int32_t>(y));
  };
  for (std::size_t r = 0; r < honest_rows; ++r) {
    const std::size_t s = random.below(400);
    const double busy = static_cast<double>(s % 12) * 730;
    add(s, (s % 5) * 20 + random.below(20), busy + random.uniform() * 730, random.below(2));
  }
  for (std::size_t a = 0; a < accounts; ++a) {
    for (std::size_t k = 0; k < 6; ++k)
      add(400 + a, 7 + 11 * k, 1000 + 1200 * static_cast<double>(k) + random.uniform() * 20, 1);
    for (std::size_t k = 0; k < 3; ++k) add(400 + a, random.below(100), random.uniform() * 8760, random.below(2));
  }
  return Dataset({categorical("product", products, product), categorical("who", people, who, ColumnRole::source),
                  timestamps(times), categorical("y", {"no", "yes"}, label, ColumnRole::target)});
}

}  // namespace

TEST_CASE("accounts that act together are one group, and honest people with the same taste are none", "[lockstep]") {
  std::size_t named = 0;
  for (std::uint64_t seed = 1; seed <= 5; ++seed)
    for (const LockstepGroup& group : find_lockstep(market(0, seed))) named += group.rows.size();
  CHECK(named <= 5 * honest_rows / 1000);  // at most one honest row in a thousand
  const auto groups = find_lockstep(market(10));
  REQUIRE(!groups.empty());
  CHECK(groups[0].items >= 6);
  std::size_t found = 0, wrong = 0;
  for (const LockstepGroup& group : groups)
    for (const std::uint32_t r : group.rows) {
      if (r < honest_rows)
        ++wrong;
      else if ((r - honest_rows) % 9 < 6)
        ++found;
    }
  CHECK(found >= 57);  // of 60
  CHECK(wrong <= 4);
  std::size_t accounts = 0;
  for (const std::uint32_t s : groups[0].sources) accounts += s >= 400;
  CHECK(accounts == 10);
}

TEST_CASE("the same deeds at other times are no lockstep", "[lockstep]") {
  const Dataset data = market(10);
  Column when = data.column(data.schema().find(ColumnRole::time));
  Random random(3);
  for (std::size_t r = honest_rows; r < data.rows(); ++r)
    when.times[r] = static_cast<std::int64_t>(random.uniform() * 8760 * hour);
  std::size_t found = 0;
  for (const LockstepGroup& group : find_lockstep(data.with_column(std::move(when))))
    for (const std::uint32_t r : group.rows) found += r >= honest_rows;
  CHECK(found == 0);
}

TEST_CASE("lockstep as a check streams, is deterministic and abstains", "[lockstep]") {
  const Dataset data = market(10);
  Batch batch;
  batch.data = &data;
  const Verdict whole = run_check(Lockstep{}, batch);
  CHECK(whole.outcome == Outcome::warn);
  CHECK(whole.findings.size() >= 57);
  CHECK_THAT(whole.findings[0].evidence, Catch::Contains("of product"));
  std::vector<std::size_t> a_rows, b_rows;
  for (std::size_t r = 0; r < data.rows(); ++r) (r < 900 ? a_rows : b_rows).push_back(r);
  const Dataset first = data.take(a_rows), second = data.take(b_rows);
  Lockstep a, b;
  Batch part;
  part.data = &first;
  a.update(part);
  part.data = &second;
  b.update(part);
  a.merge(b);
  CHECK(a.finish() == whole);
  const Dataset timeless({categorical("y", {"n", "p"}, {0, 1}, ColumnRole::target)});
  batch.data = &timeless;
  CHECK(run_check(Lockstep{}, batch).outcome == Outcome::abstain);
  CHECK_THROWS_WITH(find_lockstep(data, {.window_hours = 0}), Catch::Contains("window_hours"));
  CHECK_THROWS_WITH(find_lockstep(data, {.min_items = 1}), Catch::Contains("min_items"));
  CHECK_THROWS_WITH(find_lockstep(data, {.by = "when"}), Catch::Contains("not categorical"));
}
