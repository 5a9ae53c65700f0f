#include "redoubt/data/split.hpp"

#include <fmt/format.h>
#include <algorithm>

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <set>

#include "redoubt/core/error.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/arff.hpp"
#include "redoubt/data/csv.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

struct Shape {
  std::size_t rows = 1000;
  std::size_t sources = 60;
  double duplicates = 0.2;      ///< share of rows that repeat features and label of an earlier row
  double missing = 0;           ///< share of rows without source, label and time
  std::uint64_t active = 6000;  ///< each source is active for so long; a new one starts every 1000
};

/// Two features, a source, a time and a target of three unequal classes.
Dataset table(std::uint64_t seed, const Shape& shape = {}) {
  Random random(seed, 99);
  Column a, b, source, time, target;
  a.spec = {"a", ColumnType::numeric, ColumnRole::feature, {}};
  b.spec = {"b", ColumnType::categorical, ColumnRole::feature, {"p", "q", "r"}};
  source.spec = {"who", ColumnType::categorical, ColumnRole::source, {}};
  for (std::size_t s = 0; s < shape.sources; ++s) source.spec.categories.push_back(fmt::format("s{}", s));
  time.spec = {"when", ColumnType::timestamp, ColumnRole::time, {}};
  target.spec = {"y", ColumnType::categorical, ColumnRole::target, {"c0", "c1", "c2"}};
  for (std::size_t i = 0; i < shape.rows; ++i) {
    const bool copy = i > 0 && random.uniform() < shape.duplicates;
    const std::size_t from = copy ? random.below(i) : 0;
    a.numbers.push_back(copy ? a.numbers[from] : random.normal());
    b.codes.push_back(copy ? b.codes[from] : static_cast<std::int32_t>(random.below(3)));
    const bool gone = random.uniform() < shape.missing;
    // Accounts come and go: each is active in a window of its own.
    const auto s = random.below(shape.sources);
    source.codes.push_back(gone ? -1 : static_cast<std::int32_t>(s));
    time.times.push_back(gone ? missing_time : static_cast<std::int64_t>(s * 1000 + random.below(shape.active)));
    const double u = random.uniform();
    target.codes.push_back(gone ? -1 : copy ? target.codes[from] : u < 0.6 ? 0 : u < 0.95 ? 1 : 2);
  }
  return Dataset({a, b, source, time, target});
}

std::set<std::uint64_t> hashes(const Dataset& data) {
  std::set<std::uint64_t> result;
  for (std::size_t row = 0; row < data.rows(); ++row) result.insert(data.feature_hash(row));
  return result;
}

std::set<std::int32_t> sources(const Dataset& data) { return {data.sources().begin(), data.sources().end()}; }

bool disjoint(const auto& a, const auto& b) {
  return std::none_of(a.begin(), a.end(), [&](const auto& x) { return b.contains(x); });
}

std::vector<RowId> ids(const Dataset& data) { return {data.row_ids().begin(), data.row_ids().end()}; }

/// What every split owes: both sides there, rows in order, no row twice, no equal rows across.
void check_sides(const Dataset& data, const Split& split) {
  const auto& [train, test] = split;
  REQUIRE(train.rows() > 0);
  REQUIRE(test.rows() > 0);
  REQUIRE(train.rows() + test.rows() <= data.rows());
  const auto a = ids(train), b = ids(test);
  REQUIRE(std::is_sorted(a.begin(), a.end()));
  REQUIRE(std::is_sorted(b.begin(), b.end()));
  std::vector<RowId> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  REQUIRE(both.empty());
  REQUIRE(disjoint(hashes(train), hashes(test)));
}

double class_rows(const Dataset& data, std::int32_t label) {
  return static_cast<double>(std::count(data.labels().begin(), data.labels().end(), label));
}

bool refused(auto&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code() == errc::invalid_argument;
  }
  return false;
}

}  // namespace

TEST_CASE("a stratified split keeps class shares", "[split]") {
  for (const double fraction : {0.1, 0.2, 0.5, 0.73}) {
    for (std::uint64_t seed = 0; seed < 5; ++seed) {
      const Dataset data = table(seed, {.duplicates = 0});
      const auto split = split_stratified(data, fraction, seed);
      check_sides(data, split);
      CHECK(split.first.rows() + split.second.rows() == data.rows());
      CHECK(split.second.rows() == static_cast<std::size_t>(std::llround(fraction * 1000)));
      for (std::int32_t c = 0; c < 3; ++c)
        CHECK(std::abs(class_rows(split.second, c) - fraction * class_rows(data, c)) <= 1.0);
    }
  }
}

TEST_CASE("duplicates stay together and class shares are right to half a group", "[split]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const Dataset data = table(seed, {.duplicates = 0.4});
    std::map<std::uint64_t, double> group_rows;
    double largest = 0;
    for (std::size_t row = 0; row < data.rows(); ++row)
      largest = std::max(largest, ++group_rows[data.feature_hash(row)]);
    const auto split = split_stratified(data, 0.25, seed);
    check_sides(data, split);
    CHECK(split.first.rows() + split.second.rows() == data.rows());
    for (std::int32_t c = 0; c < 3; ++c)
      CHECK(std::abs(class_rows(split.second, c) - 0.25 * class_rows(data, c)) <= 1 + largest / 2);
    // Equal features with another label or without one stay together, too.
    const Dataset holes = table(seed, {.duplicates = 0.4, .missing = 0.05});
    check_sides(holes, split_stratified(holes, 0.25, seed));
  }
}

TEST_CASE("Dataset::split is the stratified split", "[split]") {
  const Dataset data = table(1);
  CHECK(data.split(0.3, 5).second.hash() == split_stratified(data, 0.3, 5).second.hash());
}

TEST_CASE("splits depend on the seed and on nothing else", "[split]") {
  const Dataset data = table(2, {.active = 30000}), again = table(2, {.active = 30000});
  CHECK(ids(split_stratified(data, 0.2, 1).second) == ids(split_stratified(again, 0.2, 1).second));
  CHECK(ids(split_stratified(data, 0.2, 1).second) != ids(split_stratified(data, 0.2, 2).second));
  CHECK(ids(split_by_source(data, 0.2, 1).second) == ids(split_by_source(again, 0.2, 1).second));
  CHECK(ids(split_by_source(data, 0.2, 1).second) != ids(split_by_source(data, 0.2, 2).second));
  CHECK(ids(split_by_source_and_time(data, 0.2, 1).second) == ids(split_by_source_and_time(again, 0.2, 1).second));
  CHECK(ids(split_by_source_and_time(data, 0.2, 1).second) != ids(split_by_source_and_time(data, 0.2, 2).second));
  CHECK(ids(split_by_time(data, 0.2).second) == ids(split_by_time(again, 0.2).second));
  CHECK(fold_ids(data, 5, 1) == fold_ids(again, 5, 1));
  CHECK(fold_ids(data, 5, 1) != fold_ids(data, 5, 2));
}

TEST_CASE("no source straddles a split by source", "[split]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    const Dataset clean = table(seed, {.duplicates = 0});
    const auto split = split_by_source(clean, 0.3, seed);
    check_sides(clean, split);
    CHECK(disjoint(sources(split.first), sources(split.second)));
    CHECK(split.first.rows() + split.second.rows() == clean.rows());
    CHECK(std::abs(static_cast<double>(split.second.rows()) - 300) < 25);  // a source has about 17 rows

    const Dataset copies = table(seed, {.duplicates = 0.3});
    const auto parted = split_by_source(copies, 0.3, seed);
    check_sides(copies, parted);
    CHECK(disjoint(sources(parted.first), sources(parted.second)));
  }
  // Rows without a source are sources of their own, so both sides may hold some.
  const Dataset holes = table(3, {.duplicates = 0, .missing = 0.5});
  const auto [train, test] = split_by_source(holes, 0.5, 3);
  CHECK(sources(train).contains(-1));
  CHECK(sources(test).contains(-1));
}

TEST_CASE("a split by time puts the latest rows into test", "[split]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    for (const double duplicates : {0.0, 0.3}) {
      const Dataset data = table(seed, {.duplicates = duplicates, .missing = 0.02});
      const auto split = split_by_time(data, 0.2);
      check_sides(data, split);
      const auto& train = split.first.times();
      const auto& test = split.second.times();
      CHECK(*std::max_element(train.begin(), train.end()) <= *std::min_element(test.begin(), test.end()));
      CHECK(split.first.rows() == 800);
      CHECK(split.second.rows() <= 200);
      if (duplicates == 0) CHECK(split.second.rows() == 200);
    }
  }
}

TEST_CASE("later rows of unseen sources", "[split]") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    for (const double duplicates : {0.0, 0.3}) {
      const Dataset data = table(seed, {.duplicates = duplicates});
      const auto split = split_by_source_and_time(data, 0.2, seed);
      check_sides(data, split);
      const auto& [train, test] = split;
      CHECK(disjoint(sources(train), sources(test)));
      CHECK(*std::max_element(train.times().begin(), train.times().end()) <
            *std::min_element(test.times().begin(), test.times().end()));
      CHECK(train.rows() > 500);  // accounts come and go here, so most rows are kept
      if (duplicates == 0) CHECK(test.rows() > 120);
    }
  }
}

TEST_CASE("k folds partition the rows", "[split]") {
  for (const int k : {2, 5, 10}) {
    const Dataset data = table(4, {.duplicates = 0.2, .missing = 0.02});
    const auto splits = k_fold(data, k, 9);
    const auto folds = fold_ids(data, k, 9);
    REQUIRE(splits.size() == static_cast<std::size_t>(k));
    std::vector<int> tested(data.rows());
    for (std::size_t f = 0; f < splits.size(); ++f) {
      check_sides(data, splits[f]);
      CHECK(splits[f].first.rows() + splits[f].second.rows() == data.rows());
      for (const RowId id : splits[f].second.row_ids()) {
        ++tested[id];
        CHECK(folds[id] == f);
      }
    }
    CHECK(std::all_of(tested.begin(), tested.end(), [](int n) { return n == 1; }));
  }
}

TEST_CASE("folds are stratified", "[split]") {
  const Dataset data = table(5, {.duplicates = 0});
  for (const int k : {3, 5}) {
    for (const auto& [train, test] : k_fold(data, k, 1)) {
      CHECK(std::abs(static_cast<double>(test.rows()) - 1000.0 / k) < 1);
      for (std::int32_t c = 0; c < 3; ++c) CHECK(std::abs(class_rows(test, c) - class_rows(data, c) / k) < 1);
    }
  }
}

TEST_CASE("splits keep the seal and say why they cannot be", "[split]") {
  const Dataset data = table(6);
  CHECK(split_stratified(data.seal(), 0.2, 1).second.sealed());
  for (const double fraction : {0.0, 1.0, -0.5, std::numeric_limits<double>::quiet_NaN()})
    CHECK(refused([&] { split_stratified(data, fraction, 1); }));
  CHECK(refused([&] { k_fold(data, 1, 1); }));
  CHECK(refused([&] { k_fold(data, 1001, 1); }));

  Tensor<float> same({10, 2});
  const std::vector<std::int32_t> labels{0, 1, 0, 1, 0, 1, 0, 1, 0, 1};
  const Dataset copies = Dataset::from_matrix(same, labels);
  CHECK(refused([&] { split_stratified(copies, 0.5, 1); }));
  CHECK(refused([&] { k_fold(copies, 5, 1); }));
  CHECK(fold_ids(copies, 5, 1) == std::vector<std::uint32_t>(10, 0));  // together, so one fold
  CHECK(refused([&] { split_by_source(copies, 0.5, 1); }));
  CHECK(refused([&] { split_by_time(copies, 0.5); }));
  CHECK(refused([&] { split_by_source_and_time(copies, 0.5, 1); }));
  CHECK(refused([&] { split_stratified(Dataset(), 0.5, 1); }));
}

TEST_CASE("duplicates of real mail and messages never straddle", "[split]") {
  // Spambase holds 391 repeated rows.
  REDOUBT_NEED_DATA(path, "uci_arff/spambase.arff");
  const Dataset data = read_arff(path);
  REQUIRE(data.rows() == 4601);
  CHECK(hashes(data).size() < 4300);
  const auto split = split_stratified(data, 0.2, 1);
  check_sides(data, split);
  CHECK(std::abs(static_cast<double>(split.second.rows()) - 920) < 15);
  const auto spam = [](const Dataset& part) { return class_rows(part, 1) / static_cast<double>(part.rows()); };
  CHECK(std::abs(spam(split.second) - spam(data)) < 0.01);
  for (const auto& fold : k_fold(data, 5, 1)) {
    check_sides(data, fold);
    CHECK(std::abs(spam(fold.second) - spam(data)) < 0.01);
  }

  REDOUBT_NEED_DATA(sms, "sms_spam/SMSSpamCollection");
  CsvOptions options;
  options.delimiter = '\t';
  options.header = Header::absent;
  options.quoting = false;
  options.target = "c1";
  const Dataset messages = read_csv(sms, options);
  REQUIRE(messages.rows() > 5500);
  check_sides(messages, split_stratified(messages, 0.25, 2));
}

TEST_CASE("regression data splits without strata", "[split]") {
  Tensor<float> x({101, 1});
  std::vector<double> y(101);
  for (std::size_t i = 0; i < 101; ++i) x(i, 0) = static_cast<float>(i);
  const Dataset data = Dataset::from_matrix(x, std::span<const double>(y));
  const auto split = split_stratified(data, 0.2, 3);
  check_sides(data, split);
  CHECK(split.second.rows() == 20);
  for (const auto& [train, test] : k_fold(data, 4, 3)) CHECK((test.rows() == 25 || test.rows() == 26));
}
