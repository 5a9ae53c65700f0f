#include "redoubt/robustness/poisoning/provenance.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/csv.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/linear/logistic_regression.hpp"
#include "redoubt/linear/ridge.hpp"
#include "redoubt/metrics/evaluation.hpp"
#include "redoubt/model/model.hpp"
#include "robustness/poisoning/support.hpp"

using namespace redoubt;

namespace {

/// Two overlapping classes in 6 columns; the first `bad` sources give the wrong label.
Dataset sourced(std::uint64_t seed, std::size_t sources, std::size_t rows_each, std::size_t bad) {
  Random random(seed, 0);
  std::vector<std::vector<double>> x(6);
  std::vector<std::int32_t> who, label;
  std::vector<std::string> names;
  for (std::size_t s = 0; s < sources; ++s) {
    names.push_back("s" + std::to_string(s));
    for (std::size_t r = 0; r < rows_each; ++r) {
      const bool positive = random.below(2);
      for (auto& column : x) column.push_back((positive ? 0.7 : -0.7) + random.normal());
      who.push_back(static_cast<std::int32_t>(s));
      label.push_back(positive != (s < bad));
    }
  }
  std::vector<Column> columns;
  for (std::size_t c = 0; c < 6; ++c) columns.push_back(test::numeric("x" + std::to_string(c), x[c]));
  columns.push_back(test::categorical("who", names, who, ColumnRole::source));
  columns.push_back(test::categorical("class", {"no", "yes"}, label, ColumnRole::target));
  return Dataset(std::move(columns));
}

Model linear(const Dataset& rows) { return LogisticRegression{{.l2 = 1}}.fit(rows); }

}  // namespace

TEST_CASE("sources with wrong labels are found, honest ones are left", "[provenance]") {
  std::size_t found = 0, false_alarms = 0;
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const std::size_t bad = seed % 4;
    const Dataset data = sourced(seed, 20, 10, bad), trusted = sourced(seed + 100, 5, 20, 0);
    const auto harms = provenance_harm(data, trusted, linear);
    REQUIRE(harms.size() == 20);
    for (const SourceHarm& s : harms) {
      CHECK(s.rows == 10);
      if (!s.harmful) continue;
      (std::stoul(s.source.substr(1)) < bad ? found : false_alarms) += 1;
    }
    // Training without them is better.
    std::vector<std::string> named;
    for (const SourceHarm& s : harms)
      if (s.harmful) named.push_back(s.source);
    if (bad == 0) continue;
    const double with = linear(data).evaluate(trusted).value("log_loss");
    CHECK(linear(data.without_sources(named)).evaluate(trusted).value("log_loss") < with);
  }
  CHECK(found == 2 * (1 + 2 + 3));
  // Some honest sources have bad luck with their rows: 7 of 148 here.
  CHECK(false_alarms <= 14);
}

TEST_CASE("one bad source of three is found by its share of the loss", "[provenance]") {
  std::size_t found = 0, false_alarms = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const Dataset data = sourced(seed, 3, 12, 1), trusted = sourced(seed + 50, 5, 8, 0);
    for (const SourceHarm& s : provenance_harm(data, trusted, linear))
      if (s.harmful) (s.source == "s0" ? found : false_alarms) += 1;
  }
  CHECK(found >= 8);
  CHECK(false_alarms <= 2);
}

TEST_CASE("a large honest source does not hide a small bad one", "[provenance]") {
  // The model is the sum of what the sources that are there do to it, so that every harm is known: with H for the sum
  // a source of h does 2 H h - h^2 to the loss, which is 1 + H^2.
  const std::vector<double> does{0.3, 0.2, 0.004, 0.0045, 0.005, 0.0055, 0.006, 0.005};
  const std::vector<std::size_t> rows{400, 3, 10, 10, 10, 10, 10, 10};  // s0 is large, s1 small and bad
  std::vector<double> y;
  std::vector<std::int32_t> who;
  std::vector<std::string> names;
  for (std::size_t s = 0; s < does.size(); ++s) {
    names.push_back("s" + std::to_string(s));
    who.insert(who.end(), rows[s], static_cast<std::int32_t>(s));
  }
  for (std::size_t r = 0; r < who.size(); ++r) y.push_back(r % 2 ? 1 : -1);
  const auto table = [&](const std::vector<double>& targets) {
    std::vector<double> x;
    for (std::size_t r = 0; r < targets.size(); ++r) x.push_back(static_cast<double>(r / 2 % 2));
    return Dataset({test::numeric("x", x), test::numeric("y", targets, ColumnRole::target)});
  };
  std::vector<double> x(who.size(), 0);
  for (std::size_t r = 0; r < x.size(); ++r) x[r] = static_cast<double>(r / 2 % 2);
  const Dataset data({test::numeric("x", x), test::numeric("y", y, ColumnRole::target),
                      test::categorical("who", names, who, ColumnRole::source)});
  const Dataset trusted = data.take(std::vector<std::size_t>{0, 1, 2, 3, 4, 5, 6, 7});
  const auto fit = [&](const Dataset& some) {
    std::set<std::string> there;
    for (const auto s : some.sources()) there.insert(some.source_names()[static_cast<std::size_t>(s)]);
    double sum = 0;
    for (std::size_t s = 0; s < does.size(); ++s) sum += there.contains(names[s]) ? does[s] : 0;
    return Ridge{}.fit(table({sum - 1, sum + 1, sum - 1, sum + 1, sum - 1, sum + 1, sum - 1, sum + 1}));
  };
  const auto harms = provenance_harm(data, trusted, fit);
  REQUIRE(harms.size() == does.size());
  CHECK(harms[0].source == "s1");
  CHECK(harms[0].harmful);
  for (std::size_t s = 1; s < harms.size(); ++s) CHECK_FALSE(harms[s].harmful);
  // In the first round the large one did more.
  CHECK(2 * 0.53 * 0.3 - 0.09 > harms[0].harm);
}

TEST_CASE("harm is the same at any thread count, works for values, and refuses what it cannot do",
          "[provenance][threads]") {
  const Dataset data = sourced(1, 10, 6, 2), trusted = sourced(2, 4, 10, 0);
  Arena one(1), two(2);
  const auto a = provenance_harm(data, trusted, linear, {.arena = &one});
  const auto b = provenance_harm(data, trusted, linear, {.arena = &two});
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    CHECK(a[i].source == b[i].source);
    CHECK(a[i].harm == b[i].harm);
  }

  std::string rows = "x,who,y\n", good = "x,who,y\n";
  Random random(4, 4);
  for (int i = 0; i < 120; ++i) {
    const double x = random.normal(), y = 2 * x + 0.1 * random.normal();
    rows += std::to_string(x) + ",s" + std::to_string(i % 10) + "," + std::to_string(i % 10 == 3 ? 5 - y : y) + "\n";
    if (i < 40) good += std::to_string(x) + ",t," + std::to_string(y) + "\n";
  }
  const CsvOptions read{.target = "y", .source = "who", .task = Task::regression};
  const auto values = provenance_harm(read_csv_text(rows, read), read_csv_text(good, read),
                                      [](const Dataset& d) { return Ridge{}.fit(d); });
  CHECK(values[0].source == "s3");
  CHECK(values[0].harmful);
  CHECK_FALSE(values[1].harmful);

  CHECK_THROWS_AS(provenance_harm(data, trusted, linear, {.cut = 0}), Error);
  CHECK_THROWS_AS(provenance_harm(data, trusted, linear, {.min_share = 0}), Error);
  CHECK_THROWS_AS(provenance_harm(data, data.take(std::vector<std::size_t>{}), linear), Error);
  CHECK_THROWS_AS(provenance_harm(data, read_csv_text(good, read), linear), Error);
  CHECK_THROWS_AS(provenance_harm(data.with_role("who", ColumnRole::ignore), trusted, linear), Error);
}
