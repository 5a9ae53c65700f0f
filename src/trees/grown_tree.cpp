#include "trees/grown_tree.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "redoubt/core/cpu.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/data/sparse.hpp"
#include "redoubt/model/parts.hpp"

namespace redoubt {

TreeTarget TreeTarget::of(const Dataset& data) {
  TreeTarget y;
  y.task = data.task();
  y.weights = data.weights();
  if (y.task == Task::classification) {
    y.labels = data.labels();
    y.classes = data.classes().size();
  } else if (y.task == Task::regression) {
    y.values = data.targets();
  } else {
    detail::fail(errc::invalid_argument, "the data has no target column; name one with the role `target`");
  }
  return y;
}

TreeTarget TreeTarget::of(const SparseDataset& data) {
  return {.task = data.task,
          .labels = data.labels,
          .classes = data.classes.size(),
          .values = data.targets,
          .weights = data.weights,
          .queries = data.queries};
}

namespace detail {

void append_tree(ForestArrays& forest, const GrownTree& tree, const BinnedMatrix& bins, std::uint32_t output,
                 std::uint32_t leaf_width) {
  const auto first_node = static_cast<std::int32_t>(forest.feature.size());
  const auto first_leaf = static_cast<std::int32_t>(forest.leaf_values.size() / leaf_width);
  const auto moved = [&](std::int32_t child) { return child >= 0 ? child + first_node : ~(~child + first_leaf); };
  forest.roots.push_back(moved(tree.root));
  forest.outputs_of.push_back(output);
  for (const GrownNode& node : tree.nodes) {
    const ColumnBins& column = bins.column(node.column);
    const bool missing_left = node.left_bins.contains(column.missing());
    forest.feature.push_back(node.column);
    forest.left.push_back(moved(node.left));
    forest.right.push_back(moved(node.right));
    forest.flags.push_back(missing_left ? redoubt::missing_left | others_left : 0);
    forest.cover.push_back(node.cover);
    forest.gain.push_back(node.gain);
    if (column.categories == 0) {
      forest.threshold.push_back(column.upper[node.last_bin]);
      forest.category_set.push_back(-1);
      continue;
    }
    if (forest.category_offsets.empty()) forest.category_offsets.push_back(0);
    forest.threshold.push_back(0);
    forest.category_set.push_back(static_cast<std::int32_t>(forest.category_offsets.size() - 1));
    // The unused bits of the last word stand for codes that do not exist: they go the way of missing values too.
    const std::uint32_t words = (column.categories + 31) / 32;
    for (std::uint32_t w = 0; w < words; ++w) {
      std::uint32_t bits = 0;
      for (std::uint32_t b = 0; b < 32; ++b) {
        const std::uint32_t code = w * 32 + b;
        const bool left = code < column.categories ? node.left_bins.contains(column.bin_of_code[code]) : missing_left;
        bits |= static_cast<std::uint32_t>(left) << b;
      }
      forest.category_bits.push_back(bits);
    }
    forest.category_offsets.push_back(static_cast<std::uint32_t>(forest.category_bits.size()));
  }
  forest.leaf_values.insert(forest.leaf_values.end(), tree.leaf_values.begin(), tree.leaf_values.end());
  forest.leaf_cover.insert(forest.leaf_cover.end(), tree.leaf_cover.begin(), tree.leaf_cover.end());
}

void check_target(const TreeTarget& y, std::size_t rows) {
  const auto check_size = [&](const char* what, std::size_t size) {
    if (size != rows) fail(errc::shape_mismatch, fmt::format("{} {} for {} rows", size, what, rows));
  };
  if (y.task == Task::classification) {
    check_size("labels", y.labels.size());
    if (y.classes < 2)
      fail(errc::invalid_argument,
           fmt::format("classification needs at least 2 classes, the target has {}", y.classes));
    for (std::size_t r = 0; r < rows; ++r)
      if (y.labels[r] < -1 || y.labels[r] >= static_cast<std::int64_t>(y.classes))
        fail(errc::invalid_argument,
             fmt::format("label {} of row {} is not below the {} classes", y.labels[r], r, y.classes));
  } else if (y.task == Task::regression) {
    check_size("target values", y.values.size());
    for (std::size_t r = 0; r < rows; ++r)
      if (std::isinf(y.values[r])) fail(errc::invalid_argument, fmt::format("target of row {} is infinite", r));
  } else {
    fail(errc::invalid_argument, "the task of a tree target is classification or regression");
  }
  if (y.weights.empty()) return;
  check_size("weights", y.weights.size());
  for (std::size_t r = 0; r < rows; ++r)
    if (!(y.weights[r] >= 0) || std::isinf(y.weights[r]))
      fail(errc::invalid_argument, fmt::format("weight {} of row {} is not a finite number >= 0", y.weights[r], r));
}

namespace {

bool is_usable(const TreeTarget& y, std::size_t r) {
  const bool target = y.task == Task::classification ? y.labels[r] >= 0 : !std::isnan(y.values[r]);
  return target && (y.weights.empty() || y.weights[r] != 0);
}

}  // namespace

bool all_usable(const TreeTarget& y, std::size_t count) {
  for (std::size_t r = 0; r < count; ++r)
    if (!is_usable(y, r)) return false;
  return true;
}

std::vector<std::uint32_t> usable_rows(const TreeTarget& y, std::size_t count, std::span<const std::uint32_t> rows) {
  const auto usable = [&](std::uint32_t r) { return is_usable(y, r); };
  std::vector<std::uint32_t> listed(rows.begin(), rows.end());
  if (rows.empty()) {
    listed.resize(count);
    std::size_t kept = 0;
    for (std::uint32_t r = 0; r < count; ++r) {
      listed[kept] = r;
      kept += usable(r);
    }
    listed.resize(kept);
  } else {
    std::sort(listed.begin(), listed.end());
    if (listed.back() >= count)
      fail(errc::invalid_argument, fmt::format("row {} is listed, but there are {} rows", listed.back(), count));
    if (const auto twice = std::adjacent_find(listed.begin(), listed.end()); twice != listed.end())
      fail(errc::invalid_argument, fmt::format("row {} is listed twice", *twice));
    std::erase_if(listed, [&](std::uint32_t r) { return !usable(r); });
  }
  if (listed.empty()) fail(errc::invalid_argument, "no row has a target and a weight above 0");
  return listed;
}

void require_option(bool ok, const char* estimator, const char* option, double value, const char* rule) {
  if (!ok) fail(errc::invalid_argument, fmt::format("{}: {} is {}, must be {}", estimator, option, value, rule));
}

Model make_tree_model(const char* algorithm, std::string options, std::uint64_t seed, const Dataset& data, Task task,
                      Encoder encoder, Shared<const Forest> forest) {
  Model::Parts parts;
  parts.info.algorithm = algorithm;
  parts.info.options = std::move(options);
  parts.info.seed = seed;
  parts.info.data_hash = data.hash();
  parts.info.train_rows = data.rows();
  parts.info.library_version = version();
  parts.info.isa = to_string(active_isa());
  parts.task = task;
  if (task == Task::classification) parts.classes.assign(data.classes().begin(), data.classes().end());
  parts.encoder = Shared<const Encoder>::make(std::move(encoder));
  parts.predictor = forest;
  return Model(std::move(parts), data);
}

}  // namespace detail
}  // namespace redoubt
