#include "redoubt/lifecycle/lineage.hpp"

#include <fmt/format.h>

#include "redoubt/core/error.hpp"

namespace redoubt {

const char* to_string(LineageKind kind) noexcept {
  switch (kind) {
    case LineageKind::dataset: return "dataset";
    case LineageKind::stage: return "stage";
    case LineageKind::model: return "model";
    case LineageKind::verdict: return "verdict";
    case LineageKind::release: return "release";
  }
  return "unknown";
}

std::size_t LineageGraph::find(const std::string& id) const noexcept {
  std::size_t i = 0;
  while (i < nodes.size() && nodes[i].id != id) ++i;
  return i;
}

LineageGraph LineageGraph::upstream(std::size_t node) const {
  if (node >= nodes.size())
    detail::fail(errc::not_found, fmt::format("node {} of a lineage graph of {} nodes", node, nodes.size()));
  std::vector<std::vector<std::size_t>> incoming(nodes.size());
  for (const auto& edge : edges) incoming[edge.to].push_back(edge.from);
  std::vector<char> seen(nodes.size());
  std::vector<std::size_t> todo{node};
  seen[node] = 1;
  while (!todo.empty()) {
    const auto here = todo.back();
    todo.pop_back();
    for (const auto before : incoming[here])
      if (!seen[before]) {
        seen[before] = 1;
        todo.push_back(before);
      }
  }
  LineageGraph result;
  std::vector<std::size_t> moved(nodes.size());
  for (std::size_t i = 0; i < nodes.size(); ++i)
    if (seen[i]) {
      moved[i] = result.nodes.size();
      result.nodes.push_back(nodes[i]);
    }
  for (const auto& edge : edges)
    if (seen[edge.from] && seen[edge.to]) result.edges.push_back({moved[edge.from], moved[edge.to], edge.label});
  return result;
}

}  // namespace redoubt
