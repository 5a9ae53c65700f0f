// One row: 64 trees per vector.
#include <algorithm>
#include <numeric>

#include "trees/forest_compiled.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t lanes = 64, slot_bytes = 3 * lanes;
constexpr std::size_t addressable = 256;  // columns that a byte names

struct Group {
  std::vector<const TreeNodes*> trees;
  std::vector<std::uint16_t> columns;  // sorted; empty: no list is needed
};

/// Trees of like size together, because a group costs as many slots as its largest tree.
std::vector<Group> make_groups(const std::vector<TreeNodes>& trees, std::size_t columns) {
  std::vector<const TreeNodes*> order;
  for (const TreeNodes& tree : trees) order.push_back(&tree);
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->nodes.size() > b->nodes.size(); });
  std::vector<Group> groups;
  for (const TreeNodes* tree : order) {
    std::vector<std::uint16_t> joined;
    if (columns > addressable) {
      for (const auto& node : tree->nodes) joined.push_back(static_cast<std::uint16_t>(node.column));
      if (!groups.empty()) joined.insert(joined.end(), groups.back().columns.begin(), groups.back().columns.end());
      std::sort(joined.begin(), joined.end());
      joined.erase(std::unique(joined.begin(), joined.end()), joined.end());
    }
    if (groups.empty() || groups.back().trees.size() == lanes || joined.size() > addressable) {
      groups.emplace_back();
      if (columns > addressable) {
        joined.clear();
        for (const auto& node : tree->nodes) joined.push_back(static_cast<std::uint16_t>(node.column));
        std::sort(joined.begin(), joined.end());
        joined.erase(std::unique(joined.begin(), joined.end()), joined.end());
      }
    }
    groups.back().trees.push_back(tree);
    groups.back().columns = std::move(joined);
  }
  return groups;
}

}  // namespace

void compile_sweep(CompiledForest& out, const ForestShape& shape, const std::vector<TreeNodes>& trees) {
  const std::size_t width = shape.leaf_width;
  const auto groups = make_groups(trees, out.columns());
  std::size_t bytes = 0, values = 0;
  for (const Group& group : groups) {
    const std::size_t slots = group.trees[0]->nodes.size();
    bytes += slots * slot_bytes;
    values += lanes * (slots + 1) * width;
  }
  out.sweep_nodes.resize(bytes);
  out.sweep_values.resize(values);
  if (shape.outputs > 1 && width == 1) out.lane_output.assign(groups.size() * lanes, 0);
  unsigned char* nodes = out.sweep_nodes.data();
  values = 0;
  std::vector<std::uint8_t> first;
  for (const Group& group : groups) {
    const std::size_t slots = group.trees[0]->nodes.size();
    const std::size_t used = group.columns.empty() ? out.columns() : group.columns.size();
    out.group_leaves.push_back(values);
    out.group_columns.push_back(group.columns);
    for (std::size_t i = 0; i < slots; ++i) std::fill_n(nodes + i * slot_bytes + lanes, lanes, 255);  // never above
    for (std::size_t lane = 0; lane < group.trees.size(); ++lane) {
      const TreeNodes& tree = *group.trees[lane];
      if (!out.lane_output.empty()) out.lane_output[out.groups.size() * lanes + lane] = tree.output;
      std::int32_t* const leaf = out.sweep_values.data() + values + lane * (slots + 1) * width;
      const auto put = [&](std::size_t place, std::int32_t child) {
        for (std::size_t k = 0; k < width; ++k)
          leaf[place * width + k] = out.leaves.values[static_cast<std::size_t>(~child) * width + k];
      };
      first.assign(tree.nodes.size(), 0);
      for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
        const auto& node = tree.nodes[i];
        unsigned char* const slot = nodes + i * slot_bytes + lane;
        slot[0] = static_cast<unsigned char>(
            group.columns.empty()
                ? node.column
                : std::lower_bound(group.columns.begin(), group.columns.end(), node.column) - group.columns.begin());
        slot[lanes] = node.threshold;
        slot[2 * lanes] = first[i];
        if (node.left >= 0)
          first[static_cast<std::size_t>(node.left)] = first[i];
        else
          put(first[i], node.left);
        if (node.right >= 0)
          first[static_cast<std::size_t>(node.right)] = static_cast<std::uint8_t>(i + 1);
        else
          put(i + 1, node.right);
      }
    }
    const std::size_t vectors = (used + lanes - 1) / lanes;
    out.groups.push_back({slots, vectors == 3 ? 4 : std::max<std::size_t>(vectors, 1), nodes});
    nodes += slots * slot_bytes;
    values += lanes * (slots + 1) * width;
  }
}

}  // namespace redoubt::detail
