#include "redoubt/data/column.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <ctime>

#include "data/timestamp.hpp"
#include "redoubt/core/random.hpp"

using namespace redoubt;

TEST_CASE("column: size, missing cells, subsets and texts of every type", "[column]") {
  Column number{{"n", ColumnType::numeric, ColumnRole::feature, {}}, {1.5, std::nan(""), 1e22, 0.1}, {}, {}, {}};
  Column category{{"c", ColumnType::categorical, ColumnRole::feature, {"a", "b"}}, {}, {1, -1, 0, 1}, {}, {}};
  Column text{{"t", ColumnType::text, ColumnRole::feature, {}}, {}, {}, {}, {}};
  for (const char* cell : {"one", "", "three", "4"}) text.texts.push_back(cell);
  Column time{{"w", ColumnType::timestamp, ColumnRole::feature, {}}, {}, {}, {}, {0, missing_time, 1, 86'400'000'000}};
  const std::vector<std::vector<std::string>> expected = {
      {"1.5", "", "1e+22", "0.1"},
      {"b", "", "a", "b"},
      {"one", "", "three", "4"},
      {"1970-01-01T00:00:00Z", "", "1970-01-01T00:00:00.000001Z", "1970-01-02T00:00:00Z"}};
  std::size_t i = 0;
  for (const Column& column : {number, category, text, time}) {
    REQUIRE(column.size() == 4);
    const Column taken = column.take({3, 1, 1, 0});
    CHECK(taken.spec == column.spec);
    REQUIRE(taken.size() == 4);
    for (std::size_t row = 0; row < 4; ++row) {
      CHECK(column.missing(row) == (row == 1));
      CHECK(column.to_text(row) == expected[i][row]);
    }
    CHECK(taken.to_text(0) == expected[i][3]);
    CHECK(taken.missing(1));
    CHECK(taken.missing(2));
    CHECK(taken.to_text(3) == expected[i][0]);
    CHECK(column.take({}).size() == 0);
    ++i;
  }
}

TEST_CASE("column: times as ISO 8601 text and back", "[column]") {
  Random random(4);
  for (int i = 0; i < 20'000; ++i) {
    // Any microsecond of the years 0000 to 9999.
    const std::int64_t micros =
        -62'167'219'200'000'000 + static_cast<std::int64_t>(random.below(315'569'520'000'000'000));
    const std::string text = detail::format_timestamp(micros);
    std::int64_t back = 0;
    REQUIRE(detail::parse_timestamp(text, back));
    REQUIRE(back == micros);
    std::time_t seconds = static_cast<std::time_t>((micros - (micros % 1'000'000 + 1'000'000) % 1'000'000) / 1'000'000);
    std::tm civil{};
    ::gmtime_r(&seconds, &civil);
    char expected[40];
    std::snprintf(expected, sizeof expected, "%04d-%02d-%02dT%02d:%02d:%02d", civil.tm_year + 1900, civil.tm_mon + 1,
                  civil.tm_mday, civil.tm_hour, civil.tm_min, civil.tm_sec);
    REQUIRE(text.substr(0, 19) == expected);
  }
  const auto read = [](const char* text) {
    std::int64_t micros = 0;
    return detail::parse_timestamp(text, micros) ? micros : missing_time;
  };
  CHECK(read("1970-01-02") == 86'400'000'000);
  CHECK(read("1970-01-01 00:01") == 60'000'000);
  CHECK(read("1970-01-01T00:00:01.5Z") == 1'500'000);
  CHECK(read("1970-01-01T00:00:01,123456789z") == 1'123'456);
  CHECK(read("1970-01-01T02:00:00+02:00") == 0);
  CHECK(read("1969-12-31T22:30:00-0130") == 0);
  CHECK(read("2024-02-29") == read("2024-02-28") + 86'400'000'000);
  for (const char* text :
       {"", "2023-02-29", "2024-13-01", "2024-00-01", "2024-01-32", "2024-1-1", "24-01-01", "2024-01-01T",
        "2024-01-01T24:00", "2024-01-01T10:60", "2024-01-01T10:00:61", "2024-01-01T10:00:00.", "2024-01-01T10:00Q",
        "2024-01-01 ", "0000-01-01T00:00:00+01:00", "9999-12-31T23:59:60", "1700000000"}) {
    INFO(text);
    CHECK(read(text) == missing_time);
  }
}
