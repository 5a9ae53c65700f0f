#include "redoubt/robustness/certify/tree_verifier.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "redoubt/core/error.hpp"
#include "redoubt/trees/forest.hpp"
#include "robustness/certify/box_search.hpp"
#include "robustness/forest_step.hpp"

namespace redoubt {
namespace {

using detail::zero_bound;
constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace

/// Every column is cut at the thresholds of its nodes. Cell c holds the values above cut c - 1 up to cut c.
struct TreeVerifier::State {
  State(const Forest& f, TreeVerifierOptions o);

  const Forest& forest;
  TreeVerifierOptions options;
  std::vector<std::vector<float>> cuts;   // per column, rising
  std::vector<std::uint32_t> cut;         // per numeric node: its threshold among the cuts of its column
  std::vector<std::uint8_t> categorical;  // per column
  std::vector<std::uint8_t> used;         // per column
  std::vector<std::int64_t> leaves;       // fixed point
  double rounding = 0;                    // scores closer than this may be equal as floats

  void require(std::span<const float> row, double radius) const;
  static void require_class(std::size_t classes, std::size_t label);
  TreeCertificate verify(const Reach& reach, std::size_t label) const;

  const FeatureRule& rule(std::size_t column) const {
    static const FeatureRule free;
    return options.rules.empty() ? free : options.rules[column];
  }
  std::int32_t cell_of(std::size_t column, float x) const {
    return static_cast<std::int32_t>(std::lower_bound(cuts[column].begin(), cuts[column].end(), x) -
                                     cuts[column].begin());
  }
  /// The value of a cell that is nearest to x, which lies below or above it.
  float nearest(std::size_t column, std::int32_t cell, bool above) const {
    if (!above) return cuts[column][static_cast<std::size_t>(cell)];
    const float cut_below = cuts[column][static_cast<std::size_t>(cell) - 1];
    return rule(column).whole ? cut_below + 1 : std::nextafter(cut_below, std::numeric_limits<float>::infinity());
  }
  /// How far x must go to reach a cell, in units; infinity if the rule forbids it.
  double distance(std::size_t column, float x, std::int32_t own, std::int32_t cell) const {
    if (cell == own) return 0;
    const float value = nearest(column, cell, cell > own);
    const FeatureRule& r = rule(column);
    if (value < r.lower || value > r.upper || !std::isfinite(value)) return infinity;
    return std::abs(static_cast<double>(value) - static_cast<double>(x)) / r.unit;
  }
  float zero_below(std::size_t column) const { return rule(column).whole ? -1.0f : std::nextafter(-zero_bound, -1.0f); }
  float zero_above(std::size_t column) const { return rule(column).whole ? 0.0f : zero_bound; }
  bool movable(std::size_t column, float x) const {
    return used[column] && !categorical[column] && !rule(column).fixed && std::isfinite(x);
  }
};

TreeVerifier::State::State(const Forest& f, TreeVerifierOptions o) : forest(f), options(std::move(o)) {
  const ForestArrays& a = forest.arrays();
  const std::size_t columns = forest.inputs();
  if (!options.rules.empty() && options.rules.size() != columns)
    detail::fail(errc::shape_mismatch,
                 fmt::format("TreeVerifier: {} rules for {} columns", options.rules.size(), columns));
  for (std::size_t c = 0; c < options.rules.size(); ++c) {
    const FeatureRule& r = options.rules[c];
    if (!(r.unit > 0) || !std::isfinite(r.unit) || !(r.lower <= r.upper))
      detail::fail(errc::invalid_argument,
                   fmt::format("TreeVerifier: rule of column {}: unit {} must be finite and above 0, lower {} at most "
                               "upper {}",
                               c, r.unit, r.lower, r.upper));
  }
  cuts.resize(columns);
  categorical.resize(columns);
  used.resize(columns);
  cut.resize(a.feature.size());
  const auto threshold_of = [&](std::size_t node) {
    const float t = a.threshold[node];
    return rule(a.feature[node]).whole ? std::floor(t) : t;
  };
  for (std::size_t i = 0; i < a.feature.size(); ++i) {
    used[a.feature[i]] = 1;
    if (a.category_set[i] >= 0) {
      categorical[a.feature[i]] = 1;
      continue;
    }
    cuts[a.feature[i]].push_back(threshold_of(i));
    if (a.flags[i] & zero_missing) {
      cuts[a.feature[i]].push_back(zero_below(a.feature[i]));
      cuts[a.feature[i]].push_back(zero_above(a.feature[i]));
    }
  }
  for (auto& list : cuts) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  for (std::size_t i = 0; i < a.feature.size(); ++i)
    if (a.category_set[i] < 0) cut[i] = static_cast<std::uint32_t>(cell_of(a.feature[i], threshold_of(i)));
  const double resolution = forest.engine().resolution;
  double largest = 0;
  for (const float base : forest.shape().base) largest = std::max(largest, std::abs(static_cast<double>(base)));
  double sum = 0;
  for (const float value : a.leaf_values) {
    leaves.push_back(static_cast<std::int64_t>(std::nearbyint(static_cast<double>(value) / resolution)));
    sum = std::max(sum, std::abs(static_cast<double>(value)));
  }
  rounding = (largest + sum * static_cast<double>(forest.trees())) * 0x1p-23;
}

/// What is in reach of a row within a radius, and the leaves of every tree there.
struct TreeVerifier::Reach {
  Reach(const State& s, std::span<const float> r, double radius);

  const State& state;
  std::span<const float> row;
  std::vector<std::uint32_t> columns;     // that move
  std::vector<std::int32_t> place;        // per column: its place among them, or -1
  std::vector<std::int32_t> own;          // per moving column: the cell of the row
  std::vector<detail::CellRange> box;     // per moving column
  std::vector<std::uint32_t> leaves;      // tree after tree
  std::vector<std::size_t> tree_begin;    // per tree, plus one
  std::vector<detail::CellRange> ranges;  // leaf after leaf
  std::vector<std::size_t> range_begin;   // per leaf, plus one

  bool single() const noexcept { return leaves.size() == state.forest.trees(); }
  /// The least of sum of sign[k] * score k, without the bases.
  detail::BoxSearch::Result least(std::size_t plus, std::size_t minus, bool negative, std::int64_t goal,
                                  std::size_t max_states) const;
  std::vector<float> point(const std::vector<detail::CellRange>& at) const;
  double distance_of(std::span<const float> point) const;

 private:
  void collect(std::int32_t node);
  void descend(std::int32_t node, std::uint32_t column, std::int32_t lo, std::int32_t hi);
  std::vector<detail::CellRange> now_;   // per moving column
  std::vector<std::uint32_t> narrowed_;  // places, in the order of the path
};

TreeVerifier::Reach::Reach(const State& s, std::span<const float> r, double radius) : state(s), row(r) {
  place.assign(row.size(), -1);
  for (std::size_t c = 0; c < row.size(); ++c) {
    if (!state.movable(c, row[c])) continue;
    const std::int32_t cell = state.cell_of(c, row[c]);
    std::int32_t lo = cell, hi = cell;
    while (lo > 0 && state.distance(c, row[c], cell, lo - 1) <= radius) --lo;
    while (hi < static_cast<std::int32_t>(state.cuts[c].size()) && state.distance(c, row[c], cell, hi + 1) <= radius)
      ++hi;
    if (lo == hi) continue;
    place[c] = static_cast<std::int32_t>(columns.size());
    box.push_back({static_cast<std::uint32_t>(columns.size()), lo, hi});
    columns.push_back(static_cast<std::uint32_t>(c));
    own.push_back(cell);
  }
  now_ = box;
  range_begin.push_back(0);
  for (const std::int32_t root : state.forest.arrays().roots) {
    tree_begin.push_back(leaves.size());
    collect(root);
  }
  tree_begin.push_back(leaves.size());
}

void TreeVerifier::Reach::collect(std::int32_t node) {
  const ForestArrays& a = state.forest.arrays();
  if (node < 0) {
    leaves.push_back(static_cast<std::uint32_t>(~node));
    const std::size_t begin = ranges.size();
    for (const std::uint32_t p : narrowed_) ranges.push_back(now_[p]);
    std::sort(ranges.begin() + static_cast<std::ptrdiff_t>(begin), ranges.end(),
              [](const auto& x, const auto& y) { return x.column < y.column; });
    range_begin.push_back(ranges.size());
    return;
  }
  const auto n = static_cast<std::size_t>(node);
  const std::uint32_t column = a.feature[n];
  if (place[column] < 0) return collect(detail::goes_left(a, n, row[column]) ? a.left[n] : a.right[n]);
  const detail::CellRange here = now_[static_cast<std::size_t>(place[column])];
  const auto cut = static_cast<std::int32_t>(state.cut[n]);
  if (!(a.flags[n] & zero_missing)) {
    descend(a.left[n], column, here.lo, std::min(here.hi, cut));
    descend(a.right[n], column, std::max(here.lo, cut + 1), here.hi);
    return;
  }
  // Zero goes its own way: up to five pieces, neighbours of one side joined.
  const std::int32_t zero_lo = state.cell_of(column, state.zero_below(column)) + 1,
                     zero_hi = state.cell_of(column, state.zero_above(column));
  for (std::int32_t lo = here.lo; lo <= here.hi;) {
    const auto side = [&](std::int32_t cell) {
      return cell >= zero_lo && cell <= zero_hi ? (a.flags[n] & missing_left) != 0 : cell <= cut;
    };
    std::int32_t hi = lo;
    while (hi < here.hi && side(hi + 1) == side(lo)) ++hi;
    descend(side(lo) ? a.left[n] : a.right[n], column, lo, hi);
    lo = hi + 1;
  }
}

void TreeVerifier::Reach::descend(std::int32_t node, std::uint32_t column, std::int32_t lo, std::int32_t hi) {
  if (lo > hi) return;
  const auto p = static_cast<std::uint32_t>(place[column]);
  const detail::CellRange before = now_[p];
  const bool first = before.lo == box[p].lo && before.hi == box[p].hi && (lo != before.lo || hi != before.hi);
  now_[p].lo = lo, now_[p].hi = hi;
  if (first) narrowed_.push_back(p);
  collect(node);
  if (first) narrowed_.pop_back();
  now_[p] = before;
}

detail::BoxSearch::Result TreeVerifier::Reach::least(std::size_t plus, std::size_t minus, bool negative,
                                                     std::int64_t goal, std::size_t max_states) const {
  constexpr std::size_t no_score = static_cast<std::size_t>(-1);
  const ForestShape& shape = state.forest.shape();
  const ForestArrays& a = state.forest.arrays();
  detail::BoxSearch search(box);
  for (std::size_t t = 0; t + 1 < tree_begin.size(); ++t) {
    if (shape.leaf_width == 1 && a.outputs_of[t] != plus && a.outputs_of[t] != minus) continue;
    search.begin_list();
    for (std::size_t i = tree_begin[t]; i < tree_begin[t + 1]; ++i) {
      std::int64_t value = 0;
      if (shape.leaf_width > 1) {
        value = state.leaves[leaves[i] * shape.leaf_width + plus];
        if (minus != no_score) value -= state.leaves[leaves[i] * shape.leaf_width + minus];
      } else {
        value = a.outputs_of[t] == plus ? state.leaves[leaves[i]] : -state.leaves[leaves[i]];
      }
      search.add(negative ? -value : value,
                 std::span(ranges).subspan(range_begin[i], range_begin[i + 1] - range_begin[i]));
    }
  }
  return search.minimise(goal, max_states);
}

/// The row of a box that is nearest to the row.
std::vector<float> TreeVerifier::Reach::point(const std::vector<detail::CellRange>& at) const {
  std::vector<float> result(row.begin(), row.end());
  for (std::size_t p = 0; p < columns.size(); ++p) {
    const std::int32_t cell = std::clamp(own[p], at[p].lo, at[p].hi);
    if (cell != own[p]) result[columns[p]] = state.nearest(columns[p], cell, cell > own[p]);
  }
  return result;
}

double TreeVerifier::Reach::distance_of(std::span<const float> at) const {
  double largest = 0;
  for (const std::uint32_t c : columns)
    largest =
        std::max(largest, std::abs(static_cast<double>(at[c]) - static_cast<double>(row[c])) / state.rule(c).unit);
  return largest;
}

TreeVerifier::TreeVerifier(const Forest& forest, TreeVerifierOptions options)
    : state_(Shared<const State>::make(forest, std::move(options))) {}

std::size_t TreeVerifier::classes() const noexcept {
  const ForestShape& shape = state_->forest.shape();
  switch (shape.link) {
    case ForestLink::sigmoid: return 2;
    case ForestLink::softmax:
    case ForestLink::sigmoids:
    case ForestLink::one_vs_all:
    case ForestLink::average: return shape.outputs > 1 ? shape.outputs : 0;
    default: return 0;
  }
}

void TreeVerifier::State::require(std::span<const float> row, double radius) const {
  if (row.size() != forest.inputs())
    detail::fail(errc::shape_mismatch,
                 fmt::format("TreeVerifier: a row of {} columns, the forest has {}", row.size(), forest.inputs()));
  if (!(radius >= 0)) detail::fail(errc::invalid_argument, fmt::format("TreeVerifier: radius {} is below 0", radius));
  for (std::size_t c = 0; c < options.rules.size(); ++c)
    if (options.rules[c].whole && std::isfinite(row[c]) && row[c] != std::floor(row[c]))
      detail::fail(errc::invalid_argument,
                   fmt::format("TreeVerifier: column {} takes whole numbers, the row has {}", c, row[c]));
}

void TreeVerifier::State::require_class(std::size_t classes, std::size_t label) {
  if (classes == 0) detail::fail(errc::unsupported, "TreeVerifier: this forest has no classes; ask for score_range");
  if (label >= classes)
    detail::fail(errc::invalid_argument, fmt::format("TreeVerifier: class {} of {}", label, classes));
}

namespace {

std::size_t class_of(const Forest& forest, std::span<const float> row, std::vector<float>& scores) {
  scores.resize(forest.shape().outputs);
  forest.scores(row, scores);
  if (scores.size() == 1) return scores[0] > 0;
  return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

}  // namespace

TreeCertificate TreeVerifier::State::verify(const Reach& reach, std::size_t label) const {
  constexpr std::size_t no_score = static_cast<std::size_t>(-1);
  const ForestShape& shape = forest.shape();
  const double resolution = forest.engine().resolution;
  TreeCertificate answer;
  answer.lower = answer.upper = infinity;
  std::vector<float> scores;
  bool tied = false;
  const std::size_t others = shape.outputs == 1 ? 2 : shape.outputs;
  for (std::size_t other = 0; other < others; ++other) {
    if (other == label) continue;
    const bool one = shape.outputs == 1;
    const bool negative = one && label == 0;
    const std::size_t plus = one ? 0 : label, minus = one ? no_score : other;
    double base = one ? static_cast<double>(shape.base[0]) : static_cast<double>(shape.base[label]) - shape.base[other];
    if (negative) base = -base;
    const auto goal = static_cast<std::int64_t>(std::floor((rounding - base) / resolution));
    const auto found = reach.least(plus, minus, negative, goal,
                                   options.max_states > answer.states ? options.max_states - answer.states : 1);
    answer.states += found.states;
    answer.lower = std::min(answer.lower, base + static_cast<double>(found.lower) * resolution);
    if (found.upper == detail::BoxSearch::none) {
      if (found.lower <= goal) tied = true;  // the search ended first
      continue;
    }
    answer.upper = std::min(answer.upper, base + static_cast<double>(found.upper) * resolution);
    if (found.upper > goal) {
      tied = tied || found.lower <= goal;
      continue;
    }
    std::vector<float> point = reach.point(found.box);
    if (class_of(forest, point, scores) != label) {
      answer.result = Robustness::broken;
      if (shape.outputs > 2) answer.lower = -infinity;  // the other classes were not looked at
      answer.counterexample = std::move(point);
      return answer;
    }
    tied = true;
  }
  answer.result = tied ? Robustness::unknown : Robustness::certified;
  return answer;
}

TreeCertificate TreeVerifier::verify(std::span<const float> row, std::size_t label, double radius) const {
  state_->require_class(classes(), label);
  state_->require(row, radius);
  return state_->verify(Reach(*state_, row, radius), label);
}

RobustRadius TreeVerifier::robust_radius(std::span<const float> row, std::size_t label, double max_radius) const {
  const State& s = *state_;
  s.require_class(classes(), label);
  s.require(row, max_radius);
  // Something changes only where a cell comes into reach.
  std::vector<double> steps{0};
  for (std::size_t c = 0; c < row.size(); ++c) {
    if (!s.movable(c, row[c])) continue;
    const std::int32_t own = s.cell_of(c, row[c]);
    const auto last = static_cast<std::int32_t>(s.cuts[c].size());
    for (std::int32_t cell = own - 1; cell >= 0; --cell) {
      const double d = s.distance(c, row[c], own, cell);
      if (!(d <= max_radius)) break;
      steps.push_back(d);
    }
    for (std::int32_t cell = own + 1; cell <= last; ++cell) {
      const double d = s.distance(c, row[c], own, cell);
      if (!(d <= max_radius)) break;
      steps.push_back(d);
    }
  }
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());

  RobustRadius answer;
  // [0, safe) is certified, from `hit` on there is a counterexample, between them nothing is known.
  std::size_t safe = 0, hit = steps.size(), unknown = steps.size();
  const auto ask = [&](std::size_t i) {
    const Reach reach(s, row, steps[i]);
    TreeCertificate c = s.verify(reach, label);
    if (c.result == Robustness::certified) {
      safe = std::max(safe, i + 1);
    } else if (c.result == Robustness::broken) {
      answer.broken = reach.distance_of(c.counterexample);
      answer.counterexample = std::move(c.counterexample);
      hit = static_cast<std::size_t>(std::lower_bound(steps.begin(), steps.end(), answer.broken) - steps.begin());
    } else {
      unknown = std::min(unknown, i);
    }
  };
  while (safe < std::min(hit, unknown)) ask(safe + (std::min(hit, unknown) - safe) / 2);
  for (std::size_t low = unknown + 1; low < hit;) {
    const std::size_t middle = low + (hit - low) / 2;
    ask(middle);
    if (hit > middle) low = middle + 1;
  }
  answer.certified = safe < steps.size() ? steps[safe] : max_radius;
  return answer;
}

ScoreRange TreeVerifier::score_range(std::span<const float> row, double radius, std::size_t score) const {
  const State& s = *state_;
  s.require(row, radius);
  if (score >= s.forest.shape().outputs)
    detail::fail(errc::invalid_argument, fmt::format("TreeVerifier: score {} of {}", score, s.forest.shape().outputs));
  const Reach reach(s, row, radius);
  const auto least =
      reach.least(score, static_cast<std::size_t>(-1), false, detail::BoxSearch::none, s.options.max_states);
  const auto most =
      reach.least(score, static_cast<std::size_t>(-1), true, detail::BoxSearch::none, s.options.max_states);
  const double base = s.forest.shape().base[score], resolution = s.forest.engine().resolution;
  return {base + static_cast<double>(least.lower) * resolution, base - static_cast<double>(most.lower) * resolution,
          least.complete() && most.complete()};
}

}  // namespace redoubt
