#include "redoubt/data/transform.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <array>

#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/text.hpp"

using namespace redoubt;

namespace {

constexpr float hole = std::numeric_limits<float>::quiet_NaN();
constexpr float largest = std::numeric_limits<float>::max();
constexpr double infinity = std::numeric_limits<double>::infinity();

Column categorical(std::vector<std::string> categories, std::vector<std::int32_t> codes) {
  Column column;
  column.spec = {"c", ColumnType::categorical, ColumnRole::feature, std::move(categories)};
  column.codes = std::move(codes);
  return column;
}

std::vector<float> numbers(std::uint64_t seed, std::size_t n, double missing_rate) {
  Random random(seed);
  std::vector<float> values(n);
  for (float& x : values) x = random.uniform() < missing_rate ? hole : static_cast<float>(random.normal() * 40 + 1000);
  return values;
}

}  // namespace

TEST_CASE("values beyond float are clamped, NaN stays", "[transform]") {
  CHECK(to_float(1e300) == largest);
  CHECK(to_float(-1e300) == -largest);
  CHECK(to_float(infinity) == largest);
  CHECK(to_float(-infinity) == -largest);
  CHECK(std::isnan(to_float(std::nan(""))));
  CHECK(to_float(0.1) == 0.1f);
}

TEST_CASE("raw values of numbers and times", "[transform]") {
  Column number;
  number.numbers = {1.5, std::nan(""), 1e40};
  const auto raw = raw_values(number);
  CHECK(raw[0] == 1.5f);
  CHECK(std::isnan(raw[1]));
  CHECK(raw[2] == largest);
  Column time;
  time.spec.type = ColumnType::timestamp;
  time.times = {missing_time, 1'500'000, -2'000'000};
  const auto seconds = raw_values(time);
  CHECK(std::isnan(seconds[0]));
  CHECK(seconds[1] == 1.5f);
  CHECK(seconds[2] == -2.0f);
  CHECK_THROWS_AS(raw_values(categorical({"a"}, {0})), Error);
}

TEST_CASE("impute by the median of what is there", "[transform]") {
  CHECK(Impute::fit(std::vector<float>{3, hole, 1, 2}).value == 2);
  CHECK(Impute::fit(std::vector<float>{4, 1, hole, 2, 3, hole}).value == 2.5f);
  CHECK(Impute::fit(std::vector<float>{hole, hole}).value == 0);
  CHECK(Impute::fit({}).value == 0);
  CHECK(Impute{7}.apply(hole) == 7);
  CHECK(Impute{7}.apply(3) == 3);
  auto values = numbers(3, 1001, 0.2);
  const float median = Impute::fit(values).value;
  std::erase_if(values, [](float x) { return x != x; });
  std::sort(values.begin(), values.end());
  CHECK(median ==
        static_cast<float>((static_cast<double>(values[(values.size() - 1) / 2]) + values[values.size() / 2]) / 2));
}

TEST_CASE("standardised columns have mean 0 and deviation 1", "[transform]") {
  const auto values = numbers(4, 5000, 0.1);
  const auto fitted = Standardise::fit(values);
  double sum = 0, squares = 0, count = 0;
  for (float x : values) {
    if (x != x) {
      CHECK(std::isnan(fitted.apply(x)));
      continue;
    }
    sum += fitted.apply(x);
    squares += static_cast<double>(fitted.apply(x)) * fitted.apply(x);
    ++count;
  }
  CHECK(std::abs(sum / count) < 1e-7);
  CHECK(squares / count == Approx(1).epsilon(1e-6));
  const auto constant = Standardise::fit(std::vector<float>{0.1f, hole, 0.1f, 0.1f});
  CHECK(constant.apply(0.1f) == 0);
  CHECK(constant.apply(1.1f) == Approx(1.0));
  CHECK(Standardise::fit({}).apply(3) == 3);
  const auto wide = Standardise::fit(std::vector<float>{-largest, largest, std::numeric_limits<float>::infinity()});
  CHECK(std::isfinite(wide.apply(largest)));
  CHECK(std::isfinite(Standardise::fit(std::vector<float>{0, 1e-30f}).apply(largest)));
}

TEST_CASE("min-max maps training values into [0, 1]", "[transform]") {
  const auto values = numbers(5, 5000, 0.1);
  const auto fitted = MinMax::fit(values);
  float low = 2, high = -1;
  for (float x : values) {
    if (x != x) continue;
    low = std::min(low, fitted.apply(x));
    high = std::max(high, fitted.apply(x));
  }
  CHECK(low == 0);
  CHECK(high == 1);
  CHECK(std::isnan(fitted.apply(hole)));
  CHECK(MinMax::fit(std::vector<float>{5, 5, hole}).apply(9) == 0);  // constant
  CHECK(MinMax::fit({}).apply(9) == 0);
  CHECK(MinMax::fit(std::vector<float>{-largest, largest}).apply(largest) == 1);
}

TEST_CASE("categories are those that occur, found by name", "[transform]") {
  const auto seen = Categories::fit(categorical({"z", "unused", "a", "m"}, {3, 0, -1, 2, 2}));
  CHECK(seen.names() == std::vector<std::string>{"z", "a", "m"});
  CHECK(seen.find("z") == 0);
  CHECK(seen.find("a") == 1);
  CHECK(seen.find("m") == 2);
  CHECK(seen.find("unused") == -1);
  CHECK(seen.find("") == -1);
  const ColumnSpec other{"c", ColumnType::categorical, ColumnRole::feature, {"z", "m", "new", "a"}};
  CHECK(seen.translate(other) == std::vector<std::int32_t>{0, 2, -1, 1});
  CHECK(seen.translate(other, -1) == -1);
  CHECK(seen.translate(other, 4) == -1);
  CHECK_THROWS_AS(Categories::fit(Column{}), Error);
}

TEST_CASE("ordinal and one-hot treat every wrong code as unknown", "[transform]") {
  const Ordinal ordinal{3};
  const OneHot one_hot{3};
  std::array<float, 3> out{};
  for (const float code : {0.0f, 1.0f, 2.0f}) {
    CHECK(ordinal.apply(code) == code);
    one_hot.apply(code, out);
    for (std::size_t c = 0; c < 3; ++c) CHECK(out[c] == (static_cast<float>(c) == code ? 1.0f : 0.0f));
  }
  for (const float code : {hole, -1.0f, 3.0f, 0.5f, 1e30f, -1e30f, std::numeric_limits<float>::infinity()}) {
    CHECK(std::isnan(ordinal.apply(code)));
    one_hot.apply(code, out);
    CHECK(out == std::array<float, 3>{});
  }
}

TEST_CASE("target encoding is the smoothed mean", "[transform]") {
  const std::vector<std::int32_t> codes{0, 0, 1, -1, 0, 2};
  const std::vector<double> targets{1, 0, 1, 1, std::nan(""), 0};
  const auto fitted = TargetEncoding::fit(codes, 4, {targets.data(), 6, 1}, 2.0);
  const double overall = 3.0 / 5;
  float out = 0;
  const auto value = [&](float code) {
    fitted.apply(code, {&out, 1});
    return out;
  };
  CHECK(value(0) == to_float((1 + 2 * overall) / 4));  // the row without target does not count
  CHECK(value(1) == to_float((1 + 2 * overall) / 3));
  CHECK(value(2) == to_float((0 + 2 * overall) / 3));
  CHECK(value(3) == to_float(overall));  // never seen
  CHECK(value(hole) == to_float(overall));
  const std::vector<std::uint8_t> none(6, 0);
  const auto empty = TargetEncoding::fit(codes, 4, {targets.data(), 6, 1}, 0.0, none);
  CHECK(empty.means == std::vector<float>(5, 0.0f));
  CHECK_THROWS_AS(TargetEncoding::fit(codes, 4, {targets.data(), 5, 1}, 2.0), Error);
}

TEST_CASE("TF-IDF equals scikit-learn's", "[transform][golden]") {
  // bench/peers/golden/tfidf.py, scikit-learn 1.9.1: non-zero values of each row, ascending.
  const std::vector<std::string> texts{
      "Great phone, great battery!",          "The battery died after two days. Terrible battery.",
      "Arrived late; the box was open",       "great box",
      "Schöne Grüße aus Köln, schöne Tasche", "the phone arrived after two days"};
  const std::vector<std::vector<double>> golden{
      {0.309174419, 0.309174419, 0.377035397, 0.377035397, 0.377035397, 0.618348838},
      {0.188206860, 0.222922936, 0.222922936, 0.222922936, 0.222922936, 0.222922936, 0.271852497, 0.271852497,
       0.271852497, 0.271852497, 0.271852497, 0.271852497, 0.271852497, 0.445845872},
      {0.220879178, 0.261621892, 0.261621892, 0.319045522, 0.319045522, 0.319045522, 0.319045522, 0.319045522,
       0.319045522, 0.319045522, 0.319045522},
      {0.535505802, 0.535505802, 0.653044464},
      {0.277350098, 0.277350098, 0.277350098, 0.277350098, 0.277350098, 0.277350098, 0.277350098, 0.277350098,
       0.277350098, 0.554700196},
      {0.241968782, 0.286601621, 0.286601621, 0.286601621, 0.286601621, 0.286601621, 0.286601621, 0.286601621,
       0.349508075, 0.349508075, 0.349508075}};
  TextColumn column;
  for (const auto& text : texts) column.push_back(text);
  const auto fitted = HashedTfidf::fit(column, 1 << 20, 2);
  std::vector<float> row(fitted.width());
  for (std::size_t i = 0; i < texts.size(); ++i) {
    fitted.apply(texts[i], row);
    std::vector<float> present;
    std::copy_if(row.begin(), row.end(), std::back_inserter(present), [](float x) { return x != 0; });
    std::sort(present.begin(), present.end());
    CAPTURE(texts[i]);
    REQUIRE(present.size() == golden[i].size());
    for (std::size_t k = 0; k < present.size(); ++k) CHECK(std::abs(present[k] - golden[i][k]) < 1e-7);
  }
}

TEST_CASE("TF-IDF equals a naive reference, collisions included", "[transform]") {
  Random random(11);
  TextColumn column;
  for (int i = 0; i < 300; ++i) {
    std::string text;
    for (std::uint64_t w = random.below(40); w > 0; --w) text += fmt::format("word{} ", random.below(400));
    column.push_back(text);
  }
  const std::size_t dims = 64;
  Arena one(1), many(4);
  const auto fitted = HashedTfidf::fit(column, dims, 3, &one);
  CHECK(HashedTfidf::fit(column, dims, 3, &many).idf == fitted.idf);

  std::vector<std::map<std::size_t, double>> counts(column.size());
  std::vector<double> documents(dims);
  for (std::size_t i = 0; i < column.size(); ++i) {
    for_each_ngram(column[i], 3, [&](std::uint64_t hash) { ++counts[i][hash % dims]; });
    for (const auto& [bucket, count] : counts[i]) ++documents[bucket];
  }
  std::vector<float> row(dims);
  for (std::size_t i = 0; i < column.size(); ++i) {
    std::vector<double> expected(dims);
    double squares = 0;
    for (const auto& [bucket, count] : counts[i]) {
      expected[bucket] = count * (std::log(301.0 / (1 + documents[bucket])) + 1);
      squares += expected[bucket] * expected[bucket];
    }
    fitted.apply(column[i], row);
    for (std::size_t d = 0; d < dims; ++d)
      REQUIRE(std::abs(row[d] - (squares > 0 ? expected[d] / std::sqrt(squares) : 0)) < 1e-6);
  }
  CHECK_THROWS_AS(HashedTfidf::fit(column, 100, 2), Error);
  CHECK_THROWS_AS(HashedTfidf::fit(column, 0, 2), Error);
  CHECK_THROWS_AS(HashedTfidf::fit(column, std::size_t{1} << 21, 2), Error);
  CHECK_THROWS_AS(HashedTfidf::fit(column, 64, 0), Error);
  CHECK_THROWS_AS(HashedTfidf::fit(column, 64, max_text_ngrams + 1), Error);
}

TEST_CASE("what target encoding averages", "[transform]") {
  Tensor<float> x({4, 1});
  const std::vector<std::int32_t> two{0, 1, -1, 1}, three{2, 0, 1, -1};
  const std::vector<double> values{1, 2, 3, 4};
  std::size_t outputs = 0;
  const auto binary = target_indicators(Dataset::from_matrix(x, two), outputs);
  CHECK(outputs == 1);
  CHECK(binary[1] == 1);
  CHECK(std::isnan(binary[2]));
  const auto multi = target_indicators(Dataset::from_matrix(x, three), outputs);
  CHECK(outputs == 3);
  CHECK(std::vector<double>(multi.begin(), multi.begin() + 9) == std::vector<double>{0, 0, 1, 1, 0, 0, 0, 1, 0});
  CHECK(std::isnan(multi[9]));
  CHECK(target_indicators(Dataset::from_matrix(x, std::span<const double>(values)), outputs) == values);
  CHECK(outputs == 1);
  CHECK_THROWS_AS(target_indicators(Dataset::from_matrix(x), outputs), Error);
}
