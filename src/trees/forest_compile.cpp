// From flat arrays to columns of codes: the front half of the compiler of forests.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>
#include <tuple>

#include "kernels/forest_dispatch.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "trees/forest_compiled.hpp"

namespace redoubt::detail {
namespace {

using kernels::detail::forest_column_floats;

constexpr std::size_t max_tree_nodes = 255;  // leaves are counted in a byte
constexpr std::size_t max_columns = 4096;    // codes of a row live on the stack
constexpr std::size_t thresholds_per_column = 255;

/// Column kind of a numeric node: see ForestColumns.
unsigned kind_of(std::uint8_t flags) { return (flags & missing_left ? 0u : 1u) + (flags & zero_missing ? 2u : 0u); }

struct Columns {
  struct Source {
    unsigned kind;
    std::uint32_t input;
    std::vector<float> thresholds;  // ascending, distinct
    std::uint32_t first_column = 0;
  };
  std::vector<Source> sources;                              // sorted by kind, then input
  std::vector<std::uint32_t> source_of;                     // input * 4 + kind
  std::map<std::vector<std::uint32_t>, std::uint32_t> set;  // {input, flags, words...} -> set test
};

std::vector<std::uint32_t> set_key(const ForestArrays& a, std::size_t node) {
  const auto set = static_cast<std::size_t>(a.category_set[node]);
  std::vector<std::uint32_t> key = {a.feature[node], a.flags[node] & 5u /* missing_left, others_left */};
  key.insert(key.end(), a.category_bits.begin() + a.category_offsets[set],
             a.category_bits.begin() + a.category_offsets[set + 1]);
  return key;
}

/// Pre-order of the nodes of each tree that the engines may take; empty for the others.
std::vector<std::vector<std::uint32_t>> preorders(const ForestArrays& a) {
  std::vector<std::vector<std::uint32_t>> all(a.roots.size());
  std::vector<std::int32_t> open;
  for (std::size_t t = 0; t < all.size(); ++t) {
    std::vector<std::uint32_t>& order = all[t];
    open = {a.roots[t]};
    while (!open.empty()) {
      const std::int32_t i = open.back();
      open.pop_back();
      if (i < 0) continue;
      if (order.size() == max_tree_nodes) {
        order.clear();
        break;
      }
      order.push_back(static_cast<std::uint32_t>(i));
      open.push_back(a.right[static_cast<std::size_t>(i)]);
      open.push_back(a.left[static_cast<std::size_t>(i)]);
    }
  }
  return all;
}

Columns collect_columns(const ForestShape& shape, const ForestArrays& a,
                        const std::vector<std::vector<std::uint32_t>>& orders, CompiledForest& out) {
  Columns columns;
  columns.source_of.assign(std::size_t{shape.inputs} * 4, 0xffffffffu);
  for (const auto& order : orders)
    for (const std::uint32_t i : order) {
      if (a.category_set[i] >= 0) {
        const auto [it, added] = columns.set.try_emplace(set_key(a, i), static_cast<std::uint32_t>(out.sets.size()));
        if (added) {
          const auto set = static_cast<std::size_t>(a.category_set[i]);
          const std::uint32_t first = a.category_offsets[set];
          out.sets.push_back({a.feature[i], first, a.category_offsets[set + 1] - first, a.flags[i]});
        }
        continue;
      }
      const unsigned kind = kind_of(a.flags[i]);
      std::uint32_t& source = columns.source_of[std::size_t{a.feature[i]} * 4 + kind];
      if (source == 0xffffffffu) {
        source = static_cast<std::uint32_t>(columns.sources.size());
        columns.sources.push_back({kind, a.feature[i], {}});
      }
      columns.sources[source].thresholds.push_back(a.threshold[i]);
    }
  std::sort(columns.sources.begin(), columns.sources.end(),
            [](const auto& x, const auto& y) { return std::tie(x.kind, x.input) < std::tie(y.kind, y.input); });
  std::uint32_t next = 0;
  for (std::size_t s = 0; s < columns.sources.size(); ++s) {
    auto& source = columns.sources[s];
    columns.source_of[std::size_t{source.input} * 4 + source.kind] = static_cast<std::uint32_t>(s);
    std::sort(source.thresholds.begin(), source.thresholds.end());
    source.thresholds.erase(std::unique(source.thresholds.begin(), source.thresholds.end()), source.thresholds.end());
    source.first_column = next;
    const std::size_t chunks = (source.thresholds.size() + thresholds_per_column - 1) / thresholds_per_column;
    next += static_cast<std::uint32_t>(chunks);
    out.numeric.count[source.kind] += chunks;
  }
  out.numeric_columns = next;
  return columns;
}

/// A code counts thresholds from its column's first one on, so that a column of up to 255 of them fits a byte, and
/// inputs with more get several columns.
void fill_columns(const Columns& columns, CompiledForest& out) {
  constexpr float infinite = std::numeric_limits<float>::infinity();
  out.column_thresholds.assign(out.numeric_columns * forest_column_floats, infinite);
  for (const auto& source : columns.sources)
    for (std::size_t begin = 0; begin < source.thresholds.size(); begin += thresholds_per_column) {
      float* const first = out.column_thresholds.data() + out.column_input.size() * forest_column_floats;
      const std::size_t end = std::min(begin + thresholds_per_column, source.thresholds.size());
      std::copy(source.thresholds.begin() + static_cast<std::ptrdiff_t>(begin),
                source.thresholds.begin() + static_cast<std::ptrdiff_t>(end), first + 16);
      for (std::size_t i = 0; i < 15; ++i) first[i] = first[16 + 16 * i + 15];
      out.column_input.push_back(source.input);
    }
  out.numeric.input = out.column_input.data();
  out.numeric.thresholds = out.column_thresholds.data();
}

std::vector<TreeNodes> tree_nodes(const ForestArrays& a, const std::vector<std::vector<std::uint32_t>>& orders,
                                  const Columns& columns, const CompiledForest& out) {
  std::vector<TreeNodes> trees;
  std::vector<std::int32_t> place(a.feature.size());
  for (std::size_t t = 0; t < orders.size(); ++t) {
    if (orders[t].empty()) continue;
    TreeNodes tree;
    tree.tree = static_cast<std::uint32_t>(t);
    tree.output = a.outputs_of[t];
    for (std::size_t i = 0; i < orders[t].size(); ++i) place[orders[t][i]] = static_cast<std::int32_t>(i);
    for (const std::uint32_t i : orders[t]) {
      TreeNodes::Node node{};
      if (a.category_set[i] >= 0) {
        node.column = static_cast<std::uint32_t>(out.numeric_columns) + columns.set.at(set_key(a, i));
      } else {
        const auto& source = columns.sources[columns.source_of[std::size_t{a.feature[i]} * 4 + kind_of(a.flags[i])]];
        const auto rank = static_cast<std::size_t>(
            std::lower_bound(source.thresholds.begin(), source.thresholds.end(), a.threshold[i]) -
            source.thresholds.begin());
        node.column = source.first_column + static_cast<std::uint32_t>(rank / thresholds_per_column);
        node.threshold = static_cast<std::uint8_t>(rank % thresholds_per_column);
      }
      const auto child = [&](std::int32_t c) { return c < 0 ? c : place[static_cast<std::size_t>(c)]; };
      node.left = child(a.left[i]);
      node.right = child(a.right[i]);
      tree.nodes.push_back(node);
    }
    trees.push_back(std::move(tree));
  }
  return trees;
}

}  // namespace

FixedLeaves fixed_leaves(const ForestShape& shape, const ForestArrays& a) {
  const std::size_t width = shape.leaf_width;
  std::vector<double> largest(shape.outputs, 0.0), typical(shape.outputs, 0.0);
  std::vector<std::int32_t> open;
  std::vector<double> tree_largest(width), tree_sum(width);
  for (std::size_t t = 0; t < a.roots.size(); ++t) {
    std::fill(tree_largest.begin(), tree_largest.end(), 0.0);
    std::fill(tree_sum.begin(), tree_sum.end(), 0.0);
    std::size_t leaves = 0;
    open = {a.roots[t]};
    while (!open.empty()) {
      const std::int32_t i = open.back();
      open.pop_back();
      if (i >= 0) {
        open.push_back(a.right[static_cast<std::size_t>(i)]);
        open.push_back(a.left[static_cast<std::size_t>(i)]);
        continue;
      }
      ++leaves;
      for (std::size_t k = 0; k < width; ++k) {
        const double value = std::abs(static_cast<double>(a.leaf_values[static_cast<std::size_t>(~i) * width + k]));
        tree_largest[k] = std::max(tree_largest[k], value);
        tree_sum[k] += value;
      }
    }
    for (std::size_t k = 0; k < width; ++k) {
      const std::size_t output = width > 1 ? k : a.outputs_of[t];
      largest[output] += tree_largest[k];
      typical[output] += tree_sum[k] / static_cast<double>(leaves);
    }
  }
  FixedLeaves fixed;
  const double bound = *std::max_element(largest.begin(), largest.end());
  for (std::size_t k = 0; k < largest.size(); ++k)
    fixed.wide = fixed.wide || (largest[k] > 0 && bound > 4096 * typical[k]);
  int exponent = 0;  // bound <= 2^exponent
  if (std::frexp(bound, &exponent) == 0.5) --exponent;
  // Rounding adds at most half a unit per tree, so sums stay below 2^31 and 2^62.
  const int shift = bound > 0 ? (fixed.wide ? 61 : 30) - exponent : 0;
  fixed.inverse = std::ldexp(1.0, -shift);
  const double scale = std::ldexp(1.0, shift);
  const auto round = [&](float value) { return std::nearbyint(static_cast<double>(value) * scale); };
  if (fixed.wide)
    for (const float value : a.leaf_values) fixed.wide_values.push_back(static_cast<std::int64_t>(round(value)));
  else
    for (const float value : a.leaf_values) fixed.values.push_back(static_cast<std::int32_t>(round(value)));
  return fixed;
}

bool set_goes_left(const SetTest& test, const std::uint32_t* bits, float x) noexcept {
  if (x > -1 && std::max(static_cast<double>(x), 0.0) < 32.0 * test.words) {
    const auto code = static_cast<std::uint64_t>(x);
    return bits[test.first + code / 32] >> (code % 32) & 1;
  }
  return (test.flags & (x != x ? missing_left : others_left)) != 0;
}

ScratchList::Buffer ScratchList::take(std::size_t bytes) {
  Buffer buffer;
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      buffer = std::move(free_.back());
      free_.pop_back();
    }
  }
  if (buffer.size() < bytes) buffer.resize(bytes);
  return buffer;
}

void ScratchList::give_back(Buffer&& buffer) noexcept {
  try {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(buffer));
  } catch (...) {  // then it is freed, and the next call makes another
  }
}

namespace {

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

/// Costs measured on Zen 4 (bench/trees/forest_bench.cpp); only their ratios matter.
void choose(CompiledForest& f, const ForestShape& shape, const ForestTuning& tuning, Isa isa, double row_walk,
            double batch_walk, double all_walk) {
  const double columns = static_cast<double>(f.numeric_columns), sets = static_cast<double>(f.sets.size());
  const double width = shape.leaf_width;
  double slots = 0, tests = 0, set_tests = 0, sliced = 0, selects = static_cast<double>(f.selects.size());
  for (const auto& group : f.groups) slots += static_cast<double>(group.slots) * (group.vectors < 4 ? 6.5 : 9);
  for (const auto& columns_of_group : f.group_columns) slots += 2 * static_cast<double>(columns_of_group.size());
  for (const auto& slice : f.slices) {
    for (const auto& test : slice.tests) tests += test.count;
    set_tests += static_cast<double>(slice.set_slots.size()) / 2;
    sliced += static_cast<double>(slice.trees.size());
  }
  const double swept = static_cast<double>(f.all_trees.size() - f.row_walk.size());
  f.row_cost = 7 * columns + 8 * sets + slots + 4 * swept * width + row_walk;
  const bool sweep_pays = f.row_cost < all_walk;
  if (!f.groups.empty() && tuning.row == ForestPath::automatic && !sweep_pays) {
    f.groups.clear();
    f.row_walk = f.all_trees;
  }
  f.batch_sweeps = !f.groups.empty() && tuning.batch != ForestPath::walk;
  if (f.groups.empty()) f.row_cost = all_walk;
  f.wide_cost = 512 * (5.4 * columns + 5 * set_tests + batch_walk) + 16 * tests + f.slice_cost * width;
  f.narrow_cost = 64 * (5.4 * columns + 5 * set_tests + batch_walk) + 2 * tests + 3.3 * selects + 30 * sliced * width;
  if (f.wide_table == f.narrow_table)  // AVX2: 256 rows cost nearly what 512 do on AVX-512
    f.wide_cost = f.narrow_cost =
        256 * (8 * columns + 5 * set_tests + batch_walk) + 16 * tests + 4 * selects + 550 * sliced * width;
  if (f.wide_table->isa == 0) f.wide_cost = f.narrow_cost = 1e300;  // the references are for tests
  f.slices_forced = tuning.batch == ForestPath::sliced;
  if (tuning.batch == ForestPath::sweep) f.slices.clear();

  ForestEngine& d = f.description;
  const char* const level = to_string(static_cast<Isa>(f.row_table->isa));
  d.swept_trees = f.groups.empty() ? 0 : static_cast<std::size_t>(swept);
  d.sliced_trees = f.slices.empty() ? 0 : static_cast<std::size_t>(sliced);
  d.columns = f.columns();
  d.conditions = static_cast<std::size_t>(tests + set_tests);
  d.resolution = f.leaves.inverse;
  d.row = f.groups.empty() ? "walk" : fmt::format("sweep ({})", level);
  std::size_t from = 1;
  while (from < 512 && !f.table_for(from)) ++from;
  const bool sliced_at_all = f.table_for(from) != nullptr;
  d.batch = sliced_at_all
                ? fmt::format("sliced ({}) from {} rows", to_string(static_cast<Isa>(f.wide_table->isa)), from)
                : d.row;
  d.bytes = f.sweep_nodes.size() + f.sweep_values.size() * 4 + f.selects.size() * sizeof f.selects[0] +
            f.slice_tables.size() + f.column_thresholds.size() * 4 + f.leaves.values.size() * 4 +
            f.leaves.wide_values.size() * 8;
  if (f.leaves.wide)
    d.reason = "leaf values of very different sizes are summed in 64 bits, which only the walk does";
  else if (f.all_trees.empty())
    d.reason = "there are no trees";
  else if (f.columns() == 0)
    d.reason = "no tree has at most 256 leaves";
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
  const double row = batch_sweeps && rows >= 4 ? 0.65 * row_cost : row_cost;
  const double by_row = slices_forced ? std::numeric_limits<double>::infinity() : static_cast<double>(rows) * row;
  const double narrow =
      narrow_cost * static_cast<double>((rows + 64 * narrow_table->words - 1) / (64 * narrow_table->words));
  const double wide = wide_cost * static_cast<double>((rows + 64 * wide_table->words - 1) / (64 * wide_table->words));
  if (by_row <= narrow && by_row <= wide) return nullptr;
  return narrow <= wide ? narrow_table : wide_table;
}

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

  std::vector<TreeNodes> trees;
  if (!out.leaves.wide && (tuning.row != ForestPath::walk || tuning.batch != ForestPath::walk)) {
    const auto orders = preorders(arrays);
    const Columns columns = collect_columns(shape, arrays, orders, out);
    if (out.columns() <= max_columns) {
      fill_columns(columns, out);
      out.set_bits = arrays.category_bits;
      trees = tree_nodes(arrays, orders, columns, out);
    }
  }
  std::vector<bool> swept(arrays.roots.size()), sliced(arrays.roots.size());
  double all_walk = 0;
  out.constants.assign(shape.outputs, 0);
  if (out.row_table->sweep && !trees.empty() && tuning.row != ForestPath::walk) {
    compile_sweep(out, shape, trees);
    for (const TreeNodes& tree : trees) swept[tree.tree] = true;
  }
  if (!trees.empty() && tuning.batch != ForestPath::walk) {
    compile_slices(out, shape, trees);
    for (const TreeNodes& tree : trees) sliced[tree.tree] = true;
  }
  double row_walk = 0, batch_walk = 0;
  for (std::size_t t = 0; t < arrays.roots.size(); ++t) {
    const double cost = walk_cost(arrays, t);
    out.all_trees.push_back(static_cast<std::uint32_t>(t));
    if (!swept[t]) out.row_walk.push_back(static_cast<std::uint32_t>(t)), row_walk += cost;
    if (!sliced[t]) out.batch_walk.push_back(static_cast<std::uint32_t>(t)), batch_walk += cost;
    all_walk += cost;
  }
  choose(out, shape, tuning, isa, row_walk, batch_walk, all_walk);
  return shared;
}

}  // namespace redoubt::detail
