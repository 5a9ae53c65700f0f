#include "redoubt/data/schema.hpp"

#include <catch2/catch.hpp>

#include "redoubt/core/error.hpp"

using namespace redoubt;

namespace {

Schema reviews() {
  return Schema({{"stars", ColumnType::numeric, ColumnRole::feature, {}},
                 {"genuine", ColumnType::categorical, ColumnRole::target, {"no", "yes"}},
                 {"account", ColumnType::categorical, ColumnRole::source, {"a"}},
                 {"text", ColumnType::text, ColumnRole::feature, {}}});
}

}  // namespace

TEST_CASE("schema: columns by name and by role", "[schema]") {
  const Schema schema = reviews();
  CHECK(schema.find("text") == 3);
  CHECK(schema.find("Text") == Schema::npos);
  CHECK(schema.at("account") == 2);
  CHECK(schema.find(ColumnRole::target) == 1);
  CHECK(schema.find(ColumnRole::time) == Schema::npos);
  CHECK(schema.features() == std::vector<std::size_t>{0, 3});
  CHECK(schema == reviews());
  CHECK(Schema().size() == 0);
}

TEST_CASE("schema: a wrong name is answered with the nearest ones", "[schema]") {
  CHECK_THROWS_WITH(reviews().at("genuin"),
                    Catch::Contains("no column \"genuin\"") && Catch::Contains("nearest: \"genuine\""));
  CHECK_THROWS_WITH(reviews().at("TEXT"), Catch::Contains("nearest: \"text\""));
  CHECK_THROWS_WITH(reviews().at("zzzzzzzzzzzz"), Catch::Contains("\"stars\", \"genuine\", \"account\""));
  CHECK_THROWS_WITH(Schema().at("x"), Catch::Contains("there are no columns"));
  try {
    reviews().at("x");
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.code() == errc::not_found);
  }
}

TEST_CASE("schema: names and unique roles are checked", "[schema]") {
  const auto build = [](ColumnRole first, ColumnRole second, const char* name = "b") {
    return Schema({{"a", ColumnType::numeric, first, {}}, {name, ColumnType::numeric, second, {}}});
  };
  for (const ColumnRole role : {ColumnRole::target, ColumnRole::source, ColumnRole::time, ColumnRole::weight}) {
    CHECK_THROWS_WITH(build(role, role), Catch::Contains(to_string(role)));
  }
  CHECK_NOTHROW(build(ColumnRole::ignore, ColumnRole::ignore));
  CHECK_THROWS_AS(build(ColumnRole::feature, ColumnRole::feature, "a"), Error);
  CHECK_THROWS_AS(build(ColumnRole::feature, ColumnRole::feature, ""), Error);
}

TEST_CASE("schema: the type of the target says what the task is", "[schema]") {
  const auto task = [](ColumnType type, ColumnRole role = ColumnRole::target) {
    return Schema({{"y", type, role, {}}}).task();
  };
  CHECK(task(ColumnType::categorical) == Task::classification);
  CHECK(task(ColumnType::numeric) == Task::regression);
  CHECK(task(ColumnType::text) == Task::none);
  CHECK(task(ColumnType::timestamp) == Task::none);
  CHECK(task(ColumnType::numeric, ColumnRole::feature) == Task::none);
}
