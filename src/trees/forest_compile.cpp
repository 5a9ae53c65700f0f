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

constexpr std::size_t max_nodes_of_tree = 1 << 20;
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

/// Pre-order of the nodes of each tree of at most `most` nodes; empty for the others.
std::vector<std::vector<std::uint32_t>> preorders(const ForestArrays& a, std::size_t most) {
  std::vector<std::vector<std::uint32_t>> all(a.roots.size());
  std::vector<std::int32_t> open;
  for (std::size_t t = 0; t < all.size(); ++t) {
    std::vector<std::uint32_t>& order = all[t];
    open = {a.roots[t]};
    while (!open.empty()) {
      const std::int32_t i = open.back();
      open.pop_back();
      if (i < 0) continue;
      if (order.size() == most) {
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
      node.cover = a.cover[i];
      tree.nodes.push_back(node);
    }
    trees.push_back(std::move(tree));
  }
  return trees;
}

}  // namespace

std::vector<TreeNodes> code_trees(const ForestShape& shape, const ForestArrays& arrays, CompiledForest& out) {
  // Trees of many leaves may have so many thresholds that the others are better off without them.
  for (const std::size_t most : {max_nodes_of_tree, max_swept_nodes}) {
    const auto orders = preorders(arrays, most);
    const Columns columns = collect_columns(shape, arrays, orders, out);
    if (out.columns() <= max_columns) {
      fill_columns(columns, out);
      out.set_bits = arrays.category_bits;
      return tree_nodes(arrays, orders, columns, out);
    }
    if (most == max_swept_nodes) break;  // leaves the count of columns, for the reason
    out.sets.clear();
    out.numeric = {};
  }
  return {};
}

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

}  // namespace redoubt::detail
