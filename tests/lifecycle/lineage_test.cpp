#include "redoubt/lifecycle/lineage.hpp"

#include <catch2/catch.hpp>

#include "redoubt/core/error.hpp"

using namespace redoubt;

TEST_CASE("upstream keeps exactly what leads to a node") {
  LineageGraph graph;
  for (const char* id : {"a", "b", "c", "d", "e"}) graph.nodes.push_back({id, LineageKind::stage, id, "", ""});
  graph.edges = {{0, 1, ""}, {1, 2, "x"}, {0, 2, ""}, {3, 4, ""}, {2, 4, ""}};
  const auto up = graph.upstream(graph.find("c"));
  REQUIRE(up.nodes.size() == 3);
  CHECK(up.edges.size() == 3);
  CHECK(up.find("d") == up.nodes.size());
  CHECK(graph.upstream(4).nodes.size() == 5);
  CHECK(graph.upstream(3).edges.empty());
  CHECK_THROWS_AS(graph.upstream(5), Error);
}
