#include "redoubt/data/arff.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <map>

#include "redoubt/core/error.hpp"
#include "support/dataset_facts.hpp"
#include "support/test_data.hpp"

using namespace redoubt;
using test::class_counts;
using test::missing_cells;

namespace {

using Strings = std::vector<std::string>;

std::string message_of(std::string_view text, errc code = errc::parse_error) {
  try {
    read_arff_text(text, {}, "file.arff");
  } catch (const Error& error) {
    CHECK(to_string(error.code()) == std::string(to_string(code)));
    return error.what();
  }
  FAIL("no error for: " << text);
  return {};
}

const char* const weather =
    "% comment\r\n"
    "@RELATION 'the weather'\r\n"
    "@attribute 'out look' {sunny, 'over cast',rain}\r\n"
    "@ATTRIBUTE temperature REAL\r\n"
    "@attribute note string\r\n"
    "@attribute day date 'yyyy-MM-dd'\r\n"
    "@attribute play {yes,no}\r\n"
    "\r\n"
    "@data\r\n"
    "sunny, 85, 'it\\'s hot, very', 2024-02-29, no\r\n"
    "% another\r\n"
    "'over cast',?,?,?,yes\r\n"
    "rain,-1.5e1,\"x\",'2024-03-01',?";

}  // namespace

TEST_CASE("arff: types, quotes, comments, missing values", "[arff]") {
  const Dataset data = read_arff_text(weather);
  REQUIRE(data.rows() == 3);
  CHECK(data.schema()[0].name == "out look");
  CHECK(data.schema()[0].categories == Strings{"sunny", "over cast", "rain"});
  CHECK(data.column("out look").codes == std::vector<std::int32_t>{0, 1, 2});
  CHECK(data.column("temperature").numbers[2] == -15.0);
  CHECK(std::isnan(data.column("temperature").numbers[1]));
  CHECK(data.column("note").to_text(0) == "it's hot, very");
  CHECK(data.column("note").missing(1));
  CHECK(data.column("day").to_text(0) == "2024-02-29T00:00:00Z");
  CHECK(Strings(data.classes().begin(), data.classes().end()) == Strings{"yes", "no"});
  CHECK(data.labels()[0] == 1);
  CHECK(data.labels()[2] == -1);
  CHECK(data.quarantine().empty());
}

TEST_CASE("arff: roles", "[arff]") {
  const Dataset data =
      read_arff_text(weather, {.target = "temperature", .source = "note", .time = "day", .ignore = {"play"}});
  CHECK(data.task() == Task::regression);
  CHECK(data.source_names().size() == 2);
  CHECK(data.times().size() == 3);
  CHECK(data.schema().features().size() == 1);
  CHECK(read_arff_text(weather, {.no_target = true}).task() == Task::none);
  CHECK_THROWS_WITH(read_arff_text(weather, {.target = "plai"}), Catch::Contains("nearest: \"play\""));
}

TEST_CASE("arff: sparse rows", "[arff]") {
  const Dataset data = read_arff_text(
      "@relation s\n@attribute a numeric\n@attribute b {x,y}\n@attribute c numeric\n@attribute k {p,q}\n@data\n"
      "{0 5, 3 q}\n{}\n{1 y, 2 -1}\n{2 1, 1 y}\n{9 1}\n{2 ?}\n");
  REQUIRE(data.rows() == 4);
  CHECK(data.column("a").numbers == std::vector<double>{5, 0, 0, 0});
  CHECK(data.column("b").codes == std::vector<std::int32_t>{0, 0, 1, 0});
  CHECK(data.column("c").numbers[2] == -1);
  CHECK(std::isnan(data.column("c").numbers[3]));
  CHECK(data.labels()[0] == 1);
  REQUIRE(data.quarantine().size() == 2);
  CHECK(data.quarantine()[0].reason == "sparse indices do not rise");
  CHECK(data.quarantine()[1].line == 11);
  CHECK(data.row_ids()[3] == 5);
}

TEST_CASE("arff: bad rows are set aside with line, field and reason", "[arff]") {
  const std::string head = "@relation r\n@attribute a numeric\n@attribute s string\n@attribute c {x,y}\n@data\n";
  const Dataset data =
      read_arff_text(head + "1,t,x\n2,t\n3,t,z\nfour,t,x\n5,t,y,6\n6,'open,x\n7,t,y\n8,u,x\n9,u,x\n10,u,x\n11,u,y\n");
  CHECK(data.rows() == 6);
  REQUIRE(data.quarantine().size() == 5);
  const Strings reasons = {"2 values, expected 3", "\"c\" has no such value among its 2",
                           "\"a\" is numeric, but the value is no finite number", "more than the expected 3 values",
                           "a quote that never closes"};
  for (std::size_t i = 0; i < 5; ++i) {
    CHECK(data.quarantine()[i].reason == reasons[i]);
    CHECK(data.quarantine()[i].line == 7 + i);
  }
  CHECK(data.column("a").numbers == std::vector<double>{1, 7, 8, 9, 10, 11});
  CHECK(data.column("s").to_text(1) == "t");
  CHECK_THROWS_WITH(read_arff_text(head + "1,t,x\n2,t\n", {.bad_rows = BadRows::error}, "f"),
                    "f:7: field 3: 2 values, expected 3");
  CHECK(message_of(head + "1,t,x\n2,t\n3,t\n").find("2 of 3 rows are bad") != std::string::npos);
}

TEST_CASE("arff: header mistakes name the line", "[arff]") {
  CHECK(message_of("hello\n") == "file.arff:1: expected @attribute or @data, found \"hello\"");
  CHECK(message_of("@relation r\n@attribute a numeric\n").find("there is no @data line") != std::string::npos);
  CHECK(message_of("@relation r\n@data\n") == "file.arff:2: @data before any @attribute");
  CHECK(message_of("@attribute a foo\n@data\n") == "file.arff:1: \"a\" has the unknown type \"foo\"");
  CHECK(message_of("@attribute a {x,x}\n").find("twice") != std::string::npos);
  CHECK(message_of("@attribute a {x,\n").find("without its closing }") != std::string::npos);
  CHECK(message_of("@attribute a real\n@attribute a real\n") == "file.arff:2: a second attribute \"a\"");
  CHECK(message_of("@attribute 'a real\n") == "file.arff:1: a quote that never closes");
  CHECK(message_of("@attribute a real\n@data\n").find("no row") != std::string::npos);
  CHECK(message_of("").find("@data") != std::string::npos);
  message_of("@attribute a relational\n", errc::unsupported);
}

TEST_CASE("arff: real files have the documented rows, classes and missing values", "[arff]") {
  using Counts = std::map<std::string, int>;
  SECTION("spambase") {
    REDOUBT_NEED_DATA(path, "uci_arff/spambase.arff");
    const Dataset data = read_arff(path);
    CHECK(data.rows() == 4601);
    CHECK(data.cols() == 58);
    CHECK(class_counts(data) == Counts{{"0", 2788}, {"1", 1813}});
    CHECK(data.quarantine().empty());
  }
  SECTION("mushroom") {
    REDOUBT_NEED_DATA(path, "uci_arff/mushroom.arff");
    const Dataset data = read_arff(path);
    CHECK(data.rows() == 8124);
    CHECK(data.cols() == 23);
    CHECK(class_counts(data) == Counts{{"e", 4208}, {"p", 3916}});
    CHECK(missing_cells(data) == 2480);
    CHECK(data.quarantine().empty());
  }
  SECTION("breast cancer") {
    REDOUBT_NEED_DATA(path, "uci_arff/breast.w.arff");
    const Dataset data = read_arff(path);
    CHECK(data.rows() == 699);
    CHECK(missing_cells(data) == 16);
    CHECK(class_counts(data).size() == 2);
  }
  SECTION("iris") {
    REDOUBT_NEED_DATA(path, "uci_arff/iris.arff");
    for (const auto& [name, count] : class_counts(read_arff(path))) CHECK(count == 50);
  }
  SECTION("wine, whose class comes first") {
    REDOUBT_NEED_DATA(path, "uci_arff/wine.arff");
    const Dataset data = read_arff(path, {.target = "class"});
    CHECK(data.rows() == 178);
    CHECK(data.classes().size() == 3);
    CHECK(data.schema().features().size() == 13);
  }
  SECTION("credit, of mixed types") {
    REDOUBT_NEED_DATA(path, "uci_arff/credit.g.arff");
    const Dataset data = read_arff(path);
    CHECK(data.rows() == 1000);
    CHECK(class_counts(data) == Counts{{"bad", 300}, {"good", 700}});
  }
  SECTION("california housing") {
    REDOUBT_NEED_DATA(path, "uci_arff/cal.housing.arff");
    const Dataset data = read_arff(path);
    CHECK(data.rows() == 20640);
    CHECK(data.cols() == 9);
    CHECK(data.task() == Task::regression);
    CHECK(missing_cells(data) == 0);
  }
}
