// One row: 64 trees per vector.
#include <algorithm>
#include <numeric>

#include "trees/forest_compiled.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t lanes = 64, slot_bytes = sweep_slot_bytes;

}  // namespace

std::vector<RowGroup> make_groups(const std::vector<const TreeNodes*>& trees, std::size_t columns) {
  std::vector<const TreeNodes*> order = trees;
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->nodes.size() > b->nodes.size(); });
  std::vector<RowGroup> groups;
  for (const TreeNodes* tree : order) {
    std::vector<std::uint16_t> joined;
    if (columns > addressable_columns) {
      for (const auto& node : tree->nodes) joined.push_back(static_cast<std::uint16_t>(node.column));
      if (!groups.empty()) joined.insert(joined.end(), groups.back().columns.begin(), groups.back().columns.end());
      std::sort(joined.begin(), joined.end());
      joined.erase(std::unique(joined.begin(), joined.end()), joined.end());
    }
    if (groups.empty() || groups.back().trees.size() == lanes || joined.size() > addressable_columns) {
      groups.emplace_back();
      if (columns > addressable_columns) {
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

std::uint8_t sweep_column(const std::vector<std::uint16_t>& columns, std::uint32_t column) {
  return static_cast<std::uint8_t>(
      columns.empty() ? column : std::lower_bound(columns.begin(), columns.end(), column) - columns.begin());
}

std::size_t sweep_vectors(std::size_t columns) {
  const std::size_t vectors = (columns + lanes - 1) / lanes;
  return vectors == 3 ? 4 : std::max<std::size_t>(vectors, 1);
}

void compile_sweep(CompiledForest& out, const ForestShape& shape, const std::vector<const TreeNodes*>& trees) {
  const std::size_t width = shape.leaf_width;
  const auto groups = make_groups(trees, out.columns());
  std::size_t bytes = 0, values = 0;
  for (const RowGroup& group : groups) {
    const std::size_t slots = group.trees[0]->nodes.size();
    bytes += slots * slot_bytes;
    values += lanes * (slots + 1) * width;
  }
  out.sweep_nodes.resize(bytes);
  out.sweep_values.resize(values);
  out.sweep_leaf.resize(values / width);
  out.lane_tree.assign(groups.size() * lanes, no_tree);
  if (shape.outputs > 1 && width == 1) out.lane_output.assign(groups.size() * lanes, 0);
  unsigned char* nodes = out.sweep_nodes.data();
  values = 0;
  for (const RowGroup& group : groups) {
    const std::size_t slots = group.trees[0]->nodes.size();
    const std::size_t used = group.columns.empty() ? out.columns() : group.columns.size();
    out.group_leaves.push_back(values);
    out.group_columns.push_back(group.columns);
    for (std::size_t i = 0; i < slots; ++i) std::fill_n(nodes + i * slot_bytes + lanes, lanes, 255);  // never above
    for (std::size_t lane = 0; lane < group.trees.size(); ++lane) {
      const TreeNodes& tree = *group.trees[lane];
      if (!out.lane_output.empty()) out.lane_output[out.groups.size() * lanes + lane] = tree.output;
      std::int32_t* const leaf = out.sweep_values.data() + values + lane * (slots + 1) * width;
      std::uint32_t* const leaf_id = out.sweep_leaf.data() + values / width + lane * (slots + 1);
      out.lane_tree[out.groups.size() * lanes + lane] = tree.tree;
      const auto put = [&](std::size_t place, std::int32_t child) {
        leaf_id[place] = static_cast<std::uint32_t>(~child);
        for (std::size_t k = 0; k < width; ++k)
          leaf[place * width + k] = out.leaves.values[static_cast<std::size_t>(~child) * width + k];
      };
      put_sweep_lane(nodes, lane, tree, group.columns, put);
    }
    out.groups.push_back({slots, sweep_vectors(used), nodes});
    nodes += slots * slot_bytes;
    values += lanes * (slots + 1) * width;
  }
}

}  // namespace redoubt::detail
