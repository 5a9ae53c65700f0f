// One row: the upper nodes of 64 trees per vector, then 15 nodes of a tree at a time.
#include <algorithm>
#include <limits>
#include <tuple>

#include "trees/forest_compiled.hpp"

namespace redoubt::detail {
namespace {

using kernels::detail::forest_block_nodes;
using kernels::detail::ForestBlock;

/// Connected nodes of a tree, and what they lead to, from left to right: a node of the tree, or ~leaf of the forest.
struct Cut {
  struct Test {
    std::int32_t node;
    std::uint16_t forbidden;
  };
  std::vector<Test> tests;  // in pre-order
  std::vector<std::int32_t> exits;
};

class Cutter {
 public:
  explicit Cutter(const TreeNodes& tree) : tree_(tree), size_(tree.nodes.size()), chosen_(tree.nodes.size()) {
    for (std::size_t i = size_.size(); i-- > 0;) size_[i] = 1 + size(tree.nodes[i].left) + size(tree.nodes[i].right);
  }
  std::size_t size(std::int32_t node) const { return node < 0 ? 0 : size_[static_cast<std::size_t>(node)]; }

  /// At most `most` nodes from `root` on, the most visited ones first, so that few rows need another block. With
  /// `spare` those whose subtree does not fit a block: the rest is left to it.
  Cut cut(std::int32_t root, std::size_t most, bool spare) {
    Cut out;
    open_.assign(root < 0 ? 0 : 1, root);
    std::size_t count = 0;
    const auto rank = [&](std::int32_t node) {
      return std::tuple(spare && size(node) > forest_block_nodes, at(node).cover, size(node));
    };
    while (!open_.empty() && count < most) {
      const auto best = std::max_element(open_.begin(), open_.end(), [&](auto a, auto b) { return rank(a) < rank(b); });
      const std::int32_t node = *best;
      if (spare && size(node) <= forest_block_nodes) break;
      *best = open_.back();
      open_.pop_back();
      chosen_[static_cast<std::size_t>(node)] = true;
      ++count;
      for (const std::int32_t child : {at(node).left, at(node).right})
        if (child >= 0) open_.push_back(child);
    }
    visit(root, out);
    return out;
  }

 private:
  const TreeNodes::Node& at(std::int32_t node) const { return tree_.nodes[static_cast<std::size_t>(node)]; }
  void visit(std::int32_t node, Cut& out) {
    if (node < 0 || !chosen_[static_cast<std::size_t>(node)]) {
      out.exits.push_back(node);
      return;
    }
    chosen_[static_cast<std::size_t>(node)] = false;
    const std::size_t place = out.tests.size(), first = out.exits.size();
    out.tests.push_back({node, 0});
    visit(at(node).left, out);
    out.tests[place].forbidden = static_cast<std::uint16_t>((1u << out.exits.size()) - (1u << first));
    visit(at(node).right, out);
  }

  const TreeNodes& tree_;
  std::vector<std::size_t> size_;
  std::vector<bool> chosen_;
  std::vector<std::int32_t> open_;
};

/// Nodes of a tree that are cut off for the sweep.
TreeNodes top_of(const TreeNodes& tree, const Cut& cut) {
  TreeNodes top;
  std::vector<std::int32_t> place(tree.nodes.size(), -1);
  for (std::size_t i = 0; i < cut.tests.size(); ++i)
    place[static_cast<std::size_t>(cut.tests[i].node)] = static_cast<std::int32_t>(i);
  for (const auto& test : cut.tests) {
    TreeNodes::Node node = tree.nodes[static_cast<std::size_t>(test.node)];
    const auto child = [&](std::int32_t c) { return c < 0 ? -1 : place[static_cast<std::size_t>(c)]; };
    node.left = child(node.left);
    node.right = child(node.right);
    top.nodes.push_back(node);
  }
  return top;
}

/// The exits of a top as the sweep counts them: exit 0 is the leftmost one, exit i + 1 the one right of node i.
std::vector<std::int32_t> exits_of(const TreeNodes& tree, const Cut& cut, const TreeNodes& top) {
  if (cut.tests.empty()) return cut.exits;
  std::vector<std::int32_t> exits(cut.tests.size() + 1);
  std::vector<std::size_t> first(cut.tests.size());
  for (std::size_t i = 0; i < top.nodes.size(); ++i) {
    const auto& inner = top.nodes[i];
    const auto& node = tree.nodes[static_cast<std::size_t>(cut.tests[i].node)];
    if (inner.left >= 0)
      first[static_cast<std::size_t>(inner.left)] = first[i];
    else
      exits[first[i]] = node.left;
    if (inner.right >= 0)
      first[static_cast<std::size_t>(inner.right)] = i + 1;
    else
      exits[i + 1] = node.right;
  }
  return exits;
}

}  // namespace

void compile_blocks(CompiledForest& out, const ForestShape& shape, const std::vector<const TreeNodes*>& trees) {
  constexpr std::size_t lanes = 64;
  BlockForm& form = out.blocks;
  const auto groups = make_groups(trees, out.columns());
  // All groups have as many slots, so that they may go in step.
  std::vector<Cut> tops;
  std::size_t slots = 0, used = 1;
  for (const RowGroup& group : groups)
    for (const TreeNodes* tree : group.trees) {
      tops.push_back(Cutter(*tree).cut(0, forest_block_nodes, true));
      slots = std::max(slots, tops.back().tests.size());
    }
  form.nodes.assign(groups.size() * slots * sweep_slot_bytes, 0);
  std::size_t index = 0;
  for (const RowGroup& group : groups) {
    std::size_t stride = 1;
    for (std::size_t i = 0; i < group.trees.size(); ++i) stride = std::max(stride, tops[index + i].exits.size());
    const std::size_t columns = group.columns.empty() ? out.columns() : group.columns.size();
    unsigned char* const nodes = form.nodes.data() + form.groups.size() * slots * sweep_slot_bytes;
    for (std::size_t i = 0; i < slots; ++i) std::fill_n(nodes + i * sweep_slot_bytes + lanes, lanes, 255);
    form.groups.push_back({{slots, sweep_vectors(columns), nodes},
                           static_cast<std::uint32_t>(used),
                           static_cast<std::uint32_t>(stride),
                           group.trees.size(),
                           columns});
    form.columns.push_back(group.columns);
    index += group.trees.size();
    used += lanes * stride;
  }
  form.blocks.assign(used, ForestBlock{});
  form.lane_tree.assign(groups.size() * lanes, 0);
  if (shape.outputs > 1 && shape.leaf_width == 1) form.lane_output.assign(groups.size() * lanes, 0);

  index = 0;
  std::vector<std::pair<std::int32_t, std::size_t>> open;  // a node and its block
  for (std::size_t g = 0; g < groups.size(); ++g)
    for (std::size_t lane = 0; lane < groups[g].trees.size(); ++lane, ++index) {
      const TreeNodes& tree = *groups[g].trees[lane];
      if (!form.lane_output.empty()) form.lane_output[g * lanes + lane] = tree.output;
      form.lane_tree[g * lanes + lane] = tree.tree;
      const TreeNodes top = top_of(tree, tops[index]);
      unsigned char* const nodes = form.nodes.data() + g * slots * sweep_slot_bytes;
      put_sweep_lane(nodes, lane, top, groups[g].columns, [](std::size_t, std::int32_t) {});
      const auto exits = exits_of(tree, tops[index], top);
      for (std::size_t e = 0; e < exits.size(); ++e)
        open.emplace_back(exits[e], form.groups[g].first + lane * form.groups[g].stride + e);
      Cutter cutter(tree);
      while (!open.empty()) {
        const auto [root, place] = open.back();
        open.pop_back();
        const Cut cut = cutter.cut(root, forest_block_nodes, false);
        ForestBlock block{};
        std::fill_n(block.threshold, 16, std::uint8_t{255});
        for (std::size_t i = 0; i < cut.tests.size(); ++i) {
          const auto& node = tree.nodes[static_cast<std::size_t>(cut.tests[i].node)];
          block.forbidden[i] = cut.tests[i].forbidden;
          block.column[i] = sweep_column(groups[g].columns, node.column);
          block.threshold[i] = node.threshold;
        }
        form.first_exit.resize(form.blocks.size());
        form.first_exit[place] = static_cast<std::uint32_t>(form.exit_leaf.size());
        for (std::size_t e = 0; e < cut.exits.size(); ++e) {
          form.exit_leaf.push_back(cut.exits[e] < 0 ? static_cast<std::uint32_t>(~cut.exits[e]) : 0);
          if (cut.exits[e] >= 0) {
            block.slots[e] = std::numeric_limits<std::int32_t>::min() + static_cast<std::int32_t>(form.blocks.size());
            open.emplace_back(cut.exits[e], form.blocks.size());
            form.blocks.emplace_back();
            form.more += static_cast<double>(tree.nodes[static_cast<std::size_t>(cut.exits[e])].cover) /
                         std::max(1e-30, static_cast<double>(tree.nodes[0].cover));
          } else {
            const auto leaf = static_cast<std::size_t>(~cut.exits[e]);
            block.slots[e] = shape.leaf_width > 1 ? static_cast<std::int32_t>(leaf) : out.leaves.values[leaf];
          }
        }
        form.blocks[place] = block;
      }
    }
}

}  // namespace redoubt::detail
