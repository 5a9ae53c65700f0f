#include "trees/bagging.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <type_traits>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/data/sparse.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "trees/bagging_tree.hpp"
#include "trees/grown_tree.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t rows_per_block = 256;
constexpr std::size_t most_spread_cells = std::size_t{1} << 33;

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
            const std::size_t number = bins.dense() ? trees[t].leaf_of(bins.row(r)) : leaf_of(trees[t], bins, r);
            const float* leaf = trees[t].leaf_values.data() + number * width;
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

/// As many draws as there are counters. `Random::below` with half the bits: there are fewer than 2^31 rows.
void draw(std::vector<std::uint32_t>& times, Random& random) {
  const auto bound = static_cast<std::uint32_t>(times.size());
  const std::uint32_t least = -bound % bound;
  for (std::uint32_t i = 0; i < bound; ++i) {
    std::uint64_t product;
    do product = std::uint64_t{random()} * bound;
    while (static_cast<std::uint32_t>(product) < least);
    ++times[product >> 32];
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
        BaggedTreeGrower<Sums> grower(x, bytes, options, width, tried, target.mean);
        std::vector<std::uint32_t> ids, times;
        std::vector<typename Sums::Row> rows;
        for (std::size_t t = begin; t < end; ++t) {
          Random random(options.seed, t);
          times.assign(usable.size(), options.bootstrap ? 0 : 1);
          if (options.bootstrap) draw(times, random);
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
  if (!x.dense() && x.cols() > 0 && x.rows() > most_spread_cells / x.cols())
    fail(errc::unsupported,
         fmt::format("{}: a sparse matrix of {} x {} cells; at most 2^33, a byte each, are spread out",
                     options.estimator, x.rows(), x.cols()));
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

namespace {

template <class Matrix>
RandomForestFit bin_and_fit(const BaggingOptions& options, const Matrix& x,
                            std::span<const std::uint32_t> category_counts, const TreeTarget& y, bool with_oob) {
  check_bagging(options);
  check_target(y, x.rows());
  BinningOptions binning;
  binning.max_bins = options.max_bins;
  binning.seed = options.seed;
  binning.arena = options.arena;
  return fit_bagging(options, BinnedMatrix(x, category_counts, binning), y, {}, with_oob);
}

}  // namespace

RandomForestFit fit_bagging(const BaggingOptions& options, MatrixView<const float> x,
                            std::span<const std::uint32_t> category_counts, const TreeTarget& y, bool with_oob) {
  return bin_and_fit(options, x, category_counts, y, with_oob);
}

RandomForestFit fit_bagging(const BaggingOptions& options, const CsrView& x,
                            std::span<const std::uint32_t> category_counts, const TreeTarget& y, bool with_oob) {
  return bin_and_fit(options, x, category_counts, y, with_oob);
}

Model fit_bagging(const BaggingOptions& options, const char* algorithm, const EncoderOptions& encoding,
                  const Dataset& data) {
  data.require_trainable();
  check_bagging(options);
  const TreeTarget y = TreeTarget::of(data);
  check_target(y, data.rows());
  Tensor<float> encoded;
  Encoder encoder = Encoder::fit_apply(data, encoding, encoded);
  auto forest = fit_bagging(options, encoded, encoder.category_counts(), y, false).forest;
  auto text = fmt::format(
      "trees={} max_depth={} max_leaves={} min_leaf_rows={} min_split_gain={} max_features={} bootstrap={} max_bins={} "
      "class_weights={}",
      options.trees, options.max_depth, options.max_leaves, options.min_leaf_rows, options.min_split_gain,
      options.max_features, options.bootstrap, options.max_bins, fmt::join(options.class_weights, ","));
  return make_tree_model(algorithm, std::move(text), options.seed, data, data.task(), std::move(encoder),
                         std::move(forest));
}

}  // namespace redoubt::detail
