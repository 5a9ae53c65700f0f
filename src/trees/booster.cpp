#include "trees/booster.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "core/release.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "trees/phase.hpp"
#include "trees/team.hpp"

namespace redoubt::detail {
namespace {

/// Draws `count` of `from` without replacement, keeping their order.
std::vector<std::uint32_t> draw(RowList from, std::size_t count, Random random) {
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

}  // namespace

void replay_scores(const Forest& forest, MatrixView<const float> x, std::span<float> scores, Arena* arena) {
  const std::size_t n = x.rows();
  const auto& arrays = forest.arrays();
  for (std::size_t k = 0; k < forest.shape().outputs; ++k)
    std::fill_n(scores.begin() + static_cast<std::ptrdiff_t>(k * n), n, forest.shape().base[k]);
  parallel_for(
      n, 256,
      [&](std::size_t begin, std::size_t end) {
        std::vector<std::uint32_t> leaves(forest.trees());
        for (std::size_t r = begin; r < end; ++r) {
          forest.leaf_ids(x.row(r), leaves);
          for (std::size_t t = 0; t < leaves.size(); ++t)
            scores[arrays.outputs_of[t] * n + r] += arrays.leaf_values[leaves[t]];
        }
      },
      arena);
}

void require_continuable(const Forest& forest, std::size_t inputs, const Objective& objective) {
  const ForestShape& shape = forest.shape();
  if (shape.inputs != inputs || shape.outputs != objective.outputs() || shape.leaf_width != 1 ||
      shape.link != objective.link() || shape.base.size() != shape.outputs)
    fail(errc::unsupported,
         fmt::format("GradientBoosting: a forest of {} inputs, {} outputs and leaves of {} values cannot be continued "
                     "with {} inputs and {} outputs, or its link is another",
                     shape.inputs, shape.outputs, shape.leaf_width, inputs, objective.outputs()));
}

Booster::Booster(const GradientBoostingOptions& options, const BinnedMatrix& bins, const TreeTarget& y,
                 const ColumnRules& rules, const BoostingInputs& inputs, MatrixView<const float> x)
    : options_(options), bins_(bins), y_(y), rules_(rules), inputs_(inputs), x_(x), team_(options.arena) {}

/// Streams of the seed: 0 the validation rows; see also RowSampler, columns and dropouts below.
void Booster::split_validation() {
  if (options_.early_stopping_rounds == 0 || inputs_.validation.rows() > 0) return;
  const auto count_of = [&](std::size_t all, const char* what) {
    if (all < 2)
      fail(errc::invalid_argument,
           fmt::format("GradientBoosting: early stopping needs at least 2 {}, there is 1", what));
    return std::min(share_of(options_.validation_fraction, all), all - 1);
  };
  if (y_.queries.empty()) {
    held_out_ = draw(rows_, count_of(rows_.size(), "rows"), Random(options_.seed, 0));
  } else {
    const QueryGroups groups = group_queries(y_.queries, rows_);
    std::vector<std::uint32_t> numbers(groups.count());
    std::iota(numbers.begin(), numbers.end(), 0u);
    for (const auto q : draw(numbers, count_of(numbers.size(), "queries"), Random(options_.seed, 0)))
      held_out_.insert(held_out_.end(), groups[q].begin(), groups[q].end());
    std::sort(held_out_.begin(), held_out_.end());
  }
  std::vector<std::uint32_t> kept;
  kept.reserve(rows_.size() - held_out_.size());
  auto held = held_out_.begin();
  for (std::size_t i = 0; i < rows_.size(); ++i) {
    if (held != held_out_.end() && *held == rows_[i])
      ++held;
    else
      kept.push_back(rows_[i]);
  }
  listed_ = std::move(kept);
  rows_ = listed_;
}

void Booster::start() {
  const std::size_t n = bins_.rows();
  outputs_ = objective_->outputs();
  scores_.resize(n * outputs_);
  g_.resize(scores_.size());
  h_.resize(scores_.size());
  const MatrixView<const float> validation = inputs_.validation;
  outside_.scores.resize(validation.rows() * outputs_);
  if (inputs_.start) {
    require_continuable(*inputs_.start, bins_.cols(), *objective_);
    first_round_ = inputs_.start->trees() / outputs_;
    base_ = inputs_.start->shape().base;
    replay_scores(*inputs_.start, x_, scores_, options_.arena);
    if (validation.rows() > 0) replay_scores(*inputs_.start, validation, outside_.scores, options_.arena);
  } else {
    base_ = options_.start_from_average || options_.objective ? objective_->start() : std::vector<float>(outputs_);
    for (std::size_t k = 0; k < outputs_; ++k) {
      team_.parallel_for(n, boosting_block, [&](std::size_t begin, std::size_t end) {
        std::fill(scores_.data() + k * n + begin, scores_.data() + k * n + end, base_[k]);
      });
      std::fill_n(outside_.scores.begin() + static_cast<std::ptrdiff_t>(k * validation.rows()), validation.rows(),
                  base_[k]);
    }
  }
  outside_.codes.resize(validation.rows() * bins_.cols());
  team_.parallel_for(validation.rows(), 256, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r)
      for (std::size_t c = 0; c < bins_.cols(); ++c)
        outside_.codes[r * bins_.cols() + c] = bins_.column(c)(validation(r, c));
  });

  GrowerOptions growing;
  growing.max_leaves = options_.max_leaves;
  growing.max_depth = options_.max_depth;
  growing.depthwise = options_.depthwise;
  growing.min_leaf_rows = options_.min_leaf_rows;
  growing.min_leaf_hessian = options_.min_leaf_hessian;
  growing.l1 = options_.l1;
  growing.l2 = options_.l2;
  growing.min_gain = options_.min_gain;
  growing.max_delta_step = options_.max_delta_step;
  growing.path_smooth = options_.path_smooth;
  growing.max_one_hot = options_.max_one_hot;
  growing.category_smoothing = options_.category_smoothing;
  growing.category_l2 = options_.category_l2;
  growing.min_category_rows = options_.min_category_rows;
  growing.max_category_side = options_.max_category_side;
  growing.node_column_fraction = options_.node_column_fraction;
  growing.random_thresholds = options_.random_thresholds;
  if (options_.robust_radius > 0) {
    if (x_.rows() != bins_.rows())
      fail(errc::unsupported, "GradientBoosting: robust_radius needs the rows themselves, not only their bins");
    robust_ = robust_cuts(bins_, x_, options_.robust_radius, options_.arena);
    growing.robust = robust_;
  }
  growing.monotone = rules_.monotone;
  growing.interactions = rules_.interactions;
  growing.weights = y_.weights;
  growing.seed = options_.seed;
  growing.unit_hessian = objective_->unit_hessian();
  growing.keep_gradient = objective_->keeps_gradient();
  growing.keep_hessian = objective_->keeps_hessian();
  grower_.emplace(bins_, growing, team_);
  column_on_.assign(bins_.cols(), 1);
  columns_.resize(bins_.cols());
}

/// f(leaf, rows), in parallel, over the leaves of the tree grown last, block by block of the matrix: no two threads
/// write to the same cache line, and what is written stays near from leaf to leaf.
template <class F>
void Booster::for_leaf_rows(const GrownTree& tree, const F& f) {
  const std::size_t block = even_block(bins_.rows(), 64 * 1024, team_.size(), 64);
  team_.parallel_for(bins_.rows(), block, [&](std::size_t begin, std::size_t end) {
    for (std::size_t leaf = 0; leaf < tree.leaf_values.size(); ++leaf) {
      const auto rows = grower_->leaf_rows(leaf);
      auto first = rows.begin(), last = rows.end();
      if (begin > 0) first = std::lower_bound(first, last, begin);
      if (end < bins_.rows()) last = std::lower_bound(first, last, end);
      if (first != last) f(leaf, std::span<const std::uint32_t>(first, last));
    }
  });
}

void Booster::walk(const GrownTree& tree, RowList rows, float* scores) {
  team_.parallel_for(rows.size(), boosting_block, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end; ++i) scores[rows[i]] += tree.leaf_values[leaf_of(tree, bins_, rows[i])];
  });
}

void Booster::walk_outside(const GrownTree& tree, std::size_t output) {
  const std::size_t n = inputs_.validation.rows();
  team_.parallel_for(n, boosting_block, [&](std::size_t begin, std::size_t end) {
    for (std::size_t r = begin; r < end; ++r)
      outside_.scores[output * n + r] += tree.leaf_values[tree.leaf_of(outside_.codes.data() + r * bins_.cols())];
  });
}

/// Renews, shrinks and keeps the tree that was just grown, and adds it to all scores.
void Booster::add_tree(GrownTree tree, std::size_t output) {
  float* scores = scores_.data() + output * bins_.rows();
  if (objective_->renews())
    team_.parallel_for(tree.leaf_values.size(), 1, [&](std::size_t begin, std::size_t end) {
      std::vector<std::pair<double, double>> scratch;
      for (std::size_t leaf = begin; leaf < end; ++leaf)
        if (const auto rows = grower_->leaf_rows(leaf); !rows.empty())
          tree.leaf_values[leaf] = static_cast<float>(objective_->leaf_value(rows, scores, scratch));
    });
  for (float& value : tree.leaf_values) value = static_cast<float>(value * rate_);
  any_split_ = any_split_ || !tree.nodes.empty();
  for_leaf_rows(tree, [&](std::size_t leaf, std::span<const std::uint32_t> rows) {
    const float value = tree.leaf_values[leaf];
    for (const auto r : rows) scores[r] += value;
  });
  walk(tree, sampler_->rest(), scores);
  walk(tree, held_out_, scores);
  walk_outside(tree, output);
  trees_.push_back(std::move(tree));
}

/// Takes out of the scores the rounds that this one is fitted without, and sets the rate of the new one.
void Booster::drop_trees(std::size_t round) {
  dropped_.clear();
  rate_ = options_.learning_rate;
  if (!options_.dart) return;
  Random random(options_.seed, std::uint64_t{1} << 63 | (first_round_ + round));
  if (!round_weights_.empty() && random.uniform() >= options_.skip_drop) {
    const double sum = std::accumulate(round_weights_.begin(), round_weights_.end(), 0.0);
    const double inverse_mean = static_cast<double>(round_weights_.size()) / sum;
    double probability = options_.drop_rate;
    if (options_.max_drop > 0) probability = std::min(probability, options_.max_drop * inverse_mean / sum);
    for (std::size_t i = 0; i < round_weights_.size(); ++i) {
      if (random.uniform() < probability * round_weights_[i] * inverse_mean) dropped_.push_back(i);
      if (options_.max_drop > 0 && dropped_.size() >= static_cast<std::size_t>(options_.max_drop)) break;
    }
  }
  for (const auto i : dropped_)
    for (std::size_t k = 0; k < outputs_; ++k) {
      GrownTree tree = trees_[i * outputs_ + k];
      for (float& value : tree.leaf_values) value = -value;
      walk(tree, rows_, scores_.data() + k * bins_.rows());
    }
  rate_ /= static_cast<double>(1 + dropped_.size());
}

/// With k rounds dropped the new one has the rate / (k + 1), and each of them keeps k / (k + 1) of itself.
void Booster::bring_back() {
  if (!options_.dart) return;
  const double k = static_cast<double>(dropped_.size());
  for (const auto i : dropped_) {
    round_weights_[i] *= k / (k + 1);
    for (std::size_t o = 0; o < outputs_; ++o) {
      GrownTree& tree = trees_[i * outputs_ + o];
      GrownTree change = tree;
      for (std::size_t leaf = 0; leaf < tree.leaf_values.size(); ++leaf) {
        const float before = tree.leaf_values[leaf];
        tree.leaf_values[leaf] = static_cast<float>(before * (k / (k + 1)));
        change.leaf_values[leaf] = tree.leaf_values[leaf] - before;
      }
      walk(tree, rows_, scores_.data() + o * bins_.rows());
      walk_outside(change, o);
    }
  }
  round_weights_.push_back(rate_);
}

void Booster::one_round(std::size_t round) {
  drop_trees(round);
  // Row numbers of the trees before may be there.
  if (!objective_->keeps_gradient()) as_room_for<float>(std::span(g_));
  if (!objective_->keeps_hessian()) as_room_for<float>(std::span(h_));
  const auto gradients = [&] { objective_->gradients(scores_.data(), g_.data(), h_.data()); };
  if (options_.objective) gradients();  // the caller's own may want the threads
  team_.gather([&] {
    if (!options_.objective) gradients();
    grow_trees(first_round_ + round);
  });
  bring_back();
}

void Booster::grow_trees(std::size_t number) {
  const std::size_t n = bins_.rows();
  sampler_->draw(number, outputs_, g_.data(), h_.data());
  Random column_random(options_.seed, 2 * number + 2);
  any_split_ = false;
  for (std::size_t k = 0; k < outputs_; ++k) {
    if (options_.column_fraction < 1 && !columns_.empty()) {
      std::iota(columns_.begin(), columns_.end(), 0u);
      column_random.shuffle(columns_);
      std::fill(column_on_.begin(), column_on_.end(), std::uint8_t{0});
      for (std::size_t i = 0; i < share_of(options_.column_fraction, columns_.size()); ++i) column_on_[columns_[i]] = 1;
    }
    add_tree(grower_->grow(sampler_->bag(), std::span(g_).subspan(k * n, n), std::span(h_).subspan(k * n, n),
                           number * outputs_ + k, column_on_),
             k);
  }
}

/// Metrics, progress, callback. False: stop.
bool Booster::after_round(std::size_t round) {
  const auto rounds = static_cast<std::size_t>(options_.trees);
  BoostingRound seen{.round = round + 1, .rounds = rounds, .metrics = {}, .values = {}};
  std::vector<double> values;
  bool go_on = true;
  if (metrics_) {
    const bool outside = inputs_.validation.rows() > 0;
    values = outside ? metrics_->evaluate(outside_.scores.data(), inputs_.validation.rows())
                     : metrics_->evaluate(scores_.data(), bins_.rows());
    seen.metrics = metrics_->names();
    seen.values = values;
    if (options_.early_stopping_rounds > 0) {
      if (std::isnan(values[0]))
        fail(errc::invalid_argument,
             fmt::format("GradientBoosting: the metric {} is not a number on the {} validation rows",
                         metrics_->names()[0], metrics_->rows().size()));
      const double loss = metrics_->higher_is_better(0) ? -values[0] : values[0];
      if (round == 0 || loss < best_ - options_.min_delta) {
        best_ = loss;
        best_round_ = round + 1;
      } else {
        go_on = round + 1 - best_round_ < static_cast<std::size_t>(options_.early_stopping_rounds);
      }
    }
  }
  if (options_.progress) options_.progress->update("trees", round + 1, rounds);
  if (options_.callback && !options_.callback->after_round(seen)) {
    callback_stopped_ = true;
    go_on = false;
  }
  return go_on;
}

Shared<const Forest> Booster::fit(std::vector<std::uint32_t> rows) {
  listed_ = std::move(rows);
  rows_ = listed_.empty() ? RowList::all(bins_.rows()) : RowList(listed_);
  split_validation();
  data_.emplace(options_, y_, bins_.rows(), rows_, team_);
  objective_ = make_objective(options_, *data_);
  if (objective_->renews() && !rules_.monotone.empty())
    fail(errc::invalid_argument, "GradientBoosting: monotone does not go with the losses absolute and quantile");
  sampler_.emplace(options_, *data_);
  start();
  if (inputs_.validation.rows() > 0)
    metrics_.emplace(options_, inputs_.validation_target,
                     usable_rows(inputs_.validation_target, inputs_.validation.rows(), {}), objective_->link(),
                     outputs_);
  else if (!held_out_.empty())
    metrics_.emplace(options_, y_, held_out_, objective_->link(), outputs_);
  const bool nothing_drawn = options_.row_fraction == 1 && options_.column_fraction == 1 &&
                             options_.node_column_fraction == 1 && !options_.goss && !options_.dart &&
                             !options_.random_thresholds;
  std::size_t round = 0;
  for (; round < static_cast<std::size_t>(options_.trees); ++round) {
    one_round(round);
    // Without chance the next round would see the same and find nothing either.
    if (!after_round(round) || (!any_split_ && nothing_drawn)) break;
  }
  if (options_.progress && round < static_cast<std::size_t>(options_.trees))
    options_.progress->update("trees", static_cast<std::size_t>(options_.trees),
                              static_cast<std::size_t>(options_.trees));
  // Now, so that the forest takes their place.
  grower_.reset();
  for (auto* numbers : {&scores_, &g_, &h_}) detail::release(*numbers);
  return assemble(options_.early_stopping_rounds > 0 && metrics_ ? best_round_ : trees_.size() / outputs_);
}

Shared<const Forest> Booster::assemble(std::size_t rounds) const {
  ForestShape shape;
  shape.inputs = static_cast<std::uint32_t>(bins_.cols());
  shape.outputs = static_cast<std::uint32_t>(outputs_);
  shape.link = objective_->link();
  shape.base = base_;
  ForestArrays arrays;
  if (inputs_.start) arrays = inputs_.start->arrays();
  for (std::size_t t = 0; t < rounds * outputs_; ++t)
    append_tree(arrays, trees_[t], bins_, static_cast<std::uint32_t>(t % outputs_), 1);
  return Shared<const Forest>::make(std::move(shape), std::move(arrays));
}

}  // namespace redoubt::detail
