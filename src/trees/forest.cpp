#include "redoubt/trees/forest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "trees/forest_compiled.hpp"

namespace redoubt {
namespace {

constexpr std::uint32_t max_inputs = 1u << 29;  // an index and the flags share 32 bits
constexpr float zero_bound = 1e-35f;            // of ForestFlag::zero_missing
constexpr std::size_t max_nodes = (std::size_t{1} << 31) - 1;

[[noreturn]] void corrupt(const char* array, std::size_t position, const std::string& reason) {
  detail::fail(errc::corrupt, fmt::format("forest.{}[{}]: {}", array, position, reason));
}

template <class T>
void check_size(const char* array, const std::vector<T>& values, std::size_t expected, const char* of) {
  if (values.size() != expected)
    detail::fail(errc::corrupt,
                 fmt::format("forest.{} has {} entries, expected {} (one per {})", array, values.size(), expected, of));
}

void check_finite(const char* array, const std::vector<float>& values, float lowest) {
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]) || values[i] < lowest)
      corrupt(array, i, fmt::format("{} is not a finite number{}", values[i], lowest == 0 ? " >= 0" : ""));
}

void check_shape(const ForestShape& shape) {
  const auto fail = [](const std::string& what) { detail::fail(errc::corrupt, "forest: " + what); };
  if (shape.inputs >= max_inputs)
    fail(fmt::format("{} inputs, at most {} are supported", shape.inputs, max_inputs - 1));
  if (shape.outputs == 0) fail("0 outputs, at least 1 is needed");
  if (shape.leaf_width != 1 && shape.leaf_width != shape.outputs)
    fail(fmt::format("leaf_width {} is neither 1 nor the number of outputs {}", shape.leaf_width, shape.outputs));
  if (shape.link > ForestLink::step) fail(fmt::format("unknown link {}", static_cast<int>(shape.link)));
  const bool one_output = shape.link == ForestLink::sigmoid || shape.link == ForestLink::isolation;
  if (one_output && shape.outputs != 1) fail(fmt::format("{} outputs, but its link takes exactly 1", shape.outputs));
  if (!std::isfinite(shape.normaliser) || shape.normaliser <= 0)
    fail(fmt::format("normaliser {} is not a finite number > 0", shape.normaliser));
  check_size("base", shape.base, shape.outputs, "output");
  check_finite("base", shape.base, std::numeric_limits<float>::lowest());
}

void check_category_sets(const ForestArrays& a) {
  const auto& offsets = a.category_offsets;
  if (offsets.empty()) {
    if (!a.category_bits.empty())
      detail::fail(errc::corrupt, fmt::format("forest.category_bits has {} words but forest.category_offsets is empty",
                                              a.category_bits.size()));
    return;
  }
  if (offsets[0] != 0) corrupt("category_offsets", 0, fmt::format("{} instead of 0", offsets[0]));
  for (std::size_t i = 1; i < offsets.size(); ++i)
    if (offsets[i] < offsets[i - 1])
      corrupt("category_offsets", i, fmt::format("{} is below its predecessor {}", offsets[i], offsets[i - 1]));
  if (offsets.back() != a.category_bits.size())
    corrupt("category_offsets", offsets.size() - 1,
            fmt::format("{} is not the number of words {}", offsets.back(), a.category_bits.size()));
}

void check_arrays(const ForestShape& shape, const ForestArrays& a) {
  const std::size_t nodes = a.feature.size();
  const std::size_t trees = a.roots.size();
  if (nodes > max_nodes) detail::fail(errc::corrupt, fmt::format("forest: {} nodes are too many", nodes));
  check_size("outputs_of", a.outputs_of, trees, "tree");
  check_size("threshold", a.threshold, nodes, "node");
  check_size("left", a.left, nodes, "node");
  check_size("right", a.right, nodes, "node");
  check_size("flags", a.flags, nodes, "node");
  check_size("category_set", a.category_set, nodes, "node");
  check_size("cover", a.cover, nodes, "node");
  check_size("gain", a.gain, nodes, "node");
  // Binary trees in which everything is reached once have one leaf more than nodes, each.
  const std::size_t leaves = nodes + trees;
  if (leaves > max_nodes || a.leaf_values.size() / shape.leaf_width != leaves ||
      a.leaf_values.size() % shape.leaf_width != 0)
    detail::fail(errc::corrupt,
                 fmt::format("forest.leaf_values has {} entries, expected {} leaves x {} ({} nodes + {} trees)",
                             a.leaf_values.size(), leaves, shape.leaf_width, nodes, trees));
  check_finite("leaf_values", a.leaf_values, std::numeric_limits<float>::lowest());
  check_finite("cover", a.cover, 0);
  check_size("leaf_cover", a.leaf_cover, leaves, "leaf");
  check_finite("leaf_cover", a.leaf_cover, 0);
  check_finite("gain", a.gain, std::numeric_limits<float>::lowest());
  check_category_sets(a);

  const std::size_t sets = a.category_offsets.empty() ? 0 : a.category_offsets.size() - 1;
  std::vector<bool> node_seen(nodes), leaf_seen(leaves);
  const auto reach = [&](const char* array, std::size_t position, std::int32_t child, std::int64_t parent) {
    if (child < 0) {
      const auto leaf = static_cast<std::size_t>(~child);
      if (leaf >= leaves) corrupt(array, position, fmt::format("leaf {} does not exist (there are {})", leaf, leaves));
      if (leaf_seen[leaf]) corrupt(array, position, fmt::format("leaf {} is reached twice", leaf));
      leaf_seen[leaf] = true;
      return;
    }
    if (static_cast<std::size_t>(child) >= nodes)
      corrupt(array, position, fmt::format("node {} does not exist (there are {})", child, nodes));
    if (child <= parent) corrupt(array, position, fmt::format("child {} does not come after its parent", child));
    if (node_seen[child]) corrupt(array, position, fmt::format("node {} is reached twice", child));
    node_seen[child] = true;
  };
  for (std::size_t t = 0; t < trees; ++t) {
    reach("roots", t, a.roots[t], -1);
    const std::uint32_t outputs = shape.leaf_width > 1 ? 1 : shape.outputs;
    if (a.outputs_of[t] >= outputs)
      corrupt("outputs_of", t, fmt::format("{} is not below {}", a.outputs_of[t], outputs));
  }
  for (std::size_t i = 0; i < nodes; ++i) {
    if (a.feature[i] >= shape.inputs)
      corrupt("feature", i, fmt::format("{} is not below the {} inputs", a.feature[i], shape.inputs));
    if (std::isnan(a.threshold[i])) corrupt("threshold", i, "NaN");
    if (a.flags[i] > (missing_left | zero_missing | others_left))
      corrupt("flags", i, fmt::format("{} has unknown bits", a.flags[i]));
    if (a.category_set[i] < -1 || (a.category_set[i] >= 0 && static_cast<std::size_t>(a.category_set[i]) >= sets))
      corrupt("category_set", i, fmt::format("set {} does not exist (there are {})", a.category_set[i], sets));
    reach("left", i, a.left[i], static_cast<std::int64_t>(i));
    reach("right", i, a.right[i], static_cast<std::int64_t>(i));
  }
  // Every node and leaf has one incoming edge: trees + 2 nodes edges cover nodes + leaves places without repetition.
}

}  // namespace

Forest::Forest(ForestShape shape, ForestArrays arrays, const ForestTuning& tuning)
    : shape_(std::move(shape)), arrays_(std::move(arrays)) {
  check_shape(shape_);
  check_arrays(shape_, arrays_);
  nodes_.resize(arrays_.feature.size());
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    nodes_[i] = {arrays_.threshold[i], arrays_.feature[i] << 3 | arrays_.flags[i], {arrays_.left[i], arrays_.right[i]}};
    has_categories_ = has_categories_ || arrays_.category_set[i] >= 0;
  }
  compiled_ = detail::compile_forest(shape_, arrays_, tuning);
}

std::size_t Forest::outputs() const noexcept { return shape_.link == ForestLink::sigmoid ? 2 : shape_.outputs; }

std::size_t Forest::scratch_size() const noexcept { return 0; }

template <bool Categories>
std::uint32_t Forest::leaf_of(std::int32_t index, const float* row) const noexcept {
  const Node* const nodes = nodes_.data();
  while (index >= 0) {
    const Node& node = nodes[index];
    const float x = row[node.feature_and_flags >> 3];
    const std::uint32_t flags = node.feature_and_flags;
    bool left;
    if (Categories && arrays_.category_set[index] >= 0) {
      const std::uint32_t set = static_cast<std::uint32_t>(arrays_.category_set[index]);
      const std::uint32_t first = arrays_.category_offsets[set];
      const std::uint32_t words = arrays_.category_offsets[set + 1] - first;
      // In double, so that the bound is exact; false for NaN.
      if (x > -1 && std::max(static_cast<double>(x), 0.0) < 32.0 * words) {
        const auto code = static_cast<std::uint64_t>(x);
        left = arrays_.category_bits[first + code / 32] >> (code % 32) & 1;
      } else {
        left = (flags & (x != x ? missing_left : others_left)) != 0;
      }
    } else {
      const bool missing = x != x || ((flags & zero_missing) && std::abs(x) <= zero_bound);
      left = missing ? flags & missing_left : x <= node.threshold;
    }
    index = node.child[!left];
  }
  return static_cast<std::uint32_t>(~index);
}

std::uint32_t Forest::leaf_of(std::int32_t node, const float* row) const noexcept {
  return has_categories_ ? leaf_of<true>(node, row) : leaf_of<false>(node, row);
}

[[gnu::hot]] float Forest::score(std::size_t output, std::int64_t sum) const noexcept {
  return static_cast<float>(static_cast<double>(shape_.base[output]) +
                            static_cast<double>(sum) * compiled_->leaves.inverse);
}

void Forest::walk_scores(std::span<const float> src, std::span<float> dst, std::size_t count) const noexcept {
  // Outputs in parts that fit the stack.
  constexpr std::size_t part = 64;
  const detail::FixedLeaves& leaves = compiled_->leaves;
  const std::size_t width = shape_.leaf_width;
  for (std::size_t begin = 0; begin < shape_.outputs; begin += part) {
    const std::size_t end = std::min<std::size_t>(begin + part, shape_.outputs);
    std::int64_t sums[part] = {};
    const auto value = [&](std::size_t i) { return leaves.wide ? leaves.wide_values[i] : leaves.values[i]; };
    for (std::size_t t = 0; t < count; ++t) {
      if (width > 1) {
        const std::size_t leaf = leaf_of(arrays_.roots[t], src.data());
        for (std::size_t k = begin; k < end; ++k) sums[k - begin] += value(leaf * width + k);
      } else if (arrays_.outputs_of[t] >= begin && arrays_.outputs_of[t] < end) {
        sums[arrays_.outputs_of[t] - begin] += value(leaf_of(arrays_.roots[t], src.data()));
      }
    }
    for (std::size_t k = begin; k < end; ++k) dst[k] = score(k, sums[k - begin]);
  }
}

const ForestEngine& Forest::engine() const noexcept { return compiled_->description; }

void Forest::apply_link(std::span<float> dst, std::size_t trees) const noexcept {
  const float count = static_cast<float>(std::max<std::size_t>(trees, 1));
  switch (shape_.link) {
    case ForestLink::identity: break;
    case ForestLink::sigmoid: {
      const double p = 1.0 / (1.0 + std::exp(-static_cast<double>(dst[0])));
      dst[0] = static_cast<float>(1.0 - p);
      dst[1] = static_cast<float>(p);
      break;
    }
    case ForestLink::softmax: {
      const float largest = *std::max_element(dst.begin(), dst.end());
      double total = 0;
      for (float& x : dst) {
        x = std::exp(x - largest);
        total += x;
      }
      for (float& x : dst) x = static_cast<float>(x / total);
      break;
    }
    case ForestLink::average:
      for (float& x : dst) x /= count;
      break;
    case ForestLink::isolation: dst[0] = std::exp2(-dst[0] / count / shape_.normaliser); break;
    case ForestLink::exponential:
      for (float& x : dst) x = static_cast<float>(std::exp(static_cast<double>(x)));
      break;
    case ForestLink::sigmoids:
      for (float& x : dst) x = static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(x))));
      break;
    case ForestLink::one_vs_all: {
      // In double no score of a float is so low that all sigmoids vanish, except beyond -700: then all are equal.
      double total = 0;
      for (const float x : dst) total += 1.0 / (1.0 + std::exp(-static_cast<double>(x)));
      for (float& x : dst)
        x = total > 0 ? static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(x))) / total)
                      : 1.0f / static_cast<float>(dst.size());
      break;
    }
    case ForestLink::signed_square:
      for (float& x : dst) x *= std::abs(x);
      break;
    case ForestLink::softplus:
      for (float& x : dst) {
        const double s = x;
        x = static_cast<float>(s > 0 ? s + std::log1p(std::exp(-s)) : std::log1p(std::exp(s)));
      }
      break;
    case ForestLink::step:
      for (float& x : dst) x = x > 0 ? 1.0f : 0.0f;
      break;
  }
}

std::vector<double> Forest::gain_importance() const {
  std::vector<double> importance(shape_.inputs, 0.0);
  for (std::size_t i = 0; i < arrays_.feature.size(); ++i) importance[arrays_.feature[i]] += arrays_.gain[i];
  return importance;
}

}  // namespace redoubt
