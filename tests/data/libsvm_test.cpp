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
  CHECK(data.task() == Task::regression);  // labels are grades
  CHECK(read_libsvm_text("0 qid:7 1:1\n1 qid:7 1:2\n", {.task = Task::classification}).task() == Task::classification);
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

TEST_CASE("libsvm: labels may carry weights if asked", "[libsvm]") {
  const std::string text = "1:0.5 1:2\n0 1:3\n0:0 1:4\n1:-1 1:5\n1:x 1:6\n";
  const Dataset data = read_libsvm_text(text, {.weights = true});
  CHECK(std::vector<double>(data.weights().begin(), data.weights().end()) == std::vector<double>{0.5, 1, 0});
  REQUIRE(data.quarantine().size() == 2);
  CHECK(data.quarantine()[0].reason == "the weight is no finite number from 0 on");
  CHECK(read_libsvm_sparse_text(text, {.weights = true}).weights == std::vector<double>{0.5, 1, 0});
  CHECK_THROWS_WITH(read_libsvm_text(text, {.bad_rows = BadRows::error}), Catch::Contains("the label is no finite"));
}

TEST_CASE("libsvm: rows stay sparse", "[libsvm]") {
  const SparseDataset data = read_libsvm_sparse_text("+1 1:0.5 3:-2e1 # comment\r\n\n-1 2:7\n1\n");
  CHECK(data.rows() == 3);
  CHECK(data.cols == 4);  // column c is index c
  CHECK(data.row_offsets == std::vector<std::uint64_t>{0, 2, 3, 3});
  CHECK(data.columns == std::vector<std::uint32_t>{1, 3, 2});
  CHECK(data.values == std::vector<float>{0.5f, -20, 7});
  CHECK(data.task == Task::classification);
  CHECK(data.classes == std::vector<std::string>{"-1", "1"});
  CHECK(data.labels == std::vector<std::int32_t>{1, 0, 1});
  CHECK(data.targets.empty());
  CHECK(data.weights.empty());
  CHECK(data.queries.empty());
  CHECK(data.row_ids == std::vector<RowId>{0, 1, 2});
  CHECK(read_libsvm_sparse_text("1 0:5\n0 2:7\n").columns == std::vector<std::uint32_t>{0, 2});
  CHECK(read_libsvm_sparse_text("1 1:5\n0 1:6\n", {.features = 9}).cols == 10);
  const SparseDataset values = read_libsvm_sparse_text("1.5 1:5\n0 1:6\n");
  CHECK(values.task == Task::regression);
  CHECK(values.targets == std::vector<double>{1.5, 0});
  // Far beyond what could be spread out.
  std::string wide;
  for (int r = 0; r < 1000; ++r) wide += "0 " + std::to_string(r) + ":1 4194304:2\n";
  CHECK(read_libsvm_sparse_text(wide).cols == 4194305);
}

TEST_CASE("libsvm: sparse rows keep queries and grades", "[libsvm]") {
  const SparseDataset data = read_libsvm_sparse_text("0 qid:b 1:1\n2 qid:b 1:2\n1 qid:a 1:3\n");
  CHECK(data.task == Task::regression);
  CHECK(data.targets == std::vector<double>{0, 2, 1});
  CHECK(data.queries == std::vector<std::uint32_t>{0, 0, 1});
  CHECK(read_libsvm_sparse_text("0 qid:b 1:1\n1 qid:a 1:2\n", {.task = Task::classification}).classes.size() == 2);
  const SparseDataset mixed = read_libsvm_sparse_text("0 qid:b 1:1\n2 1:2\n1 qid:a 1:3\n");
  REQUIRE(mixed.quarantine.size() == 1);
  CHECK(mixed.quarantine[0].line == 2);
  CHECK(mixed.quarantine[0].reason == "the row has no qid, others have");
  CHECK(mixed.row_ids == std::vector<RowId>{0, 2});
}

TEST_CASE("libsvm: bad sparse rows", "[libsvm]") {
  const SparseDataset data = read_libsvm_sparse_text(
      "1 1:1\n1 1:2 1:3\n1 2:1 4194305:1\n1 1:1e39\n0 1:2 3:b\n0 qid:1 1:1\n1 99999999999:1\n1 3:1\n0 1:-1\n"
      "1 5:1\n1 1:1\n0\n");
  CHECK(data.rows() == 6);
  CHECK(data.cols == 6);
  CHECK(data.row_offsets == std::vector<std::uint64_t>{0, 1, 2, 3, 4, 5, 5});
  CHECK(data.columns == std::vector<std::uint32_t>{1, 3, 1, 5, 1});
  const std::vector<std::string> reasons = {"indices do not rise",
                                            "an index is not a whole number from 0 to 4194304",
                                            "a value is beyond the range of float",
                                            "a value is no finite number",
                                            "the row has a qid, others have not",
                                            "an index is not a whole number from 0 to 4194304"};
  REQUIRE(data.quarantine.size() == reasons.size());
  for (std::size_t i = 0; i < reasons.size(); ++i) {
    CHECK(data.quarantine[i].line == i + 2);
    CHECK(data.quarantine[i].reason == reasons[i]);
  }
  CHECK_THROWS_WITH(read_libsvm_sparse_text("1 1:1\n1 1:x\n", {.bad_rows = BadRows::error}, "f"),
                    "f:2: field 2: a value is no finite number");
  CHECK_THROWS_WITH(read_libsvm_sparse_text("1 9:1\n1 9:1\n", {.max_index = 8}), Catch::Contains("from 0 to 8"));
  CHECK_THROWS_WITH(read_libsvm_sparse_text("1 1:1\n", {.features = 9, .max_index = 8}),
                    Catch::Contains("features is 9"));
  CHECK_THROWS_AS(read_libsvm_sparse_text(""), Error);
  CHECK_THROWS_AS(read_libsvm_sparse_text("1 1:1\n", {.max_index = std::size_t{1} << 32}), Error);
}

TEST_CASE("libsvm: sparse and dense rows of real files are the same", "[libsvm]") {
  REDOUBT_NEED_DATA(path, "lightgbm_examples/lambdarank/rank.train");
  const Dataset dense = read_libsvm(path, {.task = Task::regression});
  const SparseDataset sparse = read_libsvm_sparse(path, {.task = Task::regression});
  REQUIRE(sparse.rows() == dense.rows());
  CHECK(std::equal(sparse.targets.begin(), sparse.targets.end(), dense.targets().begin()));
  std::size_t cells = 0, equal = 0;
  for (std::size_t c = 1; c < sparse.cols; ++c)
    for (const double v : dense.column("f" + std::to_string(c)).numbers) cells += v != 0;
  for (std::size_t r = 0; r < sparse.rows(); ++r)
    for (std::uint64_t i = sparse.row_offsets[r]; i < sparse.row_offsets[r + 1]; ++i)
      equal += sparse.values[i] != 0 &&
               sparse.values[i] == static_cast<float>(dense.column(sparse.columns[i] - 1).numbers[r]);
  CHECK(equal == cells);
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
