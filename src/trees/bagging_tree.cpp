#include "trees/bagging_tree.hpp"

#include <algorithm>
#include <numeric>

namespace redoubt::detail {
namespace {

/// A node whose cells are so few is copied, so that all below it stays in the nearest cache.
constexpr std::size_t copied_cells = 128 * 1024;
/// A column of so many rows stays in the second cache while it is read here and there; else whole rows are read.
constexpr std::size_t cached_rows = 256 * 1024;

}  // namespace

ColumnBytes::ColumnBytes(const BinnedMatrix& bins) : columns_(bins.cols()) {
  using Place = BinnedMatrix::Place;
  own_.reserve(bins.cols());
  for (std::size_t c = 0; c < bins.cols(); ++c) {
    const Place& place = bins.place(c);
    if (place.stored != Place::none && !place.bundled) {
      columns_[c] = bins.stored_column(place.stored);
      continue;
    }
    const std::uint8_t common = bins.common_bin(c);
    auto& column = own_.emplace_back(bins.rows(), common);
    columns_[c] = column.data();
    if (place.stored == Place::none) {
      const BinnedMatrix::Sparse& group = bins.sparse()[place.group];
      for (auto i = group.column_offsets[place.listed]; i < group.column_offsets[place.listed + 1]; ++i)
        column[group.cell_rows[i]] = group.cell_bins[i];
    } else {
      const std::uint8_t* const codes = bins.stored_column(place.stored);
      for (std::size_t r = 0; r < bins.rows(); ++r) {
        const unsigned code = codes[r] - unsigned{place.first};  // wraps where another column is not common
        if (codes[r] != 0 && code < place.codes) column[r] = static_cast<std::uint8_t>(code + (code >= common));
      }
    }
  }
}

template <class Sums>
BaggedTreeGrower<Sums>::BaggedTreeGrower(const BinnedMatrix& bins, const ColumnBytes& bytes,
                                         const BaggingOptions& options, std::size_t width, std::size_t tried,
                                         double mean)
    : bins_(bins),
      bytes_(bytes),
      options_(options),
      tried_(tried),
      mean_(mean),
      width_(width),
      search_(bins, width, static_cast<std::size_t>(options.min_leaf_rows), options.random_cuts),
      columns_(bins.cols()) {
  if (bins.rows() * bins.cols() > 4 * copied_cells && options.max_leaves == 0)
    copied_rows_ = copied_cells / bins.cols();
  copy_stride_ = (copied_rows_ + 63) / 64 * 64 + 64;  // not a power of two
}

template <class Sums>
std::size_t BaggedTreeGrower<Sums>::partition(const Job& job, const BaggedSplit& split) {
  const std::uint8_t* const bytes = column_bytes(split.column, job.copied);
  const std::uint8_t missing = bins_.column(split.column).missing();
  std::uint32_t* const ids = ids_.data();
  Row* const rows = rows_.data();
  std::size_t left = job.begin, right = 0;
  const auto part = [&](auto goes_left) {
    for (std::size_t i = job.begin; i < job.end; ++i) {
      const std::uint32_t id = ids[i];
      const Row row = rows[i];
      const bool is_left = goes_left(bytes[id]);
      ids[left] = id;
      rows[left] = row;
      right_ids_[right] = id;
      right_rows_[right] = row;
      left += is_left;
      right += !is_left;
    }
  };
  const std::uint32_t last = split.last_bin;
  if (!split.numeric)
    part([&](std::uint8_t b) { return split.left_bins.contains(b); });
  else if (split.missing_left)
    part([&](std::uint8_t b) { return (b <= last) | (b == missing); });
  else
    part([&](std::uint8_t b) { return b <= last; });
  std::copy_n(right_ids_.data(), right, ids + left);
  std::copy_n(right_rows_.data(), right, rows + left);
  return left;
}

/// Copies the cells of a node. Depth first, all below it is done before another node is copied.
template <class Sums>
void BaggedTreeGrower<Sums>::copy_node(Job& job) {
  const std::size_t cols = bins_.cols();
  copy_.resize(cols * copy_stride_);
  const std::size_t count = job.end - job.begin;
  std::uint32_t* const ids = ids_.data() + job.begin;
  if (bins_.rows() <= cached_rows || !bins_.dense()) {
    for (std::size_t c = 0; c < cols; ++c) {
      const std::uint8_t* const from = bytes_[c];
      std::uint8_t* const to = copy_.data() + c * copy_stride_;
      for (std::size_t i = 0; i < count; ++i) to[i] = from[ids[i]];
    }
  } else {
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint8_t* const from = bins_.row(ids[i]);
      std::uint8_t* to = copy_.data() + i;
      for (std::size_t c = 0; c < cols; ++c, to += copy_stride_) *to = from[c];
    }
  }
  std::iota(ids, ids + count, 0u);
  job.copied = true;
}

/// Looks for the node's split; the sums of the node stay in the search.
template <class Sums>
typename BaggedTreeGrower<Sums>::Open BaggedTreeGrower<Sums>::open(Job job, Random& random) {
  const std::size_t count = job.end - job.begin;
  const bool pure = search_.start_node(ids_.data() + job.begin, rows_.data() + job.begin, count);
  Open open{job, {}, 0, search_.sums().node_weight()};
  if (pure || count < 2 * static_cast<std::size_t>(options_.min_leaf_rows) ||
      (options_.max_depth > 0 && job.depth >= options_.max_depth))
    return open;
  if (!job.copied && count <= copied_rows_ && count > 32) copy_node(open.job);
  BaggedSplit& best = open.split;
  bool differ = false;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    // At least `tried_` columns, and more until the rows differ in one. If none of these may be split, the node is a
    // leaf: searching on makes deeper trees, which are worse.
    if (i >= tried_ && differ) break;
    std::swap(columns_[i], columns_[i + random.below(columns_.size() - i)]);
    differ |= search_.try_column(columns_[i], column_bytes(columns_[i], open.job.copied), random, best);
  }
  if (best.score > no_split) {
    open.gain = search_.sums().gain(best.score);
    if (open.gain < options_.min_split_gain) best.score = no_split;
  }
  return open;
}

template <class Sums>
void BaggedTreeGrower<Sums>::attach(GrownTree& tree, const Job& job, std::int32_t child) {
  if (job.parent < 0) {
    tree.root = child;
    return;
  }
  GrownNode& parent = tree.nodes[static_cast<std::size_t>(job.parent)];
  (job.is_left ? parent.left : parent.right) = child;
}

template <class Sums>
void BaggedTreeGrower<Sums>::add_leaf(GrownTree& tree, const Job& job) {
  search_.start_node(ids_.data() + job.begin, rows_.data() + job.begin, job.end - job.begin);
  attach(tree, job, ~static_cast<std::int32_t>(tree.leaf_values.size() / width_));
  search_.sums().leaf(tree.leaf_values, mean_);
  tree.leaf_cover.push_back(static_cast<float>(search_.sums().node_weight()));
}

template <class Sums>
GrownTree BaggedTreeGrower<Sums>::grow(std::vector<std::uint32_t>& ids, std::vector<Row>& rows, Random& random) {
  ids_.swap(ids);
  rows_.swap(rows);
  right_ids_.resize(ids_.size());
  right_rows_.resize(rows_.size());
  std::iota(columns_.begin(), columns_.end(), 0u);
  GrownTree tree;
  // Depth first: nodes whose split is still to be found. Best first: `frontier`, a heap of found splits.
  std::vector<Job> jobs{{0, ids_.size(), -1, false, false, 0}};
  std::vector<Open> frontier;
  const bool best_first = options_.max_leaves > 0;
  const auto worse = [](const Open& a, const Open& b) {
    return a.gain != b.gain ? a.gain < b.gain : a.job.begin > b.job.begin;
  };
  std::size_t leaves = 1;  // if nothing more is split
  const auto divide = [&](const Open& node) {
    const auto index = static_cast<std::int32_t>(tree.nodes.size());
    const Job& job = node.job;
    const BaggedSplit& split = node.split;
    const BinSet set =
        split.numeric ? numeric_left(bins_.column(split.column), split.last_bin, split.missing_left) : split.left_bins;
    tree.nodes.push_back(
        {split.column, split.last_bin, set, 0, 0, static_cast<float>(node.weight), static_cast<float>(node.gain)});
    attach(tree, job, index);
    const std::size_t middle = partition(job, split);
    jobs.push_back({middle, job.end, index, false, job.copied, job.depth + 1});
    jobs.push_back({job.begin, middle, index, true, job.copied, job.depth + 1});
    ++leaves;
  };
  while (!jobs.empty() || !frontier.empty()) {
    if (!jobs.empty()) {
      const Job job = jobs.back();
      jobs.pop_back();
      Open node = open(job, random);
      if (!(node.split.score > no_split)) {
        add_leaf(tree, node.job);
      } else if (best_first) {
        frontier.push_back(std::move(node));
        std::push_heap(frontier.begin(), frontier.end(), worse);
      } else {
        divide(node);
      }
      continue;
    }
    if (leaves >= static_cast<std::size_t>(options_.max_leaves)) {
      for (const Open& node : frontier) add_leaf(tree, node.job);
      break;
    }
    std::pop_heap(frontier.begin(), frontier.end(), worse);
    const Open node = frontier.back();
    frontier.pop_back();
    divide(node);
  }
  ids_.swap(ids);
  rows_.swap(rows);
  return tree;
}

template class BaggedTreeGrower<TwoClassSums>;
template class BaggedTreeGrower<ClassSums<std::uint32_t>>;
template class BaggedTreeGrower<ClassSums<double>>;
template class BaggedTreeGrower<MeanSums>;

}  // namespace redoubt::detail
