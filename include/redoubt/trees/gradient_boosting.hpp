#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/boosting_callback.hpp"
#include "redoubt/trees/boosting_metric.hpp"
#include "redoubt/trees/objective.hpp"
#include "redoubt/trees/target.hpp"

namespace redoubt {

class BinnedMatrix;
struct CsrView;

/// The prediction may only rise (+1) or fall (-1) with this numeric column.
struct MonotoneColumn {
  std::string column;
  int direction = 1;
};

/// Defaults are those of LightGBM where it has the option. Columns are named as in the data; the encoded and binned
/// forms of `fit`, which know no names, call theirs f0, f1, ...
struct GradientBoostingOptions {
  int trees = 100;             ///< rounds; with three classes or more each round grows one tree per class
  double learning_rate = 0.1;  ///< in (0, 1]

  // --- loss ------------------------------------------------------------------------------------------
  Loss loss = Loss::automatic;
  double huber_delta = 0.9;                    ///< > 0
  double quantile = 0.9;                       ///< in (0, 1)
  double tweedie_power = 1.5;                  ///< in [1, 2)
  double poisson_max_delta = 0.7;              ///< > 0: larger is more cautious
  int rank_truncation = 30;                    ///< pairs whose better-placed row is among so many
  bool rank_normalise = true;                  ///< lambdas by score distance, and per query
  std::string query_column = "qid";            ///< ranking: rows of equal value are one query; must not be a feature
  double scale_pos_weight = 1;                 ///< logistic, one_vs_all: weight of the positive side
  std::vector<double> class_weights;           ///< per class, times the weights of the rows; empty: all 1
  bool balance_classes = false;                ///< classes weigh rows / (classes * rows of the class)
  bool start_from_average = true;              ///< scores start at the constant that fits best, else at 0
  const CustomObjective* objective = nullptr;  ///< instead of `loss`

  // --- trees -----------------------------------------------------------------------------------------
  int max_leaves = 31;     ///< per tree, 2 .. 65536
  int max_depth = 0;       ///< 0: unlimited
  bool depthwise = false;  ///< level by level, else always the leaf that gains most
  int min_leaf_rows = 20;
  double min_leaf_hessian = 1e-3;
  double l1 = 0.0;                 ///< shrinks the gradient sum of every leaf
  double l2 = 0.0;                 ///< added to the hessian of every leaf
  double min_gain = 0.0;           ///< a split must gain more than this
  double max_delta_step = 0.0;     ///< > 0: bound of leaf values, before the learning rate
  double path_smooth = 0.0;        ///< > 0: leaf of n rows = its value * n/(n + this) + its parent's * this/(n + this)
  bool random_thresholds = false;  ///< one random cut per column and node (LightGBM: extra_trees)
  /// > 0: splits are judged by the worst case over rows that a change of so many standard deviations of the (numeric)
  /// column moves across the cut: Chen et al., "Robust decision trees against adversarial examples" (ICML 2019), by the
  /// worst of their four cases. Fewer rows flip, at some cost of accuracy and of time: measure both with `certify`. Not
  /// with random_thresholds; needs dense rows: Error(unsupported) for fit_binned and sparse input.
  double robust_radius = 0.0;
  std::vector<MonotoneColumn> monotone;  ///< not with the losses absolute and quantile
  /// Columns used on one path from the root must all be in one of these groups; others are not used. Empty: no rule.
  std::vector<std::vector<std::string>> interactions;

  // --- sampling --------------------------------------------------------------------------------------
  int max_bins = 255;                 ///< per column, 2 .. 255
  double row_fraction = 1.0;          ///< rows drawn for a round, without replacement
  int row_frequency = 1;              ///< rounds that share a draw
  double column_fraction = 1.0;       ///< columns drawn for each tree
  double node_column_fraction = 1.0;  ///< columns drawn for each node, of those of its tree
  /// Gradient-based one-side sampling (Ke et al. 2017): rows with the `goss_top` largest |g h|, and `goss_other` of the
  /// others, weighing more; after the first 1 / learning_rate rounds. Not with row_fraction.
  bool goss = false;
  double goss_top = 0.2, goss_other = 0.1;  ///< > 0, sum at most 1
  /// Dropouts (Rashmi, Gilad-Bachrach 2015): each round is fitted without some of the trees so far; it and they are
  /// then scaled to take their place. Not with early stopping.
  bool dart = false;
  double drop_rate = 0.1;  ///< in [0, 1]: share of the trees so far, by weight
  int max_drop = 50;       ///< rounds at once; 0: unlimited
  double skip_drop = 0.5;  ///< probability of a round without dropout

  // --- categories ------------------------------------------------------------------------------------
  int max_one_hot = 4;               ///< at most so many categories in a node: one against the rest; more: sorted
  double category_smoothing = 10.0;  ///< sorted categories: added to the hessian in the sort key
  double category_l2 = 10.0;         ///< sorted categories: added to l2
  int min_category_rows = 10;        ///< sorted categories: rarer ones go right
  int max_category_side = 32;        ///< sorted categories: most that go left

  // --- validation ------------------------------------------------------------------------------------
  /// > 0: stop after so many rounds without a better first metric on validation rows, and keep the rounds up to the
  /// best.
  int early_stopping_rounds = 0;
  double validation_fraction = 0.1;  ///< held out when early stopping is on and no validation data is given
  double min_delta = 0.0;            ///< better means by more than this
  /// Names of `boosting_metrics()`, computed after each round. Empty: the one of the loss (squared: l2, classes:
  /// log_loss, lambdarank: ndcg@10).
  std::vector<std::string> metrics;
  const CustomMetric* metric = nullptr;  ///< comes first

  double refit_decay = 0.9;  ///< `refit`: weight of the old leaf value, in [0, 1]
  EncoderOptions encoder = EncoderOptions::for_trees();
  std::uint64_t seed = 0;
  ProgressSink* progress = nullptr;      ///< stage "trees"
  BoostingCallback* callback = nullptr;  ///< for example a BoostingHistory
  Arena* arena = nullptr;                ///< null: the default arena
};

/// What a fit on encoded rows may build on. Views: the data must outlive the call.
struct BoostingInputs {
  const Forest* start = nullptr;         ///< continue it
  MatrixView<const float> validation{};  ///< encoded alike
  TreeTarget validation_target{};
};

/// Gradient-boosted decision trees on histograms, grown leaf by leaf (Friedman 2001; Ke et al., "LightGBM", NIPS'17).
/// A missing value goes the way that gains more; categories are split as sets, sorted by gradient (Fisher 1958).
/// Gradients are summed as integers, so the model bytes do not depend on the number of threads.
struct GradientBoosting {
  GradientBoostingOptions options;

  /// Learns from the feature columns, target and weights of `data`. Rows with a missing target are left out.
  /// Error(invalid_argument) names an option outside its range, Error(not_found) a column that does not exist;
  /// Error(refused) if the data is sealed.
  Model fit(const Dataset& data) const;
  /// The same, with metrics and early stopping on `validation`, which is not learned from.
  Model fit(const Dataset& data, const Dataset& validation) const;
  /// Adds `trees` rounds to a model of these features. Where nothing is drawn at random per fit (validation rows,
  /// dropouts), the result is that of one fit with all the rounds. Error(unsupported) if the model is no forest whose
  /// outputs this loss can continue.
  Model fit_more(const Model& model, const Dataset& data) const;
  Model fit_more(const Model& model, const Dataset& data, const Dataset& validation) const;
  /// The same trees with leaf values for new data: refit_decay * old + (1 - refit_decay) * learning_rate * Newton step,
  /// tree after tree. Leaves that no row reaches keep their value.
  Model refit(const Model& model, const Dataset& data) const;

  /// The same on encoded rows (`Encoder::apply` and `category_counts`), without encoding and wrapping. The encoder
  /// options are not used. For callers that train often: cross-validation, data checks, tuning.
  Shared<const Forest> fit_encoded(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
                                   const TreeTarget& y, const BoostingInputs& inputs = {}) const;
  /// The same on the listed rows (distinct, any order; empty: all) of an already binned matrix. `max_bins` is not used.
  Shared<const Forest> fit_binned(const BinnedMatrix& x, const TreeTarget& y,
                                  std::span<const std::uint32_t> rows = {}) const;
  /// The same on a sparse matrix, which is never spread out; see `predict_sparse`.
  Shared<const Forest> fit_sparse(const CsrView& x, std::span<const std::uint32_t> category_counts,
                                  const TreeTarget& y) const;
  Shared<const Forest> refit_encoded(const Forest& forest, MatrixView<const float> x, const TreeTarget& y) const;
};

}  // namespace redoubt
