#include "interop/peer_forest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "redoubt/core/error.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/parts.hpp"

namespace redoubt::detail {
namespace {

constexpr float largest = std::numeric_limits<float>::max();
constexpr std::uint32_t max_model_columns = 1u << 20;  // of an Encoder
constexpr float infinity = std::numeric_limits<float>::infinity();

/// Rows for the self-test of the model: values at and around the thresholds of each column, and a missing one.
Dataset sample_rows(const Forest& forest, const std::vector<std::string>& names) {
  constexpr std::size_t rows = 8;
  const ForestArrays& a = forest.arrays();
  std::vector<std::vector<float>> cuts(names.size());
  for (std::size_t i = 0; i < a.feature.size(); ++i) {
    const float code = static_cast<float>(i % 7);
    if (const float cut = a.category_set[i] < 0 ? a.threshold[i] : code; std::isfinite(cut))
      cuts[a.feature[i]].push_back(cut);
  }
  std::vector<Column> columns;
  for (std::size_t c = 0; c < names.size(); ++c) {
    Column column{.spec = {.name = names[c]}};
    std::sort(cuts[c].begin(), cuts[c].end());
    for (std::size_t r = 0; r < rows; ++r) {
      const std::size_t k = (r + 3 * c) % rows;  // another order in each column, so that rows take different ways
      if (k == rows - 1)
        column.numbers.push_back(std::numeric_limits<double>::quiet_NaN());
      else if (cuts[c].empty())
        column.numbers.push_back(static_cast<double>(k));
      else
        column.numbers.push_back(std::nextafter(cuts[c][k * cuts[c].size() / rows], k % 2 ? infinity : -infinity));
    }
    columns.push_back(std::move(column));
  }
  return Dataset(std::move(columns));
}

}  // namespace

float round_down(double value) noexcept {
  if (value >= infinity) return infinity;
  if (value > largest) return largest;
  if (value < -static_cast<double>(largest)) return -infinity;
  const float near = static_cast<float>(value);
  return static_cast<double>(near) > value ? std::nextafter(near, -infinity) : near;
}

float just_below(float value) noexcept { return std::nextafter(value, -infinity); }

float harmless(double value, float lowest) noexcept {
  if (std::isnan(value)) return 0;
  return static_cast<float>(std::clamp(value, static_cast<double>(lowest), static_cast<double>(largest)));
}

std::int32_t PeerForest::add_set(std::span<const std::uint32_t> words) {
  auto& offsets = arrays_.category_offsets;
  if (offsets.empty()) offsets.push_back(0);
  arrays_.category_bits.insert(arrays_.category_bits.end(), words.begin(), words.end());
  if (arrays_.category_bits.size() > std::numeric_limits<std::int32_t>::max())
    fail(errc::unsupported, "the category sets of all nodes together are too large");
  offsets.push_back(static_cast<std::uint32_t>(arrays_.category_bits.size()));
  return static_cast<std::int32_t>(offsets.size() - 2);
}

void PeerForest::add_tree(const PeerTree& tree, std::uint32_t output, double scale, std::string_view where) {
  const auto refuse = [&](const std::string& what) { fail(errc::corrupt, fmt::format("{}: {}", where, what)); };
  const std::size_t leaves = tree.leaf_values.size();
  const std::size_t first_node = arrays_.feature.size();
  const std::size_t first_leaf = leaf_values_.size();
  if (first_leaf + leaves + first_node + tree.nodes.size() > std::numeric_limits<std::int32_t>::max())
    fail(errc::unsupported, fmt::format("{}: more than 2^31 nodes", where));
  std::vector<bool> node_seen(tree.nodes.size()), leaf_seen(leaves);
  std::vector<std::int32_t> order;  // nodes in the order they are met: children come after their parent
  std::size_t met_leaves = 0;
  const auto meet = [&](std::int32_t child) -> std::int32_t {
    if (child < 0) {
      const auto leaf = static_cast<std::size_t>(~child);
      if (leaf >= leaves) refuse(fmt::format("leaf {} does not exist (there are {})", leaf, leaves));
      if (leaf_seen[leaf]) refuse(fmt::format("leaf {} has two parents", leaf));
      leaf_seen[leaf] = true;
      ++met_leaves;
      return ~static_cast<std::int32_t>(first_leaf + leaf);
    }
    const auto node = static_cast<std::size_t>(child);
    if (node >= tree.nodes.size())
      refuse(fmt::format("node {} does not exist (there are {})", node, tree.nodes.size()));
    if (node_seen[node]) refuse(fmt::format("node {} is reached twice", node));
    node_seen[node] = true;
    order.push_back(child);
    return static_cast<std::int32_t>(first_node + order.size() - 1);
  };
  first_leaves_.push_back(first_leaf);
  arrays_.roots.push_back(meet(tree.root));
  arrays_.outputs_of.push_back(output);
  for (std::size_t i = 0; i < order.size(); ++i) {
    const PeerNode& node = tree.nodes[static_cast<std::size_t>(order[i])];
    if (node.feature >= columns)
      refuse(fmt::format("node {} splits on column {}, there are {}", order[i], node.feature, columns));
    if (std::isnan(node.threshold)) refuse(fmt::format("the threshold of node {} is not a number", order[i]));
    arrays_.feature.push_back(node.feature);
    arrays_.threshold.push_back(node.threshold);
    arrays_.flags.push_back(node.flags);
    arrays_.category_set.push_back(node.category_set);
    arrays_.cover.push_back(node.cover);
    arrays_.gain.push_back(node.gain);
    arrays_.left.push_back(meet(node.left));
    arrays_.right.push_back(meet(node.right));
  }
  if (met_leaves != leaves) refuse(fmt::format("{} leaves, but {} are reached from the root", leaves, met_leaves));
  for (std::size_t leaf = 0; leaf < leaves; ++leaf) {
    const double value = tree.leaf_values[leaf] * scale;
    if (!(std::abs(value) <= largest))
      refuse(fmt::format("the value {} of leaf {} is not a finite float", value, leaf));
    leaf_values_.push_back(value);
    arrays_.leaf_cover.push_back(tree.leaf_cover[leaf]);
  }
}

Shared<const Forest> PeerForest::forest() {
  ForestShape shape;
  shape.inputs = columns;
  shape.outputs = outputs;
  shape.link = link;
  const bool in_leaves = base.empty();
  base.resize(outputs, 0.0);
  std::vector<bool> done(outputs);
  for (std::size_t t = 0; t < trees(); ++t) {
    const std::uint32_t k = arrays_.outputs_of[t];
    if (!in_leaves || done[k] || link == ForestLink::average) continue;
    done[k] = true;
    const std::size_t end = t + 1 < trees() ? first_leaves_[t + 1] : leaf_values_.size();
    const auto values = std::span(leaf_values_).subspan(first_leaves_[t], end - first_leaves_[t]);
    const auto [low, high] = std::minmax_element(values.begin(), values.end());
    const double middle = *low / 2 + *high / 2;
    const double common = std::abs(middle) > *high - *low ? middle : 0.0;
    base[k] += common;
    // What the float cannot hold of the base goes into the leaves.
    const double rest = base[k] - static_cast<double>(static_cast<float>(base[k]));
    for (double& value : values) value = value - common + rest;
  }
  for (const double b : base) shape.base.push_back(static_cast<float>(b));
  arrays_.leaf_values.assign(leaf_values_.begin(), leaf_values_.end());
  leaf_values_.clear();
  first_leaves_.clear();
  return Shared<const Forest>::make(std::move(shape), std::exchange(arrays_, {}));
}

Model PeerForest::model(Shared<const Forest> forest) const {
  Model::Parts parts;
  parts.info.algorithm = library;
  parts.info.options =
      fmt::format("imported, {}, {} trees", objective.empty() ? std::string("no objective") : "objective " + objective,
                  forest->trees());
  const std::size_t width = forest->outputs();
  const bool probabilities = link == ForestLink::sigmoid || link == ForestLink::softmax ||
                             link == ForestLink::one_vs_all || (link == ForestLink::sigmoids && width > 1);
  if (!probabilities && width > 1)
    fail(errc::unsupported, fmt::format("{} outputs that are no class probabilities ({}): a Model has one value or "
                                        "probabilities; read it as a Forest",
                                        width, objective.empty() ? std::string("no objective") : objective));
  parts.task = probabilities ? Task::classification : Task::regression;
  for (std::size_t k = 0; probabilities && k < width; ++k) parts.classes.push_back(std::to_string(k));
  if (columns > max_model_columns)
    fail(errc::unsupported,
         fmt::format("{} columns, a Model takes at most {}; read it as a Forest", columns, max_model_columns));
  std::vector<std::string> names = column_names;
  for (std::uint32_t c = 0; c < columns && column_names.empty(); ++c) names.push_back(fmt::format("f{}", c));
  std::vector<ColumnSpec> specs;
  for (const std::string& name : names) specs.push_back({.name = name});
  parts.encoder = Shared<const Encoder>::make(Encoder::identity(Schema(std::move(specs))));
  const Dataset sample = sample_rows(*forest, names);
  parts.predictor = forest;
  return Model(std::move(parts), sample);
}

}  // namespace redoubt::detail
