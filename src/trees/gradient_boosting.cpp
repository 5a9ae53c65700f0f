#include "redoubt/trees/gradient_boosting.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "trees/grower.hpp"
#include "trees/grown_tree.hpp"

namespace redoubt {
namespace {

constexpr std::size_t rows_per_block = 4096;
constexpr double smallest_share = 1e-7;  // of a class, so that its log-odds are finite

void check(const GradientBoostingOptions& o) {
  const auto require = [](bool ok, const char* option, double value, const char* rule) {
    detail::require_option(ok, "GradientBoosting", option, value, rule);
  };
  require(o.trees >= 1, "trees", o.trees, "at least 1");
  require(o.learning_rate > 0 && o.learning_rate <= 1, "learning_rate", o.learning_rate, "in (0, 1]");
  require(o.max_leaves >= 2 && o.max_leaves <= 65536, "max_leaves", o.max_leaves, "2 .. 65536");
  require(o.max_depth >= 0, "max_depth", o.max_depth, "0 (unlimited) or more");
  require(o.min_leaf_rows >= 1, "min_leaf_rows", o.min_leaf_rows, "at least 1");
  require(o.min_leaf_hessian >= 0, "min_leaf_hessian", o.min_leaf_hessian, "at least 0");
  require(o.l2 >= 0 && std::isfinite(o.l2), "l2", o.l2, "at least 0");
  require(o.min_gain >= 0, "min_gain", o.min_gain, "at least 0");
  require(o.max_bins >= 2 && o.max_bins <= 255, "max_bins", o.max_bins, "2 .. 255");
  require(o.row_fraction > 0 && o.row_fraction <= 1, "row_fraction", o.row_fraction, "in (0, 1]");
  require(o.column_fraction > 0 && o.column_fraction <= 1, "column_fraction", o.column_fraction, "in (0, 1]");
  require(o.max_one_hot >= 0, "max_one_hot", o.max_one_hot, "at least 0");
  require(o.category_smoothing >= 0, "category_smoothing", o.category_smoothing, "at least 0");
  require(o.category_l2 >= 0 && std::isfinite(o.category_l2), "category_l2", o.category_l2, "at least 0");
  require(o.min_category_rows >= 1, "min_category_rows", o.min_category_rows, "at least 1");
  require(o.max_category_side >= 1, "max_category_side", o.max_category_side, "at least 1");
  require(o.early_stopping_rounds >= 0, "early_stopping_rounds", o.early_stopping_rounds, "0 (off) or more");
  require(o.validation_fraction > 0 && o.validation_fraction < 1, "validation_fraction", o.validation_fraction,
          "in (0, 1)");
}

std::string describe(const GradientBoostingOptions& o) {
  std::string text =
      fmt::format("trees={} learning_rate={} max_leaves={} max_depth={} min_leaf_rows={} min_leaf_hessian={} l2={}",
                  o.trees, o.learning_rate, o.max_leaves, o.max_depth, o.min_leaf_rows, o.min_leaf_hessian, o.l2);
  text += fmt::format(" min_gain={} max_bins={} row_fraction={} column_fraction={} max_one_hot={}", o.min_gain,
                      o.max_bins, o.row_fraction, o.column_fraction, o.max_one_hot);
  text += fmt::format(" category_smoothing={} category_l2={} min_category_rows={} max_category_side={}",
                      o.category_smoothing, o.category_l2, o.min_category_rows, o.max_category_side);
  if (o.early_stopping_rounds > 0)
    text +=
        fmt::format(" early_stopping_rounds={} validation_fraction={}", o.early_stopping_rounds, o.validation_fraction);
  return text;
}

/// Draws `count` of `from` without replacement, keeping their order.
std::vector<std::uint32_t> draw(const std::vector<std::uint32_t>& from, std::size_t count, Random random) {
  std::vector<std::uint32_t> drawn;
  drawn.reserve(count);
  for (std::size_t i = 0; i < from.size() && drawn.size() < count; ++i)
    if (random.below(from.size() - i) < count - drawn.size()) drawn.push_back(from[i]);
  return drawn;
}

std::size_t share_of(double fraction, std::size_t count) {
  const auto share = static_cast<std::size_t>(std::llround(fraction * static_cast<double>(count)));
  return std::clamp<std::size_t>(share, 1, count);
}

/// Scores of all rows, one per output, and the loss on them. Row r, output k: scores[k * rows + r].
class Booster {
 public:
  Booster(const GradientBoostingOptions& options, const BinnedMatrix& bins, const TreeTarget& y)
      : options_(options),
        bins_(bins),
        y_(y),
        outputs_(y.task == Task::classification && y.classes > 2 ? y.classes : 1) {}

  Shared<const Forest> fit(std::vector<std::uint32_t> rows);

 private:
  double weight(std::uint32_t row) const { return y_.weights.empty() ? 1.0 : y_.weights[row]; }
  void start(const std::vector<std::uint32_t>& rows);
  void compute_gradients(const std::vector<std::uint32_t>& rows);
  double loss(const std::vector<std::uint32_t>& rows) const;
  Shared<const Forest> assemble(std::size_t rounds) const;

  const GradientBoostingOptions& options_;
  const BinnedMatrix& bins_;
  const TreeTarget& y_;
  std::size_t outputs_;
  std::vector<float> base_;
  std::vector<float> scores_;
  std::vector<float> g_, h_;  // same layout as scores_
  std::vector<detail::GrownTree> trees_;
};

/// The constant that fits best.
void Booster::start(const std::vector<std::uint32_t>& rows) {
  double total = 0;
  if (y_.task == Task::regression) {
    double sum = 0;
    for (const auto r : rows) {
      sum += weight(r) * y_.values[r];
      total += weight(r);
    }
    base_ = {static_cast<float>(sum / total)};
  } else {
    std::vector<double> share(y_.classes);
    for (const auto r : rows) {
      share[static_cast<std::size_t>(y_.labels[r])] += weight(r);
      total += weight(r);
    }
    for (double& s : share) s = std::clamp(s / total, smallest_share, 1 - smallest_share);
    if (outputs_ == 1) {
      base_ = {static_cast<float>(std::log(share[1] / (1 - share[1])))};
    } else {
      for (const double s : share) base_.push_back(static_cast<float>(std::log(s)));
    }
  }
  scores_.resize(bins_.rows() * outputs_);
  for (std::size_t k = 0; k < outputs_; ++k)
    std::fill_n(scores_.begin() + static_cast<std::ptrdiff_t>(k * bins_.rows()), bins_.rows(), base_[k]);
  g_.resize(scores_.size());
  h_.resize(scores_.size());
}

void Booster::compute_gradients(const std::vector<std::uint32_t>& rows) {
  const std::size_t n = bins_.rows();
  parallel_for(
      rows.size(), rows_per_block,
      [&](std::size_t begin, std::size_t end) {
        std::vector<double> p(outputs_);
        for (std::size_t i = begin; i < end; ++i) {
          const std::uint32_t r = rows[i];
          const double w = weight(r);
          if (y_.task == Task::regression) {
            g_[r] = static_cast<float>(w * (scores_[r] - y_.values[r]));
            h_[r] = static_cast<float>(w);
          } else if (outputs_ == 1) {
            const double probability = 1 / (1 + std::exp(-static_cast<double>(scores_[r])));
            g_[r] = static_cast<float>(w * (probability - y_.labels[r]));
            h_[r] = static_cast<float>(w * probability * (1 - probability));
          } else {
            double largest = scores_[r], total = 0;
            for (std::size_t k = 1; k < outputs_; ++k) largest = std::max<double>(largest, scores_[k * n + r]);
            for (std::size_t k = 0; k < outputs_; ++k) total += p[k] = std::exp(scores_[k * n + r] - largest);
            // The factor of Friedman 2001 for K outputs with K - 1 degrees of freedom.
            const double factor = static_cast<double>(outputs_) / static_cast<double>(outputs_ - 1);
            for (std::size_t k = 0; k < outputs_; ++k) {
              const double q = p[k] / total;
              g_[k * n + r] = static_cast<float>(w * (q - (static_cast<std::size_t>(y_.labels[r]) == k)));
              h_[k * n + r] = static_cast<float>(w * factor * q * (1 - q));
            }
          }
        }
      },
      options_.arena);
}

/// Mean squared error or mean log loss.
double Booster::loss(const std::vector<std::uint32_t>& rows) const {
  const std::size_t n = bins_.rows();
  double sum = 0, total = 0;
  for (const auto r : rows) {
    const double w = weight(r);
    total += w;
    if (y_.task == Task::regression) {
      const double error = scores_[r] - y_.values[r];
      sum += w * error * error;
    } else if (outputs_ == 1) {
      const double s = y_.labels[r] == 1 ? scores_[r] : -scores_[r];
      sum += w * (s > 0 ? std::log1p(std::exp(-s)) : std::log1p(std::exp(s)) - s);
    } else {
      double largest = scores_[r], exponentials = 0;
      for (std::size_t k = 1; k < outputs_; ++k) largest = std::max<double>(largest, scores_[k * n + r]);
      for (std::size_t k = 0; k < outputs_; ++k) exponentials += std::exp(scores_[k * n + r] - largest);
      sum += w * (std::log(exponentials) + largest - scores_[static_cast<std::size_t>(y_.labels[r]) * n + r]);
    }
  }
  return sum / total;
}

Shared<const Forest> Booster::fit(std::vector<std::uint32_t> rows) {
  // Streams of the seed: 0 the validation rows, then two for each round.
  std::vector<std::uint32_t> validation;
  if (options_.early_stopping_rounds > 0) {
    if (rows.size() < 2)
      detail::fail(errc::invalid_argument, "GradientBoosting: early stopping needs at least 2 rows, there is 1");
    const std::size_t count = std::min(share_of(options_.validation_fraction, rows.size()), rows.size() - 1);
    validation = draw(rows, count, Random(options_.seed, 0));
    std::vector<std::uint32_t> kept;
    std::set_difference(rows.begin(), rows.end(), validation.begin(), validation.end(), std::back_inserter(kept));
    rows = std::move(kept);
  }
  start(rows);
  detail::GrowerOptions growing;
  growing.max_leaves = options_.max_leaves;
  growing.max_depth = options_.max_depth;
  growing.min_leaf_rows = options_.min_leaf_rows;
  growing.min_leaf_hessian = options_.min_leaf_hessian;
  growing.l2 = options_.l2;
  growing.min_gain = options_.min_gain;
  growing.max_one_hot = options_.max_one_hot;
  growing.category_smoothing = options_.category_smoothing;
  growing.category_l2 = options_.category_l2;
  growing.min_category_rows = options_.min_category_rows;
  growing.max_category_side = options_.max_category_side;
  growing.weights = y_.weights;
  growing.seed = options_.seed;
  growing.unit_hessian = y_.task == Task::regression && y_.weights.empty();
  growing.arena = options_.arena;
  detail::Grower grower(bins_, growing);
  std::vector<std::uint8_t> column_on(bins_.cols(), 1);
  std::vector<std::uint32_t> columns(bins_.cols());
  double best_loss = std::numeric_limits<double>::infinity();
  std::size_t best_round = 0, round = 0;
  for (; round < static_cast<std::size_t>(options_.trees); ++round) {
    compute_gradients(rows);
    std::vector<std::uint32_t> drawn;
    if (options_.row_fraction < 1)
      drawn = draw(rows, share_of(options_.row_fraction, rows.size()), Random(options_.seed, 2 * round + 1));
    Random column_random(options_.seed, 2 * round + 2);
    bool any_split = false;
    for (std::size_t k = 0; k < outputs_; ++k) {
      if (options_.column_fraction < 1 && !columns.empty()) {
        std::iota(columns.begin(), columns.end(), 0u);
        column_random.shuffle(columns);
        std::fill(column_on.begin(), column_on.end(), std::uint8_t{0});
        for (std::size_t i = 0; i < share_of(options_.column_fraction, columns.size()); ++i) column_on[columns[i]] = 1;
      }
      const std::size_t first = k * bins_.rows();
      detail::GrownTree tree =
          grower.grow(options_.row_fraction < 1 ? drawn : rows, std::span(g_).subspan(first, bins_.rows()),
                      std::span(h_).subspan(first, bins_.rows()), round * outputs_ + k, column_on);
      for (float& value : tree.leaf_values) value *= static_cast<float>(options_.learning_rate);
      any_split = any_split || !tree.nodes.empty();
      float* scores = scores_.data() + k * bins_.rows();
      const auto add_walked = [&](const std::vector<std::uint32_t>& walked) {
        parallel_for(
            walked.size(), rows_per_block,
            [&](std::size_t begin, std::size_t end) {
              for (std::size_t i = begin; i < end; ++i)
                scores[walked[i]] += tree.leaf_values[leaf_of(tree, bins_, walked[i])];
            },
            options_.arena);
      };
      if (options_.row_fraction < 1) {
        add_walked(rows);
      } else {
        for (std::size_t leaf = 0; leaf < tree.leaf_values.size(); ++leaf)
          for (const auto r : grower.leaf_rows(leaf)) scores[r] += tree.leaf_values[leaf];
      }
      add_walked(validation);
      trees_.push_back(std::move(tree));
    }
    if (options_.progress) options_.progress->update("trees", round + 1, static_cast<std::size_t>(options_.trees));
    if (!validation.empty()) {
      const double current = loss(validation);
      if (current < best_loss) {
        best_loss = current;
        best_round = round + 1;
      } else if (round + 1 - best_round >= static_cast<std::size_t>(options_.early_stopping_rounds)) {
        break;
      }
    }
    // Without sampling the next round would see the same and find nothing either.
    if (!any_split && options_.row_fraction == 1 && options_.column_fraction == 1) break;
  }
  if (options_.progress && round < static_cast<std::size_t>(options_.trees))
    options_.progress->update("trees", static_cast<std::size_t>(options_.trees),
                              static_cast<std::size_t>(options_.trees));
  return assemble(validation.empty() ? trees_.size() / outputs_ : best_round);
}

Shared<const Forest> Booster::assemble(std::size_t rounds) const {
  ForestShape shape;
  shape.inputs = static_cast<std::uint32_t>(bins_.cols());
  shape.outputs = static_cast<std::uint32_t>(outputs_);
  shape.link = y_.task == Task::regression ? ForestLink::identity
               : outputs_ == 1             ? ForestLink::sigmoid
                                           : ForestLink::softmax;
  shape.base = base_;
  ForestArrays arrays;
  for (std::size_t t = 0; t < rounds * outputs_; ++t)
    detail::append_tree(arrays, trees_[t], bins_, static_cast<std::uint32_t>(t % outputs_), 1);
  return Shared<const Forest>::make(std::move(shape), std::move(arrays));
}

}  // namespace

Shared<const Forest> GradientBoosting::fit_binned(const BinnedMatrix& x, const TreeTarget& y,
                                                  std::span<const std::uint32_t> rows) const {
  check(options);
  detail::check_target(y, x.rows());
  return Booster(options, x, y).fit(detail::usable_rows(y, x.rows(), rows));
}

Shared<const Forest> GradientBoosting::fit_encoded(MatrixView<const float> x,
                                                   std::span<const std::uint32_t> category_counts,
                                                   const TreeTarget& y) const {
  check(options);
  detail::check_target(y, x.rows());
  BinningOptions binning;
  binning.max_bins = options.max_bins;
  binning.seed = options.seed;
  binning.arena = options.arena;
  return fit_binned(BinnedMatrix(x, category_counts, binning), y);
}

Model GradientBoosting::fit(const Dataset& data) const {
  data.require_trainable();
  check(options);
  const TreeTarget y = TreeTarget::of(data);
  detail::check_target(y, data.rows());
  Tensor<float> encoded;
  Encoder encoder = Encoder::fit_apply(data, options.encoder, encoded);
  auto forest = fit_encoded(encoded, encoder.category_counts(), y);
  return detail::make_tree_model("gradient_boosting", describe(options), options.seed, data, data.task(),
                                 std::move(encoder), std::move(forest));
}

}  // namespace redoubt
