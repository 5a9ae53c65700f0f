#include "redoubt/robustness/poisoning/dense_blocks.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/robustness/screen.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;

namespace {

struct Edges {
  std::vector<std::uint32_t> sources, items;
  void add(std::uint32_t s, std::uint32_t i) { sources.push_back(s), items.push_back(i); }
};

/// Honest sources with a few items each; popular items get more.
Edges honest(std::uint64_t seed, std::uint32_t sources, std::uint32_t items) {
  Random random(seed, 0);
  Edges g;
  for (std::uint32_t s = 0; s < sources; ++s)
    for (std::uint64_t k = 1 + random.below(6); k > 0; --k) {
      const double u = random.uniform();
      g.add(s, static_cast<std::uint32_t>(u * u * items));
    }
  return g;
}

/// Sources after the honest ones that hit most of a few rare items, and popular ones as camouflage.
void add_campaign(Edges& g, std::uint64_t seed, std::uint32_t first, std::uint32_t count, std::uint32_t items,
                  std::uint32_t hit, std::uint32_t camouflage) {
  Random random(seed, 1);
  for (std::uint32_t s = first; s < first + count; ++s) {
    for (std::uint32_t k = 0; k < hit; ++k)
      if (random.uniform() < 0.8) g.add(s, items - 1 - k);
    for (std::uint32_t k = 0; k < camouflage; ++k) g.add(s, static_cast<std::uint32_t>(random.below(items / 4)));
  }
}

/// The greedy rule by its definition: all weights again after every removal.
double naive_density(const Edges& g) {
  std::set<std::pair<std::uint32_t, std::uint32_t>> edges;
  for (std::size_t i = 0; i < g.sources.size(); ++i) edges.emplace(g.sources[i], g.items[i]);
  std::vector<std::size_t> degree(64, 0);
  for (const auto& e : edges) ++degree[e.second];
  const auto weight = [&](std::uint32_t item) { return 1 / std::log(static_cast<double>(degree[item]) + 5); };
  double best = 0;
  while (!edges.empty()) {
    std::vector<double> w(128, 0);
    std::vector<std::uint8_t> there(128, 0);
    double total = 0;
    for (const auto& [s, i] : edges) {
      w[s] += weight(i), w[64 + i] += weight(i), total += weight(i);
      there[s] = there[64 + i] = 1;
    }
    best = std::max(best, total / static_cast<double>(std::count(there.begin(), there.end(), 1)));
    std::uint32_t lightest = 128;
    for (std::uint32_t n = 0; n < 128; ++n)
      if (there[n] && (lightest == 128 || w[n] < w[lightest])) lightest = n;
    std::erase_if(edges, [&](const auto& e) { return e.first == lightest || e.second + 64 == lightest; });
  }
  return best;
}

Dataset rows_of(const Edges& g, std::uint64_t seed, std::uint32_t honest_sources) {
  Random random(seed, 2);
  std::vector<std::string> source_names, item_names;
  for (std::uint32_t s = 0; s <= *std::max_element(g.sources.begin(), g.sources.end()); ++s)
    source_names.push_back("u" + std::to_string(s));
  for (std::uint32_t i = 0; i <= *std::max_element(g.items.begin(), g.items.end()); ++i)
    item_names.push_back("p" + std::to_string(i));
  std::vector<std::int32_t> s, i, y;
  std::vector<double> stars;
  for (std::size_t r = 0; r < g.sources.size(); ++r) {
    s.push_back(static_cast<std::int32_t>(g.sources[r]));
    i.push_back(static_cast<std::int32_t>(g.items[r]));
    y.push_back(g.sources[r] >= honest_sources || random.below(2));
    stars.push_back(static_cast<double>(random.below(5)));
  }
  return Dataset({test::numeric("stars", stars), test::categorical("product", item_names, i, ColumnRole::ignore),
                  test::categorical("account", source_names, s, ColumnRole::source),
                  test::categorical("good", {"no", "yes"}, y, ColumnRole::target)});
}

}  // namespace

TEST_CASE("the densest block is what removing the lightest node again and again finds", "[dense_blocks]") {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    Edges g = honest(seed, 25, 20);
    if (seed % 2) add_campaign(g, seed, 25, 6, 20, 4, 2);
    const DenseBlock block = densest_block(g.sources, g.items);
    // Ties may be broken otherwise, so the densities are compared, not the nodes.
    CHECK(block.density == Approx(naive_density(g)).epsilon(0.02));
    // What is claimed is so.
    std::vector<std::size_t> degree(64, 0);
    std::set<std::pair<std::uint32_t, std::uint32_t>> edges;
    for (std::size_t i = 0; i < g.sources.size(); ++i) edges.emplace(g.sources[i], g.items[i]);
    for (const auto& e : edges) ++degree[e.second];
    double total = 0;
    for (const auto& [s, i] : edges)
      if (std::binary_search(block.sources.begin(), block.sources.end(), s) &&
          std::binary_search(block.items.begin(), block.items.end(), i))
        total += 1 / std::log(static_cast<double>(degree[i]) + 5);
    CHECK(total / static_cast<double>(block.sources.size() + block.items.size()) == Approx(block.density));
  }
  CHECK(densest_block({}, {}) == DenseBlock{});
  const std::vector<std::uint32_t> two{0, 1}, one{0};
  CHECK_THROWS_AS(densest_block(two, one), Error);
}

TEST_CASE("camouflaged campaigns are found and honest graphs are left alone", "[dense_blocks]") {
  std::size_t planted = 0, found = 0, named = 0, false_alarms = 0;
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    Edges g = honest(seed, 1500, 300);
    const Dataset honest_rows = rows_of(g, seed, 1500);
    const auto alone = run_check(DenseBlocks{}, {.data = &honest_rows});
    false_alarms += alone.findings.size();
    const std::size_t honest_edges = g.sources.size();
    add_campaign(g, seed, 1500, 60, 300, 12, 8);
    const Dataset data = rows_of(g, seed, 1500);
    const Verdict verdict = run_check(DenseBlocks{}, {.data = &data});
    CHECK(verdict.outcome == Outcome::warn);
    std::set<RowId> rows;
    for (const auto& f : verdict.findings) rows.insert(f.row);
    for (std::size_t r = honest_edges; r < data.rows(); ++r) {
      if (g.items[r] < 300 - 12) continue;  // camouflage
      ++planted;
      found += rows.count(data.row_ids()[r]);
    }
    named += rows.size();
    CHECK(run_check(DenseBlocks{}, {.data = &data}) == verdict);
  }
  const double recall = static_cast<double>(found) / static_cast<double>(planted);
  const double precision = static_cast<double>(found) / static_cast<double>(named);
  CAPTURE(recall, precision, false_alarms);
  CHECK(recall >= 0.9);
  CHECK(precision >= 0.7);
  CHECK(false_alarms == 0);
}

TEST_CASE("blocks in parts are blocks of the whole, and options are checked", "[dense_blocks]") {
  Edges g = honest(7, 400, 80);
  add_campaign(g, 7, 400, 30, 80, 8, 4);
  const Dataset data = rows_of(g, 7, 400);
  std::vector<std::size_t> first, second;
  for (std::size_t r = 0; r < data.rows(); ++r) (r < data.rows() / 2 ? first : second).push_back(r);
  const Dataset a = data.take(first), b = data.take(second);
  DenseBlocks left, right, whole;
  left.update({.data = &a});
  right.update({.data = &b});
  left.merge(right);
  whole.update({.data = &data});
  CHECK(left.finish() == whole.finish());
  CHECK(whole.finish().outcome == Outcome::warn);

  const auto with = [&](DenseBlockOptions options) { return run_check(DenseBlocks{options}, {.data = &data}); };
  CHECK_THROWS_AS(with({.by = "nothing"}), Error);
  CHECK_THROWS_AS(with({.shuffles = 2}), Error);
  CHECK_THROWS_AS(with({.cut = 0}), Error);
  CHECK_THROWS_AS(with({.min_ratio = 0.5}), Error);
  CHECK(with({.by = "product"}).outcome == Outcome::warn);

  const Dataset plain({test::numeric("x", {1, 2}), test::categorical("who", {"a", "b"}, {0, 1}, ColumnRole::source)});
  CHECK(run_check(DenseBlocks{}, {.data = &plain}).outcome == Outcome::abstain);
  const Dataset nobody({test::numeric("x", {1, 2})});
  CHECK(run_check(DenseBlocks{}, {.data = &nobody}).outcome == Outcome::abstain);
  // A screen runs it like any other check.
  const auto report = screen(data, {.trees = 3, .checks = {DenseBlocks{}}});
  CHECK(report.verdict("dense_blocks").outcome == Outcome::warn);
}
