#include "redoubt/trees/target.hpp"

#include <catch2/catch.hpp>

#include "redoubt/core/error.hpp"
#include "trees/grown_tree.hpp"
#include "trees/support.hpp"

namespace redoubt {
namespace {

TEST_CASE("a target is what the dataset's target column holds", "[target]") {
  const auto x = test::random_matrix(4, 2, 1);
  const std::vector<std::int32_t> labels = {0, 2, 1, 2};
  const auto classes = Dataset::from_matrix(x, labels);
  const TreeTarget y = TreeTarget::of(classes);
  CHECK(y.task == Task::classification);
  CHECK(y.classes == 3);
  CHECK(std::vector(y.labels.begin(), y.labels.end()) == labels);
  CHECK(y.weights.empty());
  const std::vector<double> targets = {1, 2, 3, 4.5};
  const auto values = Dataset::from_matrix(x, targets);
  const TreeTarget z = TreeTarget::of(values);
  CHECK(z.task == Task::regression);
  CHECK(std::vector(z.values.begin(), z.values.end()) == targets);
  const auto none = Dataset::from_matrix(x);
  CHECK_THROWS_WITH(TreeTarget::of(none), Catch::Contains("no target"));
}

TEST_CASE("rows without target or weight are left out", "[target]") {
  const std::vector<std::int32_t> labels = {0, -1, 1, 1, 0};
  const std::vector<double> weights = {1, 1, 0, 2, 3};
  TreeTarget y{.task = Task::classification, .labels = labels, .classes = 2, .weights = weights};
  CHECK(detail::usable_rows(y, 5, {}) == std::vector<std::uint32_t>{0, 3, 4});
  CHECK(!detail::all_usable(y, 5));
  CHECK(detail::all_usable(y, 1));
  const std::vector<std::uint32_t> listed = {4, 1, 0};
  CHECK(detail::usable_rows(y, 5, listed) == std::vector<std::uint32_t>{0, 4});
  const std::vector<std::uint32_t> twice = {4, 4}, beyond = {5}, useless = {1, 2};
  CHECK_THROWS_WITH(detail::usable_rows(y, 5, twice), Catch::Contains("row 4 is listed twice"));
  CHECK_THROWS_WITH(detail::usable_rows(y, 5, beyond), Catch::Contains("row 5 is listed"));
  CHECK_THROWS_WITH(detail::usable_rows(y, 5, useless), Catch::Contains("no row"));
  const std::vector<double> values = {1, test::not_a_number, 2};
  TreeTarget z{.values = values};
  CHECK(detail::usable_rows(z, 3, {}) == std::vector<std::uint32_t>{0, 2});
  CHECK(!detail::all_usable(z, 3));
}

TEST_CASE("bad targets are refused with the row", "[target]") {
  const std::vector<std::int32_t> labels = {0, 1, 2};
  const std::vector<double> weights = {1, -1, 0}, values = {0, 1, test::infinite};
  CHECK_THROWS_WITH(detail::check_target({.task = Task::classification, .labels = labels, .classes = 2}, 3),
                    Catch::Contains("label 2 of row 2"));
  CHECK_THROWS_WITH(detail::check_target({.task = Task::classification, .labels = labels, .classes = 1}, 3),
                    Catch::Contains("at least 2 classes"));
  CHECK_THROWS_WITH(detail::check_target({.task = Task::classification, .labels = labels, .classes = 3}, 4),
                    Catch::Contains("3 labels for 4 rows"));
  CHECK_THROWS_WITH(
      detail::check_target({.task = Task::classification, .labels = labels, .classes = 3, .weights = weights}, 3),
      Catch::Contains("weight -1 of row 1"));
  CHECK_THROWS_WITH(detail::check_target({.values = values}, 3), Catch::Contains("row 2"));
  CHECK_THROWS_AS(detail::check_target({.task = Task::none}, 0), Error);
}

}  // namespace
}  // namespace redoubt
