#include "redoubt/data/libsvm.hpp"

#include <catch2/catch.hpp>
#include <map>

#include "redoubt/core/error.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

namespace {

std::map<std::string, int> class_counts(const Dataset& data) {
  std::map<std::string, int> counts;
  for (const std::int32_t label : data.labels()) ++counts[data.classes()[label]];
  return counts;
}

}  // namespace

TEST_CASE("libsvm: sparse rows become dense columns", "[libsvm]") {
  const Dataset data = read_libsvm_text("+1 1:0.5 3:-2e1 # comment\r\n\n-1 2:7\n1\n");
  REQUIRE(data.rows() == 3);
  REQUIRE(data.cols() == 4);
  CHECK(data.schema()[0].name == "f1");
  CHECK(data.column("f1").numbers == std::vector<double>{0.5, 0, 0});
  CHECK(data.column("f3").numbers == std::vector<double>{-20, 0, 0});
  CHECK(data.column("f2").numbers == std::vector<double>{0, 7, 0});
  CHECK(data.classes()[0] == "-1");
  CHECK(data.labels()[0] == 1);
  CHECK(read_libsvm_text("1 0:5 1:6\n0 1:7\n").schema()[0].name == "f0");
  CHECK(read_libsvm_text("1 1:5\n0 1:6\n", {.features = 4}).cols() == 5);
  CHECK(read_libsvm_text("1.5 1:5\n0 1:6\n").task() == Task::regression);
  CHECK(read_libsvm_text("1 1:5\n0 1:6\n", {.task = Task::regression}).task() == Task::regression);
}

TEST_CASE("libsvm: query ids are carried along, not learned from", "[libsvm]") {
  const Dataset data = read_libsvm_text("0 qid:7 1:1\n1 qid:7 1:2\n2 qid:10 1:3\n");
  const Column& query = data.column("qid");
  CHECK(query.spec.role == ColumnRole::ignore);
  CHECK(query.spec.categories == std::vector<std::string>{"7", "10"});
  CHECK(query.codes == std::vector<std::int32_t>{0, 0, 1});
}

TEST_CASE("libsvm: bad rows", "[libsvm]") {
  const Dataset data = read_libsvm_text(
      "1 1:1\nx 1:1\n1 1:1 1:2\n1 2:1 1:2\n1 a:1\n1 1:b\n1 1\n1 -1:5\n0 1:2\n1 1:1\n1 1:1\n0 1:1\n1 1:1\n0 1:9\n1 "
      "1:2\n",
      {}, "f");
  CHECK(data.rows() == 8);
  CHECK(data.column("f1").numbers == std::vector<double>{1, 2, 1, 1, 1, 1, 9, 2});
  REQUIRE(data.quarantine().size() == 7);
  const std::vector<std::string> reasons = {"the label is no finite number",
                                            "indices do not rise",
                                            "indices do not rise",
                                            "an index is not a whole number from 0 to 131072",
                                            "a value is no finite number",
                                            "an entry is not of the form index:value",
                                            "an index is not a whole number from 0 to 131072"};
  for (std::size_t i = 0; i < 7; ++i) {
    CHECK(data.quarantine()[i].line == i + 2);
    CHECK(data.quarantine()[i].reason == reasons[i]);
  }
  CHECK(data.row_ids()[1] == 8);
  CHECK_THROWS_WITH(read_libsvm_text("1 1:1\n1 1:x\n", {.bad_rows = BadRows::error}, "f"),
                    "f:2: field 2: a value is no finite number");
  CHECK_THROWS_AS(read_libsvm_text(""), Error);
}

TEST_CASE("libsvm: what would not fit is refused before it is allocated", "[libsvm]") {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += "1 131072:1\n";
  try {
    read_libsvm_text(text);
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == errc::unsupported);
  }
}

TEST_CASE("libsvm: real files have the documented rows and classes", "[libsvm]") {
  SECTION("agaricus") {
    REDOUBT_NEED_DATA(path, "xgboost_demo/agaricus.txt.train");
    REDOUBT_NEED_DATA(test_path, "xgboost_demo/agaricus.txt.test");
    const Dataset train = read_libsvm(path, {.features = 126}), held = read_libsvm(test_path, {.features = 126});
    CHECK(train.rows() == 6513);
    CHECK(train.cols() == 127);
    CHECK(class_counts(train) == std::map<std::string, int>{{"0", 3373}, {"1", 3140}});
    CHECK(class_counts(held) == std::map<std::string, int>{{"0", 835}, {"1", 776}});
    CHECK(train.quarantine().empty());
    CHECK(train.schema() == held.schema());
  }
  SECTION("ranking") {
    REDOUBT_NEED_DATA(path, "lightgbm_examples/lambdarank/rank.train");
    const Dataset data = read_libsvm(path);
    CHECK(data.rows() == 3005);
    CHECK(data.schema().find("f300") != Schema::npos);
    CHECK(data.classes().size() <= 5);
  }
}
