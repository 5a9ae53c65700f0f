// Batches: every distinct test of a slice of the forest becomes one mask over the rows of a block, and every bit of the
// code that says which leaf a tree gives them is computed from those masks with selects, bottom up.
//
// The code of a tree is chosen to need few selects. In a *cube* of dimension d, the top bit of d is the test of its
// root, the lower bits are those of the child that the test picks: bit j costs a select only where both children have
// it, and leaves above the deepest ones stand for all codes of their part. Where that takes more codes than a table
// has, the upper nodes of the tree select between the codes of small cubes instead, all bits.
#include <algorithm>
#include <array>
#include <map>
#include <queue>
#include <tuple>

#include "trees/forest_compiled.hpp"

namespace redoubt::detail {
namespace {

using kernels::detail::ForestSelect;
using kernels::detail::ForestSliceTree;

constexpr std::size_t max_tests = 8192;   // masks of a block of 512 rows: 512 KiB, half of a common L2
constexpr std::size_t max_slots = 65000;  // what ForestSelect can name

/// Operand of a select before slots are known.
struct Operand {
  enum Kind : std::uint8_t { none, zero, one, test, result } kind = none;
  std::uint32_t index = 0;  // node, or temporary
  bool operator==(const Operand&) const = default;
};
struct SymbolicSelect {
  std::uint32_t node;
  Operand left, right;
  std::uint32_t result;  // temporary
};
constexpr unsigned most_bits = 10;
using Planes = std::array<Operand, most_bits>;

struct Program {
  unsigned bits = 0;
  std::vector<SymbolicSelect> selects;
  std::uint32_t temporaries = 0;
  Planes planes{};
  std::vector<std::int32_t> leaf_of;  // per code: leaf of the forest, as ~leaf; 0 where unused
  double cost = 0;
};

class Encoder {
 public:
  Encoder(const TreeNodes& tree, unsigned bits) : tree_(tree.nodes), bits_(bits), dimension_(tree_.size(), -1) {}

  Program run() {
    Program p;
    p.bits = bits_;
    p.leaf_of.assign(std::size_t{1} << bits_, 0);
    choose_cubes();
    // Codes for the topmost cubes, largest first, so that each is aligned to its size.
    struct Top {
      std::int32_t child;
      int dimension;
    };
    std::vector<Top> tops;
    if (dimension_[0] >= 0) {
      tops.push_back({0, dimension_[0]});
    } else {
      for (std::size_t i = 0; i < tree_.size(); ++i)
        if (dimension_[i] < 0)
          for (const std::int32_t c : {tree_[i].left, tree_[i].right})
            if (dimension(c) >= 0) tops.push_back({c, dimension(c)});
    }
    std::stable_sort(tops.begin(), tops.end(), [](auto& a, auto& b) { return a.dimension > b.dimension; });
    std::vector<std::size_t> node_base(tree_.size());
    std::map<std::int32_t, std::size_t> leaf_base;
    std::size_t next = 0;
    for (const Top& top : tops) {
      (top.child >= 0 ? node_base[static_cast<std::size_t>(top.child)] : leaf_base[top.child]) = next;
      fill(p, top.child, next, top.dimension);
      next += std::size_t{1} << top.dimension;
    }
    // Children come after their parents: backwards, both sides of a node are done.
    std::vector<Planes> planes(tree_.size());
    for (std::size_t i = tree_.size(); i-- > 0;) {
      const int d = dimension_[i];
      const auto side = [&](std::int32_t child, int bit) -> Operand {
        const int cd = dimension(child);
        if (cd < 0 || bit < cd) return planes[static_cast<std::size_t>(child)][static_cast<std::size_t>(bit)];
        if (d >= 0) return {};
        const std::size_t base = child >= 0 ? node_base[static_cast<std::size_t>(child)] : leaf_base.at(child);
        return {base >> bit & 1 ? Operand::one : Operand::zero};
      };
      for (int bit = 0; bit < (d >= 0 ? d - 1 : static_cast<int>(bits_)); ++bit)
        planes[i][static_cast<std::size_t>(bit)] =
            select(p, static_cast<std::uint32_t>(i), side(tree_[i].left, bit), side(tree_[i].right, bit));
      if (d >= 0) planes[i][static_cast<std::size_t>(d - 1)] = {Operand::test, static_cast<std::uint32_t>(i)};
    }
    p.planes = planes[0];
    if (dimension_[0] >= 0 && dimension_[0] < static_cast<int>(bits_)) p.bits = static_cast<unsigned>(dimension_[0]);
    return p;
  }

 private:
  int dimension(std::int32_t child) const { return child < 0 ? 0 : dimension_[static_cast<std::size_t>(child)]; }

  /// Makes nodes the roots of cubes, those that waste the fewest codes first.
  void choose_cubes() {
    std::vector<std::int32_t> parent(tree_.size(), -1);
    std::size_t used = tree_.size() + 1;
    using Entry = std::pair<std::size_t, std::int32_t>;  // wasted codes, node; later nodes (deeper) first
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> open;
    const auto offer = [&](std::int32_t i) {
      const int l = dimension(tree_[static_cast<std::size_t>(i)].left);
      const int r = dimension(tree_[static_cast<std::size_t>(i)].right);
      if (l < 0 || r < 0 || std::max(l, r) >= static_cast<int>(bits_)) return;
      open.push({(std::size_t{2} << std::max(l, r)) - (std::size_t{1} << l) - (std::size_t{1} << r), -i});
    };
    for (std::size_t i = 0; i < tree_.size(); ++i) {
      for (const std::int32_t c : {tree_[i].left, tree_[i].right})
        if (c >= 0) parent[static_cast<std::size_t>(c)] = static_cast<std::int32_t>(i);
      if (tree_[i].left < 0 && tree_[i].right < 0) offer(static_cast<std::int32_t>(i));
    }
    while (!open.empty()) {
      const auto [waste, negative] = open.top();
      open.pop();
      const auto i = static_cast<std::size_t>(-negative);
      if (used + waste > std::size_t{1} << bits_) continue;
      used += waste;
      dimension_[i] = 1 + std::max(dimension(tree_[i].left), dimension(tree_[i].right));
      if (parent[i] >= 0) offer(parent[i]);
    }
  }

  /// The codes [base, base + 2^room) all belong to `child`.
  void fill(Program& p, std::int32_t child, std::size_t base, int room) const {
    if (child < 0) {
      std::fill_n(p.leaf_of.begin() + static_cast<std::ptrdiff_t>(base), std::size_t{1} << room, child);
      return;
    }
    const auto& node = tree_[static_cast<std::size_t>(child)];
    const int d = dimension(child);
    for (std::size_t part = base; part < base + (std::size_t{1} << room); part += std::size_t{1} << d) {
      fill(p, node.left, part, d - 1);
      fill(p, node.right, part + (std::size_t{1} << (d - 1)), d - 1);
    }
  }

  Operand select(Program& p, std::uint32_t node, const Operand& left, const Operand& right) {
    if (left.kind == Operand::none || left == right) return right;
    if (right.kind == Operand::none) return left;
    if (left.kind == Operand::zero && right.kind == Operand::one) return {Operand::test, node};
    // A result is used once, then its place is free: few places stay in the first cache.
    for (const Operand* o : {&left, &right})
      if (o->kind == Operand::result) free_.push_back(o->index);
    std::uint32_t place = p.temporaries;
    if (free_.empty()) {
      ++p.temporaries;
    } else {
      place = free_.back();
      free_.pop_back();
    }
    p.selects.push_back({node, left, right, place});
    return {Operand::result, place};
  }

  const std::vector<TreeNodes::Node>& tree_;
  unsigned bits_;
  std::vector<int> dimension_;  // per node: of its cube, -1: none
  std::vector<std::uint32_t> free_;
};

/// Cycles per block of 512 rows (Zen 4).
double cost_of(const Program& p) {
  constexpr double look_up[most_bits + 1] = {90, 90, 90, 90, 90, 90, 90, 100, 170, 270, 470};
  return 3.5 * static_cast<double>(p.selects.size()) + 16.0 * p.bits + look_up[p.bits];
}

/// With the table size that makes the tree cheapest.
Program encode(const TreeNodes& tree, unsigned most) {
  Program best;
  for (unsigned bits = 6; bits <= most; ++bits) {
    if (tree.nodes.size() + 1 > std::size_t{1} << bits) continue;
    Program p = Encoder(tree, bits).run();
    p.cost = cost_of(p);
    if (best.bits != 0 && p.cost >= best.cost) break;
    best = std::move(p);
  }
  return best;
}

}  // namespace

void compile_slices(CompiledForest& out, const ForestShape& shape, const std::vector<const TreeNodes*>& trees) {
  const std::size_t width = shape.leaf_width;
  const bool whole_values = out.wide_table->isa == 1;
  std::vector<const TreeNodes*> order = trees;
  std::stable_sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->output < b->output; });
  struct Place {
    std::size_t select, table;
  };
  std::vector<Place> places;
  std::vector<std::size_t> threshold_places;
  std::vector<std::uint16_t> slot_of(out.columns() * 256);
  for (std::size_t begin = 0; begin < order.size();) {
    // As many trees as share a set of masks that fits.
    std::vector<Program> programs;
    std::vector<std::uint32_t> keys;  // column * 256 + threshold
    std::size_t results = 0;
    std::size_t end = begin;
    for (; end < order.size(); ++end) {
      Program p = encode(*order[end], whole_values ? 8 : most_bits);
      const std::size_t most = std::max<std::size_t>(results, p.temporaries);
      const std::size_t before = keys.size();
      for (const auto& node : order[end]->nodes) {
        std::uint16_t& slot = slot_of[node.column * 256 + node.threshold];
        if (slot == 0) keys.push_back(node.column * 256 + node.threshold), slot = 1;
      }
      if (end > begin && (keys.size() > max_tests || keys.size() + 2 * most + 2 > max_slots)) {
        for (std::size_t i = before; i < keys.size(); ++i) slot_of[keys[i]] = 0;
        keys.resize(before);
        break;
      }
      results = most;
      programs.push_back(std::move(p));
    }
    std::sort(keys.begin(), keys.end());
    auto& slice = out.slices.emplace_back();
    std::uint16_t slot = 2;  // 0: no row, 1: all rows
    for (const std::uint32_t key : keys) {
      slot_of[key] = slot;
      const std::uint32_t column = key / 256;
      if (column >= out.numeric_columns) {
        slice.set_slots.push_back(column - static_cast<std::uint32_t>(out.numeric_columns));
        slice.set_slots.push_back(slot++);
        continue;
      }
      if (slice.tests.empty() || slice.tests.back().column != column) {
        slice.tests.push_back({column, slot, 0, nullptr});
        threshold_places.push_back(out.test_thresholds.size());
      }
      ++slot;
      ++slice.tests.back().count;
      out.test_thresholds.push_back(static_cast<unsigned char>(key % 256));
    }
    const std::uint16_t first_result = slot;
    out.slice_slots = std::max(out.slice_slots, first_result + 2 * results);
    for (std::size_t t = begin; t < end; ++t) {
      const Program& p = programs[t - begin];
      const TreeNodes& tree = *order[t];
      const std::size_t first = first_result + (t % 2) * results;
      const auto slot_of_node = [&](std::uint32_t node) {
        return slot_of[tree.nodes[node].column * 256 + tree.nodes[node].threshold];
      };
      const auto slot_of_operand = [&](const Operand& o) -> std::uint16_t {
        switch (o.kind) {
          case Operand::one: return 1;
          case Operand::test: return slot_of_node(o.index);
          case Operand::result: return static_cast<std::uint16_t>(first + o.index);
          default: return 0;
        }
      };
      ForestSliceTree made{};
      made.select_count = static_cast<std::uint32_t>(p.selects.size());
      made.bits = static_cast<std::uint8_t>(p.bits);
      made.output = width > 1 ? 0 : tree.output;
      for (unsigned j = 0; j < p.bits; ++j) made.planes[j] = slot_of_operand(p.planes[j]);
      places.push_back({out.selects.size(), out.slice_tables.size()});
      for (const auto& s : p.selects)
        out.selects.push_back({slot_of_node(s.node), slot_of_operand(s.left), slot_of_operand(s.right),
                               static_cast<std::uint16_t>(first + s.result)});
      // Values as unsigned offsets from the smallest, in as few bytes as hold the largest.
      std::vector<std::int32_t> lowest(width);
      std::uint32_t range = 0;
      const auto value = [&](std::int32_t child, std::size_t k) {
        return out.leaves.values[static_cast<std::size_t>(~child) * width + k];
      };
      for (std::size_t k = 0; k < width; ++k) {
        std::int32_t low = 0, high = 0;
        bool any = false;
        for (const std::int32_t child : p.leaf_of) {
          if (child == 0) continue;
          const std::int32_t v = value(child, k);
          low = any ? std::min(low, v) : v;
          high = any ? std::max(high, v) : v;
          any = true;
        }
        lowest[k] = low;
        range = std::max(range, static_cast<std::uint32_t>(high) - static_cast<std::uint32_t>(low));
        out.constants[width > 1 ? k : tree.output] += static_cast<std::uint32_t>(low);
      }
      made.bytes = static_cast<std::uint8_t>(whole_values || range >> 24 ? 4 : range >> 16 ? 3 : range >> 8 ? 2 : 1);
      const std::size_t size = std::size_t{1} << std::max(p.bits, 6u);
      const std::size_t table = out.slice_tables.size();
      out.slice_tables.resize(table + width * made.bytes * size);
      for (std::size_t k = 0; k < width; ++k)
        for (std::size_t code = 0; code < size; ++code) {
          const std::int32_t child = code < p.leaf_of.size() ? p.leaf_of[code] : 0;
          if (child == 0) continue;
          const std::uint32_t v = static_cast<std::uint32_t>(value(child, k)) - static_cast<std::uint32_t>(lowest[k]);
          for (std::size_t b = 0; b < made.bytes; ++b) {
            const std::size_t place = whole_values ? (k * size + code) * 4 + b : (k * made.bytes + b) * size + code;
            out.slice_tables[table + place] = static_cast<unsigned char>(v >> 8 * b);
          }
        }
      out.slice_cost += p.cost;
      slice.trees.push_back(made);
    }
    for (const std::uint32_t key : keys) slot_of[key] = 0;
    begin = end;
  }
  std::size_t next = 0, next_test = 0;
  for (auto& slice : out.slices) {
    for (auto& tree : slice.trees) {
      tree.selects = out.selects.data() + places[next].select;
      tree.tables = out.slice_tables.data() + places[next].table;
      ++next;
    }
    for (auto& tests : slice.tests) tests.thresholds = out.test_thresholds.data() + threshold_places[next_test++];
  }
}

}  // namespace redoubt::detail
