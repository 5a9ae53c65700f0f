#include "trees/bagging.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <mutex>
#include <numeric>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "trees/bagging_sums.hpp"
#include "trees/grown_tree.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t rows_per_block = 256;
/// A node whose cells are so few is copied, so that all below it stays in the nearest cache.
constexpr std::size_t copied_cells = 128 * 1024;

/// The bins by columns. Shared by all trees.
class ColumnBytes {
 public:
  explicit ColumnBytes(const BinnedMatrix& bins) : columns_(bins.cols()) {
    own_.reserve(bins.cols());
    for (std::size_t c = 0; c < bins.cols(); ++c) {
      const BinnedMatrix::Place& place = bins.place(c);
      if (place.stored != BinnedMatrix::Place::none && !place.bundled) {
        columns_[c] = bins.stored_column(place.stored);
        continue;
      }
      auto& column = own_.emplace_back(bins.rows());
      for (std::size_t r = 0; r < bins.rows(); ++r) column[r] = bins.row(r)[c];
      columns_[c] = column.data();
    }
  }
  const std::uint8_t* operator[](std::size_t c) const { return columns_[c]; }

 private:
  std::vector<const std::uint8_t*> columns_;
  std::vector<std::vector<std::uint8_t>> own_;
};

/// Grows trees one after the other, on one thread.
template <class Sums>
class TreeGrower {
 public:
  using Row = typename Sums::Row;
  TreeGrower(const BinnedMatrix& bins, const ColumnBytes& bytes, const BaggingOptions& options, std::size_t width,
             std::size_t tried, double mean)
      : bins_(bins),
        bytes_(bytes),
        options_(options),
        tried_(tried),
        mean_(mean),
        width_(width),
        sums_(width),
        columns_(bins.cols()) {
    if (bins.rows() * bins.cols() > 4 * copied_cells && options.max_leaves == 0)
      copied_rows_ = copied_cells / bins.cols();
    copy_stride_ = (copied_rows_ + 63) / 64 * 64 + 64;  // not a power of two
  }

  /// `ids` are distinct; rows[i] belongs to ids[i]. Both are permuted.
  GrownTree grow(std::vector<std::uint32_t>& ids, std::vector<Row>& rows, Random& random);

 private:
  struct Split {
    double score = no_split;
    std::uint32_t column = 0, last_bin = 0;
    bool numeric = true, missing_left = false;
    BinSet left_bins;
  };
  struct Job {
    std::size_t begin, end;
    std::int32_t parent;
    bool is_left, copied;
    int depth;
  };
  struct Open {
    Job job;
    Split split;
    double gain, weight;
  };

  const std::uint8_t* column_bytes(std::uint32_t column, bool copied) const {
    return copied ? copy_.data() + column * copy_stride_ : bytes_[column];
  }
  std::uint32_t times_above() const { return static_cast<std::uint32_t>(options_.min_leaf_rows); }
  Open open(Job job, Random& random);
  void copy_node(Job& job);
  /// Whether the rows of the node differ in the column.
  bool try_column(std::uint32_t column, const Job& job, Random& random, Split& best);
  template <bool Counted>
  void fill_bins(const std::uint8_t* bytes, const Job& job, std::uint32_t bins);
  void try_numeric(std::uint32_t column, Split& best);
  void try_categorical(std::uint32_t column, Random& random, Split& best);
  bool try_random_cut(std::uint32_t column, const Job& job, Random& random, Split& best);
  bool consider(Split& best) const;
  void move_left(std::uint32_t bin) {
    sums_.move_left(bin);
    left_rows_ += counts_[bin];
  }
  void move_back(std::uint32_t bin) {
    sums_.move_back(bin);
    left_rows_ -= counts_[bin];
  }
  std::size_t partition(const Job& job, const Split& split);
  void add_leaf(GrownTree& tree, const Job& job);
  static void attach(GrownTree& tree, const Job& job, std::int32_t child);

  const BinnedMatrix& bins_;
  const ColumnBytes& bytes_;
  const BaggingOptions& options_;
  std::size_t tried_;
  double mean_;
  std::size_t width_;
  Sums sums_;
  std::vector<std::uint32_t> columns_;
  std::vector<std::uint32_t> ids_, right_ids_;
  std::vector<Row> rows_, right_rows_;
  std::size_t copied_rows_ = 0, copy_stride_ = 0;
  std::vector<std::uint8_t> copy_, cells_;
  // The column under trial: its bins that occur in the node, ascending, and rows in each if min_leaf_rows needs them.
  std::array<std::uint32_t, 256> present_{};
  std::size_t present_count_ = 0;
  std::array<std::uint32_t, 256> counts_{};
  std::size_t left_rows_ = 0, node_rows_ = 0;
};

/// Whether the present left side is allowed and the best so far.
template <class Sums>
bool TreeGrower<Sums>::consider(Split& best) const {
  if (times_above() > 1 && (left_rows_ < times_above() || node_rows_ - left_rows_ < times_above())) return false;
  const double score = sums_.split_score();
  if (!(score > best.score)) return false;
  best.score = score;
  return true;
}

template <class Sums>
template <bool Counted>
void TreeGrower<Sums>::fill_bins(const std::uint8_t* bytes, const Job& job, std::uint32_t bins) {
  const std::uint32_t* const ids = ids_.data();
  const Row* const rows = rows_.data();
  const auto add = [&](std::size_t i) {
    const std::uint8_t b = bytes[ids[i]];
    sums_.add(b, rows[i]);
    if constexpr (Counted) ++counts_[b];
    return b;
  };
  present_count_ = 0;
  if (2 * node_rows_ >= bins) {
    for (std::size_t i = job.begin; i < job.end; ++i) add(i);
    for (std::uint32_t b = 0; b < bins; ++b) {
      present_[present_count_] = b;
      present_count_ += sums_.any(b);
    }
    return;
  }
  // Few rows: only their bins are looked at.
  std::array<std::uint64_t, 4> seen{};
  for (std::size_t i = job.begin; i < job.end; ++i) {
    const std::uint8_t b = add(i);
    seen[b / 64] |= std::uint64_t{1} << (b % 64);
  }
  for (std::uint32_t w = 0; w < 4; ++w)
    for (std::uint64_t bits = seen[w]; bits != 0; bits &= bits - 1)
      present_[present_count_++] = w * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
}

template <class Sums>
void TreeGrower<Sums>::try_numeric(std::uint32_t column, Split& best) {
  const ColumnBins& cuts = bins_.column(column);
  const std::uint32_t missing = cuts.missing();
  const bool any_missing = present_[present_count_ - 1] == missing;
  const std::size_t values = present_count_ - any_missing;
  for (std::size_t i = 0; i < values; ++i) {
    // All values on one side, and nothing is missing: no split.
    if (!any_missing && i + 1 == values) break;
    const std::uint32_t b = present_[i];
    move_left(b);
    bool better = consider(best), missing_left = false;
    if (any_missing) {
      move_left(missing);
      if (consider(best)) better = missing_left = true;
      move_back(missing);
    } else if (better) {
      missing_left = 2 * sums_.left_weight() > sums_.node_weight();
    }
    if (!better) continue;
    best.column = column;
    best.numeric = true;
    best.missing_left = missing_left;
    // Values against gaps: then every value goes left.
    best.last_bin = any_missing && !missing_left && i + 1 == values ? cuts.count - 1 : b;
  }
}

/// Sorted by mean, the best of all subsets is a prefix: for values and two classes (Fisher 1958, Breiman et al. 1984).
/// With random cuts: one random subset.
template <class Sums>
void TreeGrower<Sums>::try_categorical(std::uint32_t column, Random& random, Split& best) {
  const ColumnBins& cuts = bins_.column(column);
  const std::span<std::uint32_t> present(present_.data(), present_count_);
  std::size_t first = 1, last = present.size() - 1;  // sizes of the prefixes on trial
  if (options_.random_cuts) {
    random.shuffle(present);
    first = last = 1 + random.below(present.size() - 1);
  } else {
    std::stable_sort(present.begin(), present.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return sums_.mean(a) < sums_.mean(b); });
  }
  std::size_t best_prefix = 0;
  bool heavier_left = false;
  for (std::size_t size = 1; size <= last; ++size) {
    move_left(present[size - 1]);
    if (size < first || !consider(best)) continue;
    best_prefix = size;
    heavier_left = 2 * sums_.left_weight() > sums_.node_weight();
  }
  if (best_prefix == 0) return;
  best.column = column;
  best.numeric = false;
  best.left_bins = {};
  for (std::size_t i = 0; i < best_prefix; ++i) best.left_bins.insert(present[i]);
  if (!heavier_left) return;
  // Categories that this node does not know follow the heavier side.
  BinSet known;
  for (const std::uint32_t b : present) known.insert(b);
  for (std::uint32_t b = 0; b <= cuts.count; ++b)
    if (!known.contains(b)) best.left_bins.insert(b);
}

/// One cut between two bins of the node, each as likely. No bins are filled: the rows are compared with the cut.
template <class Sums>
bool TreeGrower<Sums>::try_random_cut(std::uint32_t column, const Job& job, Random& random, Split& best) {
  const ColumnBins& cuts = bins_.column(column);
  const std::uint8_t missing = cuts.missing();
  const std::uint8_t* const bytes = column_bytes(column, job.copied);
  const std::size_t count = job.end - job.begin;
  const std::uint32_t* const ids = ids_.data() + job.begin;
  const Row* const rows = rows_.data() + job.begin;
  cells_.resize(std::max(cells_.size(), count));
  std::uint8_t low = 255, high = 0;
  bool any_missing = false;
  if (bins_.place(column).any_missing) {
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint8_t b = cells_[i] = bytes[ids[i]];
      if (b == missing) {
        any_missing = true;
        continue;
      }
      low = std::min(low, b);
      high = std::max(high, b);
    }
  } else {
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint8_t b = cells_[i] = bytes[ids[i]];
      low = std::min(low, b);
      high = std::max(high, b);
    }
  }
  if (low > high || (low == high && !any_missing)) return false;
  const bool gaps = low == high;  // values against gaps
  const auto cut = static_cast<std::uint8_t>(gaps ? low : low + random.below(high - low));
  const bool counted = times_above() > 1;
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint8_t b = cells_[i];
    const bool left = b <= cut;
    sums_.add_left_if(left, rows[i]);
    if (counted) left_rows_ += left;
  }
  bool better = consider(best), missing_left = false;
  if (any_missing && !gaps) {
    for (std::size_t i = 0; i < count; ++i) {
      const bool left = cells_[i] == missing;
      sums_.add_left_if(left, rows[i]);
      if (counted) left_rows_ += left;
    }
    if (consider(best)) better = missing_left = true;
  } else if (better && !any_missing) {
    missing_left = 2 * sums_.left_weight() > sums_.node_weight();
  }
  if (!better) return true;
  best.column = column;
  best.numeric = true;
  best.missing_left = missing_left;
  best.last_bin = gaps ? cuts.count - 1 : cut;
  return true;
}

template <class Sums>
bool TreeGrower<Sums>::try_column(std::uint32_t column, const Job& job, Random& random, Split& best) {
  const ColumnBins& cuts = bins_.column(column);
  sums_.start_left();
  left_rows_ = 0;
  if (options_.random_cuts && cuts.categories == 0) return try_random_cut(column, job, random, best);
  const std::uint8_t* const bytes = column_bytes(column, job.copied);
  if (times_above() > 1)
    fill_bins<true>(bytes, job, cuts.count + 1);
  else
    fill_bins<false>(bytes, job, cuts.count + 1);
  if (present_count_ >= 2) {
    if (cuts.categories > 0)
      try_categorical(column, random, best);
    else
      try_numeric(column, best);
  }
  for (std::size_t i = 0; i < present_count_; ++i) {
    sums_.clear(present_[i]);
    counts_[present_[i]] = 0;
  }
  return present_count_ >= 2;
}

template <class Sums>
std::size_t TreeGrower<Sums>::partition(const Job& job, const Split& split) {
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
void TreeGrower<Sums>::copy_node(Job& job) {
  const std::size_t cols = bins_.cols();
  copy_.resize(cols * copy_stride_);
  for (std::size_t i = job.begin; i < job.end; ++i) {
    const std::uint8_t* const from = bins_.row(ids_[i]);
    std::uint8_t* to = copy_.data() + (i - job.begin);
    for (std::size_t c = 0; c < cols; ++c, to += copy_stride_) *to = from[c];
    ids_[i] = static_cast<std::uint32_t>(i - job.begin);
  }
  job.copied = true;
}

/// Looks for the node's split; the sums of the node stay in sums_.
template <class Sums>
typename TreeGrower<Sums>::Open TreeGrower<Sums>::open(Job job, Random& random) {
  node_rows_ = job.end - job.begin;
  const bool pure = sums_.start_node(rows_.data() + job.begin, node_rows_);
  Open open{job, {}, 0, sums_.node_weight()};
  if (pure || node_rows_ < 2 * static_cast<std::size_t>(options_.min_leaf_rows) ||
      (options_.max_depth > 0 && job.depth >= options_.max_depth))
    return open;
  if (!job.copied && node_rows_ <= copied_rows_ && node_rows_ > 32) copy_node(open.job);
  Split& best = open.split;
  bool differ = false;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    // At least `tried_` columns, and more until the rows differ in one. If none of these may be split, the node is a
    // leaf: searching on makes deeper trees, which are worse.
    if (i >= tried_ && differ) break;
    std::swap(columns_[i], columns_[i + random.below(columns_.size() - i)]);
    differ |= try_column(columns_[i], open.job, random, best);
  }
  if (best.score > no_split) {
    open.gain = std::max(best.score - sums_.node_score(), 0.0);
    if (open.gain < options_.min_split_gain) best.score = no_split;
  }
  return open;
}

template <class Sums>
void TreeGrower<Sums>::attach(GrownTree& tree, const Job& job, std::int32_t child) {
  if (job.parent < 0) {
    tree.root = child;
    return;
  }
  GrownNode& parent = tree.nodes[static_cast<std::size_t>(job.parent)];
  (job.is_left ? parent.left : parent.right) = child;
}

template <class Sums>
void TreeGrower<Sums>::add_leaf(GrownTree& tree, const Job& job) {
  sums_.start_node(rows_.data() + job.begin, job.end - job.begin);
  attach(tree, job, ~static_cast<std::int32_t>(tree.leaf_values.size() / width_));
  sums_.leaf(tree.leaf_values, mean_);
  tree.leaf_cover.push_back(static_cast<float>(sums_.node_weight()));
}

template <class Sums>
GrownTree TreeGrower<Sums>::grow(std::vector<std::uint32_t>& ids, std::vector<Row>& rows, Random& random) {
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
    const Split& split = node.split;
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

std::size_t columns_tried(const BaggingOptions& options, std::size_t columns) {
  const auto count = static_cast<double>(columns);
  double tried = options.max_features * count;
  if (options.max_features == 0)
    tried = options.automatic_columns > 0 ? count * options.automatic_columns : std::sqrt(count);
  return std::max<std::size_t>(static_cast<std::size_t>(tried), 1);
}

/// Fills the out-of-bag part of `fit`. `bags[t][r]`: tree t has seen row r.
void fill_oob(RandomForestFit& fit, const BinnedMatrix& bins, const TreeTarget& y, const std::vector<GrownTree>& trees,
              const std::vector<std::vector<bool>>& bags, std::size_t width, Arena* arena) {
  constexpr float none = std::numeric_limits<float>::quiet_NaN();
  const bool classify = y.task == Task::classification;
  fit.oob_proba = Tensor<float>({bins.rows(), width});
  fit.oob_counts.assign(bins.rows(), 0);
  if (classify) fit.oob_correct.assign(bins.rows(), none);
  parallel_for(
      bins.rows(), rows_per_block,
      [&](std::size_t begin, std::size_t end) {
        std::vector<double> sums((end - begin) * width);
        std::vector<std::uint32_t> correct(end - begin);
        // Tree by tree, so that its nodes stay in the cache.
        for (std::size_t t = 0; t < trees.size(); ++t) {
          for (std::size_t r = begin; r < end; ++r) {
            if (bags[t][r]) continue;
            ++fit.oob_counts[r];
            const float* leaf = trees[t].leaf_values.data() + trees[t].leaf_of(bins.row(r)) * width;
            for (std::size_t k = 0; k < width; ++k) sums[(r - begin) * width + k] += leaf[k];
            correct[r - begin] += classify && std::max_element(leaf, leaf + width) - leaf == y.labels[r];
          }
        }
        for (std::size_t r = begin; r < end; ++r) {
          const std::uint32_t count = fit.oob_counts[r];
          for (std::size_t k = 0; k < width; ++k)
            fit.oob_proba(r, k) = count ? static_cast<float>(sums[(r - begin) * width + k] / count) : none;
          if (classify && count > 0 && y.labels[r] >= 0)
            fit.oob_correct[r] = static_cast<float>(correct[r - begin]) / static_cast<float>(count);
        }
      },
      arena);
}

/// What every tree starts from.
struct Target {
  const TreeTarget& y;
  std::span<const double> weights;  ///< per row of the matrix; empty: 1
  double mean = 0;
};

template <class Sums>
typename Sums::Row make_row(const Target& target, std::uint32_t row, std::uint32_t times) {
  if constexpr (std::is_same_v<Sums, TwoClassSums>) {
    return TwoClassSums::row(static_cast<std::uint32_t>(target.y.labels[row]), times);
  } else {
    using Weight = decltype(typename Sums::Row{}.weight);
    auto weight = static_cast<Weight>(times);
    if constexpr (!std::is_integral_v<Weight>)
      if (!target.weights.empty()) weight *= target.weights[row];
    if constexpr (std::is_same_v<Sums, MeanSums>)
      return {target.y.values[row] - target.mean, weight};
    else
      return {static_cast<std::uint32_t>(target.y.labels[row]), weight};
  }
}

template <class Sums>
std::vector<GrownTree> grow_trees(const BaggingOptions& options, const BinnedMatrix& x, const Target& target,
                                  std::span<const std::uint32_t> usable, std::size_t width,
                                  std::vector<std::vector<bool>>& bags) {
  const ColumnBytes bytes(x);
  const std::size_t tried = columns_tried(options, x.cols());
  std::vector<GrownTree> trees(static_cast<std::size_t>(options.trees));
  std::mutex progress_mutex;
  std::size_t done = 0;
  parallel_for(
      trees.size(), 1,
      [&](std::size_t begin, std::size_t end) {
        TreeGrower<Sums> grower(x, bytes, options, width, tried, target.mean);
        std::vector<std::uint32_t> ids, times;
        std::vector<typename Sums::Row> rows;
        for (std::size_t t = begin; t < end; ++t) {
          Random random(options.seed, t);
          times.assign(usable.size(), options.bootstrap ? 0 : 1);
          if (options.bootstrap)
            for (std::size_t i = 0; i < usable.size(); ++i) ++times[random.below(usable.size())];
          ids.clear();
          rows.clear();
          for (std::size_t i = 0; i < usable.size(); ++i) {
            if (times[i] == 0) continue;
            ids.push_back(usable[i]);
            rows.push_back(make_row<Sums>(target, usable[i], times[i]));
          }
          if (!bags.empty()) {
            bags[t].assign(x.rows(), false);
            for (const auto r : ids) bags[t][r] = true;
          }
          trees[t] = grower.grow(ids, rows, random);
          if (options.progress) {
            const std::lock_guard lock(progress_mutex);
            options.progress->update("trees", ++done, trees.size());
          }
        }
      },
      options.arena);
  return trees;
}

}  // namespace

void check_bagging(const BaggingOptions& o) {
  const auto require = [&](bool ok, const char* option, double value, const char* rule) {
    require_option(ok, o.estimator, option, value, rule);
  };
  require(o.trees >= 1, "trees", o.trees, "at least 1");
  require(o.max_depth >= 0, "max_depth", o.max_depth, "0 (unlimited) or more");
  require(o.max_leaves == 0 || o.max_leaves >= 2, "max_leaves", o.max_leaves, "0 (unlimited) or at least 2");
  require(o.min_leaf_rows >= 1, "min_leaf_rows", o.min_leaf_rows, "at least 1");
  require(o.min_split_gain >= 0, "min_split_gain", o.min_split_gain, "0 or more");
  require(o.max_features >= 0 && o.max_features <= 1, "max_features", o.max_features, "0 (automatic) or in (0, 1]");
  require(o.max_bins >= 2 && o.max_bins <= 255, "max_bins", o.max_bins, "2 .. 255");
  for (const double w : o.class_weights)
    require(w >= 0 && !std::isinf(w), "class_weights", w, "finite numbers of 0 or more");
}

RandomForestFit fit_bagging(const BaggingOptions& options, const BinnedMatrix& x, const TreeTarget& y,
                            std::span<const std::uint32_t> rows, bool with_oob) {
  check_bagging(options);
  check_target(y, x.rows());
  if (x.rows() > 0) (void)x.row(0);  // refuses sparse matrices
  TreeTarget weighted = y;
  std::vector<double> weights;
  const bool classify = y.task == Task::classification;
  if (!options.class_weights.empty()) {
    if (!classify || options.class_weights.size() != y.classes)
      fail(errc::shape_mismatch, fmt::format("{}: {} class_weights for {} classes", options.estimator,
                                             options.class_weights.size(), classify ? y.classes : 0));
    weights.resize(x.rows());
    for (std::size_t r = 0; r < x.rows(); ++r)
      if (y.labels[r] >= 0)
        weights[r] =
            options.class_weights[static_cast<std::size_t>(y.labels[r])] * (y.weights.empty() ? 1.0 : y.weights[r]);
    weighted.weights = weights;
  }
  const std::vector<std::uint32_t> usable = usable_rows(weighted, x.rows(), rows);
  Target target{y, weighted.weights};
  std::size_t width = 1;
  if (classify) {
    width = y.classes;
  } else {
    double sum = 0, total = 0;
    for (const auto r : usable) {
      const double w = target.weights.empty() ? 1.0 : target.weights[r];
      sum += w * y.values[r];
      total += w;
    }
    target.mean = sum / total;
  }
  std::vector<std::vector<bool>> bags(with_oob ? static_cast<std::size_t>(options.trees) : 0);
  const auto grow = classify ? (!target.weights.empty() ? grow_trees<ClassSums<double>>
                                : width == 2            ? grow_trees<TwoClassSums>
                                                        : grow_trees<ClassSums<std::uint32_t>>)
                             : grow_trees<MeanSums>;
  const std::vector<GrownTree> trees = grow(options, x, target, usable, width, bags);

  RandomForestFit fit;
  ForestShape shape;
  shape.inputs = static_cast<std::uint32_t>(x.cols());
  shape.outputs = static_cast<std::uint32_t>(width);
  shape.leaf_width = shape.outputs;
  shape.link = ForestLink::average;
  shape.base.assign(shape.outputs, 0.0f);
  ForestArrays arrays;
  for (const auto& tree : trees) append_tree(arrays, tree, x, 0, shape.leaf_width);
  fit.forest = Shared<const Forest>::make(std::move(shape), std::move(arrays));
  if (with_oob) fill_oob(fit, x, y, trees, bags, width, options.arena);
  return fit;
}

}  // namespace redoubt::detail
