// Which engine takes a forest: the back half of the compiler of forests.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "core/release.hpp"
#include "kernels/forest_dispatch.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/memory.hpp"
#include "trees/forest_compiled.hpp"

namespace redoubt::detail {
namespace {

std::size_t columns_of(const TreeNodes& tree) {
  std::vector<std::uint32_t> columns;
  for (const auto& node : tree.nodes) columns.push_back(node.column);
  std::sort(columns.begin(), columns.end());
  return static_cast<std::size_t>(std::unique(columns.begin(), columns.end()) - columns.begin());
}

/// Expected cycles of walking one row through a tree, several at once: a few per level, more where nodes leave the L2.
double walk_cost(const ForestArrays& a, std::size_t tree) {
  std::int32_t i = a.roots[tree];
  double levels = 0;
  while (i >= 0 && levels < 64) {  // towards the larger child: a guess of the longer paths, which steps wait for
    levels += 1;
    const auto n = static_cast<std::size_t>(i);
    const auto cover = [&](std::int32_t c) {
      return c < 0 ? a.leaf_cover[static_cast<std::size_t>(~c)] : a.cover[static_cast<std::size_t>(c)];
    };
    i = cover(a.left[n]) >= cover(a.right[n]) ? a.left[n] : a.right[n];
  }
  return 6 + (a.feature.size() > 60000 ? 10.0 : 5.0) * levels;
}

/// The trees that an engine leaves to the walk, and what they cost there.
struct Rest {
  std::vector<std::uint32_t> trees;
  double cost = 0;
};

/// Costs measured on Zen 4 (bench/trees/forest_bench.cpp); only their ratios matter.
void choose_row(CompiledForest& f, const ForestShape& shape, const ForestTuning& tuning, Rest sweep, Rest blocks,
                double all_walk) {
  const double width = shape.leaf_width, trees = static_cast<double>(f.all_trees.size());
  const double coding = 7 * static_cast<double>(f.numeric_columns) + 8 * static_cast<double>(f.sets.size());
  const auto tops = [](std::size_t slots, std::size_t vectors) {
    return static_cast<double>(slots) * (vectors < 4 ? 6.5 : 9);
  };
  sweep.cost += coding + 4 * (trees - static_cast<double>(sweep.trees.size())) * width;
  for (const auto& group : f.groups) sweep.cost += tops(group.slots, group.vectors);
  for (const auto& columns : f.group_columns) sweep.cost += 2 * static_cast<double>(columns.size());
  const bool half = f.blocks.table->isa < 2;  // vectors of half the size, and look-ups of 16 codes
  blocks.cost += coding + 15 * f.blocks.more;
  for (const auto& group : f.blocks.groups)
    blocks.cost += (half ? 2.5 : 1.0) * tops(group.top.slots, group.top.vectors) +
                   (half && group.columns > 48 ? 9 + static_cast<double>(group.columns) / 8
                    : half                     ? 13
                                               : 10) *
                       static_cast<double>(group.lanes) * width;
  for (const auto& columns : f.blocks.columns) blocks.cost += 2 * static_cast<double>(columns.size());

  f.row_cost = all_walk;
  f.row_walk = f.all_trees;
  if (f.blocks.table->isa == 0 && tuning.row == ForestPath::automatic) f.blocks.groups.clear();  // the naive one
  const auto consider = [&](RowEngine engine, ForestPath path, bool there, Rest& rest) {
    if (!there || (tuning.row == ForestPath::automatic ? rest.cost >= f.row_cost : tuning.row != path)) return;
    f.row = engine;
    f.row_cost = rest.cost;
    f.row_walk = std::move(rest.trees);
  };
  consider(RowEngine::sweep, ForestPath::sweep, !f.groups.empty(), sweep);
  consider(RowEngine::blocks, ForestPath::blocks, !f.blocks.groups.empty(), blocks);
  if (f.row != RowEngine::sweep) {
    release(f.groups);
    release(f.sweep_nodes);
    release(f.sweep_values);
    release(f.sweep_leaf);
    release(f.lane_tree);
    release(f.group_leaves);
  }
  if (f.row != RowEngine::blocks) f.blocks = {};
  f.one_sum = f.row != RowEngine::walk && f.row_walk.empty() && shape.outputs == 1 && shape.leaf_width == 1 &&
              f.columns() <= addressable_columns;
  f.batch_by_row = f.row != RowEngine::walk && tuning.batch != ForestPath::walk;
}

void choose_batch(CompiledForest& f, const ForestShape& shape, const ForestTuning& tuning, double batch_walk) {
  const double columns = static_cast<double>(f.numeric_columns), selects = static_cast<double>(f.selects.size());
  const double width = shape.leaf_width;
  double tests = 0, set_tests = 0, sliced = 0;
  for (const auto& slice : f.slices) {
    for (const auto& test : slice.tests) tests += test.count;
    set_tests += static_cast<double>(slice.set_slots.size()) / 2;
    sliced += static_cast<double>(slice.trees.size());
  }
  f.wide_cost = 512 * (5.4 * columns + 5 * set_tests + batch_walk) + 16 * tests + f.slice_cost * width;
  f.narrow_cost = 64 * (5.4 * columns + 5 * set_tests + batch_walk) + 2 * tests + 3.3 * selects + 30 * sliced * width;
  if (f.wide_table == f.narrow_table)  // AVX2: 256 rows cost nearly what 512 do on AVX-512
    f.wide_cost = f.narrow_cost =
        256 * (8 * columns + 5 * set_tests + batch_walk) + 16 * tests + 4 * selects + 550 * sliced * width;
  if (f.wide_table->isa == 0) f.wide_cost = f.narrow_cost = 1e300;  // the references are for tests
  f.slices_forced = tuning.batch == ForestPath::sliced;
  if (tuning.batch == ForestPath::sweep || tuning.batch == ForestPath::blocks) f.slices.clear();
  f.description.sliced_trees = f.slices.empty() ? 0 : static_cast<std::size_t>(sliced);
  f.description.conditions = static_cast<std::size_t>(tests + set_tests);
}

void describe(CompiledForest& f, Isa isa, double all_walk) {
  ForestEngine& d = f.description;
  const char* const level = to_string(static_cast<Isa>(f.row_table->isa));
  const std::size_t taken = f.all_trees.size() - f.row_walk.size();
  d.swept_trees = f.row == RowEngine::sweep ? taken : 0;
  d.block_trees = f.row == RowEngine::blocks ? taken : 0;
  d.columns = f.columns();
  d.resolution = f.leaves.inverse;
  d.row =
      f.row == RowEngine::walk ? "walk" : fmt::format("{} ({})", f.row == RowEngine::sweep ? "sweep" : "blocks", level);
  std::size_t from = 1;
  while (from < 512 && !f.table_for(from)) ++from;
  const bool sliced_at_all = f.table_for(from) != nullptr;
  d.batch = sliced_at_all
                ? fmt::format("sliced ({}) from {} rows", to_string(static_cast<Isa>(f.wide_table->isa)), from)
                : d.row;
  d.bytes = f.sweep_nodes.size() + f.sweep_values.size() * 4 + f.selects.size() * sizeof f.selects[0] +
            f.slice_tables.size() + f.blocks.blocks.size() * sizeof f.blocks.blocks[0] + f.blocks.nodes.size() +
            (f.sweep_leaf.size() + f.blocks.first_exit.size() + f.blocks.exit_leaf.size()) * 4 +
            f.column_thresholds.size() * 4 + f.leaves.values.size() * 4 + f.leaves.wide_values.size() * 8;
  if (f.leaves.wide)
    d.reason = "leaf values of very different sizes are summed in 64 bits, which only the walk does";
  else if (f.all_trees.empty())
    d.reason = "there are no trees";
  else if (f.columns() == 0)
    d.reason = "there is no tree that an engine takes";
  else if (f.columns() > max_columns)
    d.reason = fmt::format("{} columns of codes are more than {}", f.columns(), max_columns);
  else if (f.wide_table->isa == 0)
    d.reason = "the machine, or what was asked for, has neither AVX2 nor AVX-512";
  else
    d.reason = fmt::format(
        "{} columns, {} distinct tests; estimated cycles a row: walk {:.0f}, "
        "one row {:.0f}, small blocks {:.0f}, blocks of {} {:.0f} ({})",
        d.columns, d.conditions, all_walk, f.row_cost,
        f.narrow_cost / (64 * static_cast<double>(f.narrow_table->words)), f.wide_table->words * 64,
        f.wide_cost / (64 * static_cast<double>(f.wide_table->words)), to_string(isa));
}

}  // namespace

const kernels::detail::ForestTable* CompiledForest::table_for(std::size_t rows) const noexcept {
  if (slices.empty()) return nullptr;
  // Four rows swept at once share the reading of the nodes.
  const double row = this->row == RowEngine::sweep && batch_by_row && rows >= 4 ? 0.65 * row_cost : row_cost;
  const double by_row = slices_forced ? std::numeric_limits<double>::infinity() : static_cast<double>(rows) * row;
  const double narrow =
      narrow_cost * static_cast<double>((rows + 64 * narrow_table->words - 1) / (64 * narrow_table->words));
  const double wide = wide_cost * static_cast<double>((rows + 64 * wide_table->words - 1) / (64 * wide_table->words));
  if (by_row <= narrow && by_row <= wide) return nullptr;
  return narrow <= wide ? narrow_table : wide_table;
}

FormMemory::~FormMemory() {
  if (first_) free_pages(first_, bytes_);
}

void FormMemory::reserve(std::size_t bytes) {
  bytes_ = whole_pages(bytes);
  if (bytes_ > 0) first_ = static_cast<unsigned char*>(allocate_pages(bytes_));
}

void* FormMemory::take(std::size_t bytes) noexcept {
  void* const place = first_ + used_;
  used_ += (bytes + 63) / 64 * 64;
  return place;
}

namespace {

/// Moves all that prediction reads together.
void settle(CompiledForest& f) {
  std::size_t bytes = 0;
  const auto all = [&](const auto& each) {
    each(f.column_input, [&](auto by) { f.numeric.input = by(f.numeric.input); });
    each(f.groups, [](auto) {});
    each(f.group_leaves, [](auto) {});
    each(f.blocks.groups, [](auto) {});
    each(f.column_thresholds, [&](auto by) { f.numeric.thresholds = by(f.numeric.thresholds); });
    each(f.sweep_nodes, [&](auto by) {
      for (auto& group : f.groups) group.nodes = by(group.nodes);
    });
    each(f.sweep_values, [](auto) {});
    each(f.blocks.nodes, [&](auto by) {
      for (auto& group : f.blocks.groups) group.top.nodes = by(group.top.nodes);
    });
    each(f.blocks.blocks, [](auto) {});
    each(f.test_thresholds, [&](auto by) {
      for (auto& slice : f.slices)
        for (auto& tests : slice.tests) tests.thresholds = by(tests.thresholds);
    });
    each(f.selects, [&](auto by) {
      for (auto& slice : f.slices)
        for (auto& tree : slice.trees) tree.selects = by(tree.selects);
    });
    each(f.slice_tables, [&](auto by) {
      for (auto& slice : f.slices)
        for (auto& tree : slice.trees) tree.tables = by(tree.tables);
    });
  };
  all([&](auto& vector, auto) { bytes += (vector.size() * sizeof vector[0] + 63) / 64 * 64; });
  f.memory.reserve(bytes);
  all([&](auto& vector, const auto& point) {
    using Vector = std::remove_reference_t<decltype(vector)>;
    Vector moved(vector.begin(), vector.end(), typename Vector::allocator_type(&f.memory));
    point([&](auto* p) { return moved.data() + (p - vector.data()); });
    vector = std::move(moved);
  });
}

}  // namespace

Shared<const CompiledForest> compile_forest(const ForestShape& shape, const ForestArrays& arrays,
                                            const ForestTuning& tuning) {
  auto shared = Shared<CompiledForest>::make();
  CompiledForest& out = *shared;
  out.leaves = fixed_leaves(shape, arrays);
  Isa isa = Isa::baseline;
  try {
    isa = active_isa();
  } catch (const Error&) {  // REDOUBT_ISA names no usable level: the kernels run the naive references
  }
  if (!tuning.avx512) isa = std::min(isa, Isa::avx2);
  if (!tuning.avx2) isa = Isa::baseline;
  out.row_table = out.wide_table = &kernels::detail::forest_table(isa);
  out.narrow_table = &kernels::detail::forest_narrow_table(isa);
  out.blocks.table = &kernels::detail::forest_block_table(isa);

  std::vector<TreeNodes> trees;
  if (!out.leaves.wide && (tuning.row != ForestPath::walk || tuning.batch != ForestPath::walk))
    trees = code_trees(shape, arrays, out);
  std::vector<const TreeNodes*> small, narrow;
  for (const TreeNodes& tree : trees) {
    if (tree.nodes.size() <= max_swept_nodes) small.push_back(&tree);
    if (out.columns() <= addressable_columns || columns_of(tree) <= addressable_columns) narrow.push_back(&tree);
  }
  out.constants.assign(shape.outputs, 0);
  const auto wanted = [&](ForestPath path) { return tuning.row == path || tuning.row == ForestPath::automatic; };
  const bool sweeps = out.row_table->sweep && !small.empty() && wanted(ForestPath::sweep);
  const bool blocks = !narrow.empty() && wanted(ForestPath::blocks);
  const bool slices = !small.empty() && tuning.batch != ForestPath::walk;
  if (sweeps) compile_sweep(out, shape, small);
  if (blocks) compile_blocks(out, shape, narrow);
  if (slices) compile_slices(out, shape, small);

  std::vector<double> costs;
  for (std::size_t t = 0; t < arrays.roots.size(); ++t) {
    out.all_trees.push_back(static_cast<std::uint32_t>(t));
    costs.push_back(walk_cost(arrays, t));
  }
  const auto rest = [&](const std::vector<const TreeNodes*>& taken) {
    std::vector<bool> is_taken(costs.size());
    for (const TreeNodes* tree : taken) is_taken[tree->tree] = true;
    Rest rest;
    for (std::size_t t = 0; t < costs.size(); ++t)
      if (!is_taken[t]) rest.trees.push_back(static_cast<std::uint32_t>(t)), rest.cost += costs[t];
    return rest;
  };
  const double all_walk = std::accumulate(costs.begin(), costs.end(), 0.0);
  Rest unsliced = rest(slices ? small : std::vector<const TreeNodes*>());
  out.batch_walk = std::move(unsliced.trees);
  choose_row(out, shape, tuning, rest(small), rest(narrow), all_walk);
  choose_batch(out, shape, tuning, unsliced.cost);
  settle(out);
  describe(out, isa, all_walk);
  return shared;
}

}  // namespace redoubt::detail
