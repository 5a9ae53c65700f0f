#include "redoubt/trees/random_forest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "trees/grown_tree.hpp"

namespace redoubt {
namespace {

constexpr std::size_t rows_per_block = 256;

void check(const RandomForestOptions& o) {
  const auto require = [](bool ok, const char* option, double value, const char* rule) {
    detail::require_option(ok, "RandomForest", option, value, rule);
  };
  require(o.trees >= 1, "trees", o.trees, "at least 1");
  require(o.max_depth >= 0, "max_depth", o.max_depth, "0 (unlimited) or more");
  require(o.min_leaf_rows >= 1, "min_leaf_rows", o.min_leaf_rows, "at least 1");
  require(o.max_features >= 0 && o.max_features <= 1, "max_features", o.max_features, "0 (automatic) or in (0, 1]");
  require(o.max_bins >= 2 && o.max_bins <= 255, "max_bins", o.max_bins, "2 .. 255");
}

/// What a tree averages: `width` numbers per row. Classification: 1 for the row's class and 0 for the others;
/// regression: the distance from the mean, so that squares lose no digits. With s the weighted sums over a node and w
/// its weight, both Gini impurity and variance fall most where sum(s^2) / w of the children is largest.
struct Averaged {
  std::size_t width = 1;
  std::span<const std::int32_t> labels;  // classification
  std::vector<double> values;            // regression
  double mean = 0;

  Averaged(const TreeTarget& y, std::span<const std::uint32_t> rows) {
    if (y.task == Task::classification) {
      width = y.classes;
      labels = y.labels;
      return;
    }
    double sum = 0, total = 0;
    for (const auto r : rows) {
      const double w = y.weights.empty() ? 1.0 : y.weights[r];
      sum += w * y.values[r];
      total += w;
    }
    mean = sum / total;
    values.assign(y.values.begin(), y.values.end());
    for (double& v : values) v -= mean;
  }
  void add(double* sums, std::uint32_t row, double weight) const {
    if (labels.empty())
      sums[0] += weight * values[row];
    else
      sums[labels[row]] += weight;
  }
  bool equal(std::uint32_t a, std::uint32_t b) const {
    return labels.empty() ? values[a] == values[b] : labels[a] == labels[b];
  }
};

/// Grows one tree, depth first, on one thread.
class TreeGrower {
 public:
  TreeGrower(const BinnedMatrix& bins, const Averaged& y, const RandomForestOptions& options, std::size_t tried)
      : bins_(bins),
        y_(y),
        options_(options),
        tried_(tried),
        columns_(bins.cols()),
        sums_(256 * y.width),
        weights_(256),
        counts_(256),
        left_(y.width),
        node_(y.width) {
    std::iota(columns_.begin(), columns_.end(), 0u);
  }

  /// `rows` are distinct; `weights[i]` > 0 belongs to rows[i].
  detail::GrownTree grow(std::vector<std::uint32_t> rows, std::vector<double> weights, Random& random);

 private:
  struct Split {
    double score = -std::numeric_limits<double>::infinity();
    std::uint32_t column = 0, last_bin = 0;
    detail::BinSet left_bins;
  };
  struct Job {
    std::size_t begin, end;
    std::int32_t parent;
    bool is_left;
    int depth;
  };

  void try_column(std::uint32_t column, std::size_t begin, std::size_t end, Split& best);
  void try_numeric(std::uint32_t column, Split& best);
  void try_categorical(std::uint32_t column, Split& best);
  bool consider(Split& best) const;
  void add_left(std::uint32_t bin, double sign);
  std::size_t partition(const Job& job, const Split& split);

  const BinnedMatrix& bins_;
  const Averaged& y_;
  const RandomForestOptions& options_;
  std::size_t tried_;
  std::vector<std::uint32_t> columns_;
  std::vector<std::uint32_t> rows_, right_rows_;
  std::vector<double> row_weights_, right_weights_;
  // The column under trial: sums per bin, of those bins that occur in the node.
  std::vector<double> sums_, weights_;
  std::vector<std::uint32_t> counts_;
  std::vector<std::uint32_t> present_;
  // Left side of the split under trial, and the whole node.
  std::vector<double> left_, node_;
  double left_weight_ = 0, node_weight_ = 0;
  std::int64_t left_rows_ = 0, node_rows_ = 0;
};

void TreeGrower::add_left(std::uint32_t bin, double sign) {
  for (std::size_t k = 0; k < y_.width; ++k) left_[k] += sign * sums_[bin * y_.width + k];
  left_weight_ += sign * weights_[bin];
  left_rows_ += static_cast<std::int64_t>(sign) * counts_[bin];
}

/// Whether the present left side is allowed and the best so far.
bool TreeGrower::consider(Split& best) const {
  if (left_rows_ < options_.min_leaf_rows || node_rows_ - left_rows_ < options_.min_leaf_rows) return false;
  const double right_weight = node_weight_ - left_weight_;
  if (!(left_weight_ > 0 && right_weight > 0)) return false;  // lost in rounding beside much larger weights
  double left_squares = 0, right_squares = 0;
  for (std::size_t k = 0; k < y_.width; ++k) {
    const double right = node_[k] - left_[k];
    left_squares += left_[k] * left_[k];
    right_squares += right * right;
  }
  const double score = left_squares / left_weight_ + right_squares / right_weight;
  if (!(score > best.score)) return false;
  best.score = score;
  return true;
}

void TreeGrower::try_numeric(std::uint32_t column, Split& best) {
  const ColumnBins& cuts = bins_.column(column);
  const std::uint32_t missing = cuts.missing();
  const bool any_missing = present_.back() == missing;
  for (const auto b : present_) {
    if (b == missing) continue;
    add_left(b, 1);
    bool better = consider(best), missing_left = false;
    if (any_missing) {
      add_left(missing, 1);
      if (consider(best)) better = missing_left = true;
      add_left(missing, -1);
    } else {
      missing_left = 2 * left_rows_ > node_rows_;
    }
    if (!better) continue;
    best.column = column;
    // Values against gaps: then every value goes left.
    const bool last = any_missing && !missing_left && b == present_[present_.size() - 2];
    best.last_bin = last ? cuts.count - 1 : b;
    best.left_bins = detail::numeric_left(cuts, best.last_bin, missing_left);
  }
}

/// Sorted by mean, the best of all subsets is a prefix: for values and two classes (Fisher 1958, Breiman et al. 1984).
/// With more classes the share of the node's largest class is the order: a heuristic.
void TreeGrower::try_categorical(std::uint32_t column, Split& best) {
  const ColumnBins& cuts = bins_.column(column);
  const auto key =
      static_cast<std::size_t>(y_.labels.empty() ? 0 : std::max_element(node_.begin(), node_.end()) - node_.begin());
  std::stable_sort(present_.begin(), present_.end(), [&](std::uint32_t a, std::uint32_t b) {
    return sums_[a * y_.width + key] * weights_[b] < sums_[b * y_.width + key] * weights_[a];
  });
  std::size_t best_prefix = 0;
  bool majority_left = false;
  for (std::size_t i = 0; i + 1 < present_.size(); ++i) {
    add_left(present_[i], 1);
    if (!consider(best)) continue;
    best_prefix = i + 1;
    majority_left = 2 * left_rows_ > node_rows_;
  }
  if (best_prefix == 0) return;
  best.column = column;
  best.left_bins = {};
  for (std::size_t i = 0; i < best_prefix; ++i) best.left_bins.insert(present_[i]);
  if (!majority_left) return;
  // Categories that this node does not know follow the majority.
  std::sort(present_.begin(), present_.end());
  for (std::uint32_t b = 0; b <= cuts.count; ++b)
    if (!std::binary_search(present_.begin(), present_.end(), b)) best.left_bins.insert(b);
}

void TreeGrower::try_column(std::uint32_t column, std::size_t begin, std::size_t end, Split& best) {
  std::array<std::uint64_t, 4> seen{};
  const std::size_t width = y_.width;
  for (std::size_t i = begin; i < end; ++i) {
    const std::uint8_t b = bins_.row(rows_[i])[column];
    std::uint64_t& word = seen[b / 64];
    const std::uint64_t bit = std::uint64_t{1} << (b % 64);
    if (!(word & bit)) {
      word |= bit;
      std::fill_n(sums_.begin() + static_cast<std::ptrdiff_t>(b * width), width, 0.0);
      weights_[b] = 0;
      counts_[b] = 0;
    }
    y_.add(&sums_[b * width], rows_[i], row_weights_[i]);
    weights_[b] += row_weights_[i];
    ++counts_[b];
  }
  present_.clear();
  for (std::uint32_t w = 0; w < 4; ++w)
    for (std::uint64_t bits = seen[w]; bits != 0; bits &= bits - 1)
      present_.push_back(w * 64 + static_cast<std::uint32_t>(std::countr_zero(bits)));
  if (present_.size() < 2) return;
  std::fill(left_.begin(), left_.end(), 0.0);
  left_weight_ = 0;
  left_rows_ = 0;
  if (bins_.column(column).categories > 0)
    try_categorical(column, best);
  else
    try_numeric(column, best);
}

std::size_t TreeGrower::partition(const Job& job, const Split& split) {
  right_rows_.clear();
  right_weights_.clear();
  std::size_t lefts = job.begin;
  for (std::size_t i = job.begin; i < job.end; ++i) {
    if (split.left_bins.contains(bins_.row(rows_[i])[split.column])) {
      rows_[lefts] = rows_[i];
      row_weights_[lefts++] = row_weights_[i];
    } else {
      right_rows_.push_back(rows_[i]);
      right_weights_.push_back(row_weights_[i]);
    }
  }
  std::copy(right_rows_.begin(), right_rows_.end(), rows_.begin() + static_cast<std::ptrdiff_t>(lefts));
  std::copy(right_weights_.begin(), right_weights_.end(), row_weights_.begin() + static_cast<std::ptrdiff_t>(lefts));
  return lefts;
}

detail::GrownTree TreeGrower::grow(std::vector<std::uint32_t> rows, std::vector<double> weights, Random& random) {
  rows_ = std::move(rows);
  row_weights_ = std::move(weights);
  detail::GrownTree tree;
  std::vector<Job> jobs{{0, rows_.size(), -1, false, 0}};
  while (!jobs.empty()) {
    const Job job = jobs.back();
    jobs.pop_back();
    std::fill(node_.begin(), node_.end(), 0.0);
    node_weight_ = 0;
    node_rows_ = static_cast<std::int64_t>(job.end - job.begin);
    bool pure = true;
    for (std::size_t i = job.begin; i < job.end; ++i) {
      y_.add(node_.data(), rows_[i], row_weights_[i]);
      node_weight_ += row_weights_[i];
      pure = pure && y_.equal(rows_[job.begin], rows_[i]);
    }
    Split best;
    if (!pure && node_rows_ >= 2 * static_cast<std::int64_t>(options_.min_leaf_rows) &&
        (options_.max_depth == 0 || job.depth < options_.max_depth)) {
      for (std::size_t i = 0; i < columns_.size(); ++i) {
        // At least `tried_` columns, and more until one can split the node.
        if (i >= tried_ && std::isfinite(best.score)) break;
        std::swap(columns_[i], columns_[i + random.below(columns_.size() - i)]);
        try_column(columns_[i], job.begin, job.end, best);
      }
    }
    std::int32_t child;
    if (std::isfinite(best.score)) {
      child = static_cast<std::int32_t>(tree.nodes.size());
      double score = 0;
      for (const double s : node_) score += s * s / node_weight_;
      tree.nodes.push_back({best.column, best.last_bin, best.left_bins, 0, 0, static_cast<float>(node_weight_),
                            static_cast<float>(std::max(best.score - score, 0.0))});
      const std::size_t middle = partition(job, best);
      jobs.push_back({middle, job.end, child, false, job.depth + 1});
      jobs.push_back({job.begin, middle, child, true, job.depth + 1});
    } else {
      child = ~static_cast<std::int32_t>(tree.leaf_values.size() / y_.width);
      for (const double s : node_) tree.leaf_values.push_back(static_cast<float>(y_.mean + s / node_weight_));
      tree.leaf_cover.push_back(static_cast<float>(node_weight_));
    }
    if (job.parent < 0) {
      tree.root = child;
    } else {
      detail::GrownNode& parent = tree.nodes[static_cast<std::size_t>(job.parent)];
      (job.is_left ? parent.left : parent.right) = child;
    }
  }
  return tree;
}

std::size_t columns_tried(const RandomForestOptions& options, Task task, std::size_t columns) {
  const auto count = static_cast<double>(columns);
  double tried = options.max_features * count;
  if (options.max_features == 0) tried = task == Task::classification ? std::sqrt(count) : count / 3;
  return std::max<std::size_t>(static_cast<std::size_t>(tried), 1);
}

/// Fills the out-of-bag part of `fit`. `bags[t][r]`: tree t has seen row r.
void fill_oob(RandomForestFit& fit, const BinnedMatrix& bins, const TreeTarget& y,
              const std::vector<detail::GrownTree>& trees, const std::vector<std::vector<bool>>& bags,
              std::size_t width, Arena* arena) {
  constexpr float none = std::numeric_limits<float>::quiet_NaN();
  const bool classify = y.task == Task::classification;
  fit.oob_proba = Tensor<float>({bins.rows(), width});
  fit.oob_counts.assign(bins.rows(), 0);
  if (classify) fit.oob_correct.assign(bins.rows(), none);
  parallel_for(
      bins.rows(), rows_per_block,
      [&](std::size_t begin, std::size_t end) {
        std::vector<double> sum(width);
        for (std::size_t r = begin; r < end; ++r) {
          std::fill(sum.begin(), sum.end(), 0.0);
          std::uint32_t count = 0, correct = 0;
          for (std::size_t t = 0; t < trees.size(); ++t) {
            if (bags[t][r]) continue;
            ++count;
            const float* leaf = trees[t].leaf_values.data() + trees[t].leaf_of(bins.row(r)) * width;
            for (std::size_t k = 0; k < width; ++k) sum[k] += leaf[k];
            correct += classify && std::max_element(leaf, leaf + width) - leaf == y.labels[r];
          }
          fit.oob_counts[r] = count;
          for (std::size_t k = 0; k < width; ++k)
            fit.oob_proba(r, k) = count ? static_cast<float>(sum[k] / count) : none;
          if (classify && count > 0 && y.labels[r] >= 0)
            fit.oob_correct[r] = static_cast<float>(correct) / static_cast<float>(count);
        }
      },
      arena);
}

}  // namespace

RandomForestFit RandomForest::fit_binned(const BinnedMatrix& x, const TreeTarget& y,
                                         std::span<const std::uint32_t> rows, bool with_oob) const {
  check(options);
  detail::check_target(y, x.rows());
  const std::vector<std::uint32_t> usable = detail::usable_rows(y, x.rows(), rows);
  const Averaged averaged(y, usable);
  const std::size_t tried = columns_tried(options, y.task, x.cols());
  std::vector<detail::GrownTree> trees(static_cast<std::size_t>(options.trees));
  std::vector<std::vector<bool>> bags(with_oob ? trees.size() : 0);
  std::mutex progress_mutex;
  std::size_t done = 0;
  parallel_for(
      trees.size(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t t = begin; t < end; ++t) {
          Random random(options.seed, t);
          std::vector<std::uint32_t> times(usable.size(), 1);
          if (options.bootstrap) {
            std::fill(times.begin(), times.end(), 0u);
            for (std::size_t i = 0; i < usable.size(); ++i) ++times[random.below(usable.size())];
          }
          std::vector<std::uint32_t> bag;
          std::vector<double> weights;
          for (std::size_t i = 0; i < usable.size(); ++i) {
            if (times[i] == 0) continue;
            bag.push_back(usable[i]);
            weights.push_back(times[i] * (y.weights.empty() ? 1.0 : y.weights[usable[i]]));
          }
          if (with_oob) {
            bags[t].assign(x.rows(), false);
            for (const auto r : bag) bags[t][r] = true;
          }
          trees[t] = TreeGrower(x, averaged, options, tried).grow(std::move(bag), std::move(weights), random);
          if (options.progress) {
            const std::lock_guard lock(progress_mutex);
            options.progress->update("trees", ++done, trees.size());
          }
        }
      },
      options.arena);

  RandomForestFit fit;
  ForestShape shape;
  shape.inputs = static_cast<std::uint32_t>(x.cols());
  shape.outputs = static_cast<std::uint32_t>(averaged.width);
  shape.leaf_width = shape.outputs;
  shape.link = ForestLink::average;
  shape.base.assign(shape.outputs, 0.0f);
  ForestArrays arrays;
  for (const auto& tree : trees) detail::append_tree(arrays, tree, x, 0, shape.leaf_width);
  fit.forest = Shared<const Forest>::make(std::move(shape), std::move(arrays));
  if (with_oob) fill_oob(fit, x, y, trees, bags, averaged.width, options.arena);
  return fit;
}

RandomForestFit RandomForest::fit_encoded(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
                                          const TreeTarget& y, bool with_oob) const {
  check(options);
  detail::check_target(y, x.rows());
  BinningOptions binning;
  binning.max_bins = options.max_bins;
  binning.seed = options.seed;
  binning.arena = options.arena;
  return fit_binned(BinnedMatrix(x, category_counts, binning), y, {}, with_oob);
}

Model RandomForest::fit(const Dataset& data) const {
  data.require_trainable();
  check(options);
  const TreeTarget y = TreeTarget::of(data);
  detail::check_target(y, data.rows());
  Tensor<float> encoded;
  Encoder encoder = Encoder::fit_apply(data, options.encoder, encoded);
  auto forest = fit_encoded(encoded, encoder.category_counts(), y, false).forest;
  auto text =
      fmt::format("trees={} max_depth={} min_leaf_rows={} max_features={} bootstrap={} max_bins={}", options.trees,
                  options.max_depth, options.min_leaf_rows, options.max_features, options.bootstrap, options.max_bins);
  return detail::make_tree_model("random_forest", std::move(text), options.seed, data, data.task(), std::move(encoder),
                                 std::move(forest));
}

}  // namespace redoubt
