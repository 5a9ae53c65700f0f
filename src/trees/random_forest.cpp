#include "redoubt/trees/random_forest.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "redoubt/data/dataset.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "trees/bagging.hpp"
#include "trees/grown_tree.hpp"

namespace redoubt {
namespace {

detail::BaggingOptions bagging(const RandomForestOptions& o, Task task) {
  return {.estimator = "RandomForest",
          .random_cuts = false,
          .automatic_columns = task == Task::classification ? 0 : 1.0 / 3,
          .trees = o.trees,
          .max_depth = o.max_depth,
          .max_leaves = o.max_leaves,
          .min_leaf_rows = o.min_leaf_rows,
          .min_split_gain = o.min_split_gain,
          .max_features = o.max_features,
          .bootstrap = o.bootstrap,
          .max_bins = o.max_bins,
          .class_weights = o.class_weights,
          .seed = o.seed,
          .progress = o.progress,
          .arena = o.arena};
}

}  // namespace

RandomForestFit RandomForest::fit_binned(const BinnedMatrix& x, const TreeTarget& y,
                                         std::span<const std::uint32_t> rows, bool with_oob) const {
  return detail::fit_bagging(bagging(options, y.task), x, y, rows, with_oob);
}

RandomForestFit RandomForest::fit_encoded(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
                                          const TreeTarget& y, bool with_oob) const {
  detail::check_bagging(bagging(options, y.task));
  detail::check_target(y, x.rows());
  BinningOptions binning;
  binning.max_bins = options.max_bins;
  binning.seed = options.seed;
  binning.arena = options.arena;
  return fit_binned(BinnedMatrix(x, category_counts, binning), y, {}, with_oob);
}

Model RandomForest::fit(const Dataset& data) const {
  data.require_trainable();
  detail::check_bagging(bagging(options, data.task()));
  const TreeTarget y = TreeTarget::of(data);
  detail::check_target(y, data.rows());
  Tensor<float> encoded;
  Encoder encoder = Encoder::fit_apply(data, options.encoder, encoded);
  auto forest = fit_encoded(encoded, encoder.category_counts(), y, false).forest;
  auto text = fmt::format(
      "trees={} max_depth={} max_leaves={} min_leaf_rows={} min_split_gain={} max_features={} bootstrap={} max_bins={} "
      "class_weights={}",
      options.trees, options.max_depth, options.max_leaves, options.min_leaf_rows, options.min_split_gain,
      options.max_features, options.bootstrap, options.max_bins, fmt::join(options.class_weights, ","));
  return detail::make_tree_model("random_forest", std::move(text), options.seed, data, data.task(), std::move(encoder),
                                 std::move(forest));
}

}  // namespace redoubt
