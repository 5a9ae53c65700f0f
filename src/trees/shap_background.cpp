#include "trees/shap_background.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "redoubt/core/parallel.hpp"
#include "trees/shap_program.hpp"

namespace redoubt::detail {
namespace {

constexpr std::uint32_t cached_features = 14;  // a table of 64 KiB

std::size_t bits_on(const std::uint64_t* pattern, std::size_t words) {
  std::size_t count = 0;
  for (std::size_t w = 0; w < words; ++w) count += static_cast<std::size_t>(std::popcount(pattern[w]));
  return count;
}

}  // namespace

ShapBackground::Tree ShapBackground::build(const Forest& forest, std::size_t tree) const {
  const ForestArrays& a = forest.arrays();
  Tree result;
  if (a.roots[tree] < 0) return result;
  struct Frame {
    std::int32_t node, place;
    std::uint8_t next;
  };
  std::vector<std::int32_t> bit_of(forest.inputs(), -1);
  std::vector<std::uint32_t> path;  // distinct features, by bit
  std::vector<Frame> stack = {{a.roots[tree], -1, 0}};
  std::size_t most = 0;
  while (!stack.empty()) {
    Frame& frame = stack.back();
    const std::uint32_t feature = a.feature[frame.node];
    if (frame.place < 0) {
      frame.place = static_cast<std::int32_t>(result.nodes.size());
      const bool fresh = bit_of[feature] < 0;
      if (fresh) {
        bit_of[feature] = static_cast<std::int32_t>(path.size());
        path.push_back(feature);
        most = std::max(most, path.size());
        if (most > max_shap_depth)
          detail::fail(errc::unsupported, fmt::format("TreeShap: more than {} different columns on one path of tree {}",
                                                      max_shap_depth, tree));
      }
      result.nodes.push_back({frame.node, {0, 0}, static_cast<std::uint32_t>(bit_of[feature]), fresh});
    }
    if (frame.next == 2) {
      if (result.nodes[frame.place].fresh) {
        bit_of[feature] = -1;
        path.pop_back();
      }
      stack.pop_back();
      continue;
    }
    const std::uint8_t side = frame.next++;
    const std::int32_t child = side ? a.right[frame.node] : a.left[frame.node];
    if (child >= 0) {
      result.nodes[frame.place].child[side] = static_cast<std::int32_t>(result.nodes.size());
      stack.push_back({child, -1, 0});
      continue;
    }
    result.nodes[frame.place].child[side] = ~static_cast<std::int32_t>(result.leaves.size());
    result.leaves.push_back(
        {~child, static_cast<std::uint32_t>(result.features.size()), static_cast<std::uint32_t>(path.size())});
    result.features.insert(result.features.end(), path.begin(), path.end());
  }
  result.words = (most + word_bits - 1) / word_bits;
  return result;
}

void ShapBackground::find_patterns(const Forest& forest, const Tree& tree, std::span<const float> row,
                                   std::vector<std::uint64_t>& at_nodes, std::uint64_t* at_leaves) {
  const ForestArrays& a = forest.arrays();
  const std::size_t words = tree.words;
  at_nodes.resize(tree.nodes.size() * words);
  std::fill_n(at_nodes.begin(), words, 0);
  for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
    const Node& node = tree.nodes[i];
    const std::uint64_t* const here = at_nodes.data() + i * words;
    const bool left = goes_left(a, node.node, row[a.feature[node.node]]);
    const std::size_t word = node.bit / word_bits;
    const std::uint64_t bit = std::uint64_t{1} << (node.bit % word_bits);
    // A feature's first test sets its bit where it passes, a later one clears it where it does not.
    const std::uint64_t passed = here[word] | (node.fresh ? bit : 0), failed = here[word] & ~bit;
    for (const std::size_t side : {0, 1}) {
      const std::int32_t child = node.child[side];
      std::uint64_t* const to = child >= 0 ? at_nodes.data() + static_cast<std::size_t>(child) * words
                                           : at_leaves + static_cast<std::size_t>(~child) * words;
      if (words > 1) std::copy_n(here, words, to);
      to[word] = left == (side == 0) ? passed : failed;
    }
  }
}

ShapBackground::ShapBackground(const Forest& forest, MatrixView<const float> rows, Arena* arena)
    : trees_(forest.trees()) {
  parallel_for(
      trees_.size(), 1,
      [&](std::size_t begin, std::size_t end) {
        std::vector<std::uint64_t> at_nodes, found, sorted;
        for (std::size_t t = begin; t < end; ++t) {
          Tree tree = build(forest, t);
          const std::size_t words = tree.words, leaves = tree.leaves.size();
          found.resize(rows.rows() * leaves * words);
          if (leaves > 0)
            for (std::size_t r = 0; r < rows.rows(); ++r)
              find_patterns(forest, tree, rows.row(r), at_nodes, found.data() + r * leaves * words);
          std::vector<const std::uint64_t*> order(rows.rows());
          for (std::size_t l = 0; l < leaves; ++l) {
            for (std::size_t r = 0; r < rows.rows(); ++r) order[r] = found.data() + (r * leaves + l) * words;
            std::sort(order.begin(), order.end(), [&](const std::uint64_t* x, const std::uint64_t* y) {
              return std::lexicographical_compare(x, x + words, y, y + words);
            });
            tree.leaves[l].begin = static_cast<std::uint32_t>(tree.shares.size());
            for (std::size_t r = 0; r < order.size();) {
              std::size_t same = r + 1;
              while (same < order.size() && std::equal(order[r], order[r] + words, order[same])) ++same;
              tree.patterns.insert(tree.patterns.end(), order[r], order[r] + words);
              tree.bits.push_back(static_cast<std::uint32_t>(bits_on(order[r], words)));
              tree.shares.push_back(static_cast<double>(same - r) / static_cast<double>(rows.rows()));
              r = same;
            }
            tree.leaves[l].end = static_cast<std::uint32_t>(tree.shares.size());
          }
          trees_[t] = std::move(tree);
        }
      },
      arena);
  for (const Tree& tree : trees_)
    for (const Leaf& leaf : tree.leaves) largest_ = std::max<std::size_t>(largest_, leaf.features);
  // (a - 1)! c! / (a + c)! = 1 / (a * binomial(a + c, a)); for fixed a, c by c.
  weights_.resize((largest_ + 1) * (largest_ + 1));
  for (std::size_t a = 1; a <= largest_; ++a) {
    double weight = 1.0 / static_cast<double>(a);
    for (std::size_t c = 0; a + c <= largest_; ++c) {
      weights_[a * (largest_ + 1) + c] = weight;
      weight *= static_cast<double>(c + 1) / static_cast<double>(a + c + 1);
    }
  }
}

/// Per feature of the path, for a leaf of value 1: a features open to the row alone, c to the background row alone.
void ShapBackground::shares_of(const Tree& tree, const Leaf& leaf, const std::uint64_t* pattern,
                               std::vector<double>& shares) const {
  shares.assign(leaf.features, 0.0);
  const std::size_t words = tree.words, stride = largest_ + 1;
  const std::size_t theirs = leaf.features - bits_on(pattern, words);  // where both together are full
  for (std::uint32_t b = leaf.begin; b < leaf.end; ++b) {
    const std::uint64_t* const other = tree.patterns.data() + b * words;
    bool full = true;
    for (std::size_t w = 0; w < words; ++w) {
      const std::size_t left = leaf.features - std::min<std::size_t>(leaf.features, w * word_bits);
      full = full && (pattern[w] | other[w]) == (left < word_bits ? (std::uint64_t{1} << left) - 1 : ~std::uint64_t{0});
    }
    if (!full) continue;
    const std::size_t mine = leaf.features - tree.bits[b];
    const double plus = mine ? tree.shares[b] * weights_[mine * stride + theirs] : 0;
    const double minus = theirs ? tree.shares[b] * weights_[theirs * stride + mine] : 0;
    for (std::size_t w = 0; w < words; ++w) {
      for (std::uint64_t m = pattern[w] & ~other[w]; m; m &= m - 1)
        shares[w * word_bits + static_cast<std::size_t>(std::countr_zero(m))] += plus;
      for (std::uint64_t m = other[w] & ~pattern[w]; m; m &= m - 1)
        shares[w * word_bits + static_cast<std::size_t>(std::countr_zero(m))] -= minus;
    }
  }
}

void ShapBackground::add_values(const Forest& forest, MatrixView<const float> src, MatrixView<double> dst) const {
  const ForestArrays& a = forest.arrays();
  const std::size_t inputs = forest.inputs(), width = forest.shape().leaf_width;
  std::vector<std::uint64_t> at_nodes, found;
  std::vector<double> shares;
  // Many rows share a pattern: of short ones, the place of their shares in `cached` + 1, 0 if not there yet.
  std::vector<std::uint32_t> place_of(std::size_t{1} << cached_features);
  std::vector<std::uint64_t> touched;
  std::vector<double> cached;
  for (std::size_t t = 0; t < trees_.size(); ++t) {
    const Tree& tree = trees_[t];
    const std::size_t words = tree.words, leaves = tree.leaves.size();
    if (leaves == 0) continue;
    found.resize(src.rows() * leaves * words);
    for (std::size_t r = 0; r < src.rows(); ++r)
      find_patterns(forest, tree, src.row(r), at_nodes, found.data() + r * leaves * words);
    for (std::size_t l = 0; l < leaves; ++l) {
      const Leaf& leaf = tree.leaves[l];
      const std::uint32_t* const features = tree.features.data() + leaf.first_feature;
      const bool cache = leaf.features <= cached_features;
      for (const std::uint64_t pattern : touched) place_of[pattern] = 0;
      touched.clear();
      cached.clear();
      for (std::size_t r = 0; r < src.rows(); ++r) {
        const std::uint64_t* const pattern = found.data() + (r * leaves + l) * words;
        const double* mine = nullptr;
        if (!cache || place_of[*pattern] == 0) {
          shares_of(tree, leaf, pattern, shares);
          mine = shares.data();
          if (cache) {
            place_of[*pattern] = static_cast<std::uint32_t>(cached.size() + 1);
            touched.push_back(*pattern);
            cached.insert(cached.end(), shares.begin(), shares.end());
          }
        } else {
          mine = cached.data() + place_of[*pattern] - 1;
        }
        double* const out = dst.row(r).data();
        for (std::size_t k = 0; k < width; ++k) {
          const double value = a.leaf_values[static_cast<std::size_t>(leaf.leaf) * width + k];
          double* const values = out + (width > 1 ? k : a.outputs_of[t]) * inputs;
          for (std::uint32_t f = 0; f < leaf.features; ++f) values[features[f]] += value * mine[f];
        }
      }
    }
  }
}

}  // namespace redoubt::detail
