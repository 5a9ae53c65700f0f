#include "robustness/evasion/leaf_walk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "redoubt/core/error.hpp"
#include "robustness/forest_step.hpp"

namespace redoubt::detail {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

float above(float x) { return std::nextafter(x, infinity); }
float below(float x) { return std::nextafter(x, -infinity); }

const Forest& forest_of(const Predictor& model) {
  if (const auto* forest = dynamic_cast<const Forest*>(&model)) return *forest;
  fail(errc::unsupported, fmt::format("attack: leaf_tuple needs a tree ensemble, the form is '{}'", model.form()));
}

}  // namespace

LeafWalk::LeafWalk(const Predictor& model, const AttackOptions& options, MatrixView<const float> rows)
    : model_(model), options_(options), forest_(forest_of(model)), rows_(rows) {
  const ForestArrays& a = forest_.arrays();
  const std::size_t d = forest_.inputs();
  const double resolution = forest_.engine().resolution;
  for (const float value : a.leaf_values)
    leaves_.push_back(static_cast<std::int64_t>(std::nearbyint(static_cast<double>(value) / resolution)));
  cuts_.resize(d);
  categorical_.resize(d);
  for (std::size_t i = 0; i < a.feature.size(); ++i) {
    if (a.category_set[i] >= 0)
      categorical_[a.feature[i]] = 1;
    else
      cuts_[a.feature[i]].push_back(a.threshold[i]);
  }
  for (auto& list : cuts_) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  }
  out_.resize(model.outputs());
  scratch_.resize(model.scratch_size());
  allowed_.resize(d);
  box_.resize(d);
  lower_.resize(d);
  upper_.resize(d);
  change_.resize(d);
  is_touched_.resize(d);
  limits_.resize(forest_.trees());
  leaf_.resize(forest_.trees());
  sums_.resize(forest_.shape().outputs);
}

bool LeafWalk::run(std::size_t at, std::size_t label, int restart, std::uint64_t stream, std::span<float> found) {
  static const FeatureRule any;
  origin_.assign(rows_.row(at).begin(), rows_.row(at).end());
  label_ = label;
  moving_.clear();
  for (std::uint32_t c = 0; c < origin_.size(); ++c) {
    const FeatureRule& r = options_.rules.empty() ? any : options_.rules[c];
    const float x = origin_[c];
    allowed_[c] = {x, x};
    if (r.fixed || r.group > 0 || !std::isfinite(x) || x < r.lower || x > r.upper || categorical_[c] ||
        cuts_[c].empty())
      continue;
    moving_.push_back(c);
    allowed_[c] = {std::max(r.lower, std::numeric_limits<float>::lowest()),
                   std::min(r.upper, std::numeric_limits<float>::max())};
    // The row's own value stays possible, whole or not.
    if (r.whole) allowed_[c] = {std::min(std::ceil(allowed_[c].lo), x), std::max(std::floor(allowed_[c].hi), x)};
  }
  Random random(options_.seed + 0xa0761d6478bd642full * static_cast<std::uint64_t>(restart + 1), stream);
  if (moving_.empty()) return false;
  inside_ = true;
  start_inside(restart, random);
  if (walk(found)) return true;
  inside_ = false;
  if (!start_outside(at, restart, random)) return false;
  shrink();
  return walk(found);
}

bool LeafWalk::walk(std::span<float> found) {
  enter();
  for (int step = 0;; ++step) {
    intersect();
    best_ = {};
    for (const std::uint32_t c : order_) extend(best_, change_[c]);
    best_margin_ = margin(sums_);
    for (const std::uint32_t c : moving_) x_[c] = nearest(c, box_[c]);
    if (size_of(best_) <= options_.radius && best_margin_ > 0) {
      if (fooled(x_)) {
        std::copy(x_.begin(), x_.end(), found.begin());
        return true;
      }
      if (inside_) return false;
    }
    if (step == options_.steps || !this->step()) return false;
  }
}

/// The row itself, or with later restarts random cells of some columns within the radius.
void LeafWalk::start_inside(int restart, Random& random) {
  x_ = origin_;
  if (restart == 0) return;
  Size size;
  const double share = random.uniform();
  for (const std::uint32_t c : moving_) {
    if (random.uniform() > share) continue;
    const double unit = options_.rules.empty() ? 1 : options_.rules[c].unit;
    const double reach = options_.radius * unit * random.uniform(-1, 1);
    const auto x =
        std::clamp(static_cast<float>(static_cast<double>(origin_[c]) + reach), allowed_[c].lo, allowed_[c].hi);
    Range point{x, x};
    if (!possible(c, point)) continue;
    Size with = size;
    extend(with, change(c, point));
    if (size_of(with) > options_.radius) continue;
    size = with;
    x_[c] = x;
  }
}

/// A row of another class: first the nearest of the given rows, later random cells of more and more columns.
bool LeafWalk::start_outside(std::size_t at, int restart, Random& random) {
  x_ = origin_;
  if (restart == 0) {
    double least = std::numeric_limits<double>::infinity();
    std::vector<float> other(origin_);
    for (std::size_t r = 0; r < rows_.rows(); ++r) {
      if (r == at) continue;
      Size by;
      bool legal = true;
      for (const std::uint32_t c : moving_) {
        const float x = rows_(r, c);
        legal = legal && x >= allowed_[c].lo && x <= allowed_[c].hi;
        Range point{x, x};
        legal = legal && possible(c, point);
        other[c] = x;
        extend(by, change(c, point));
      }
      if (!legal || !(size_of(by) < least) || !fooled(other)) continue;
      least = size_of(by);
      x_ = other;
    }
    if (std::isfinite(least)) return true;
  }
  for (int attempt = 0; attempt < 64; ++attempt) {
    const double share = std::min(1.0, (attempt + 2) / 24.0);
    x_ = origin_;
    for (const std::uint32_t c : moving_) {
      if (random.uniform() > share) continue;
      const auto cell = random.below(cuts_[c].size() + 1);
      Range range{cell == 0 ? allowed_[c].lo : std::max(allowed_[c].lo, above(cuts_[c][cell - 1])),
                  cell == cuts_[c].size() ? allowed_[c].hi : std::min(allowed_[c].hi, cuts_[c][cell])};
      if (range.lo <= range.hi && possible(c, range)) x_[c] = nearest(c, range);
    }
    if (fooled(x_)) return true;
  }
  return false;
}

/// Columns go back to the attacked row, one after the other, the largest change first, where the class allows it.
void LeafWalk::shrink() {
  std::vector<std::uint32_t> columns;
  for (const std::uint32_t c : moving_) {
    change_[c] = change(c, {x_[c], x_[c]});
    if (change_[c] > 0) columns.push_back(c);
  }
  std::sort(columns.begin(), columns.end(), [&](std::uint32_t a, std::uint32_t b) {
    return change_[a] != change_[b] ? change_[a] > change_[b] : a < b;
  });
  for (const std::uint32_t c : columns) {
    const float was = x_[c];
    x_[c] = origin_[c];
    if (!fooled(x_)) x_[c] = was;
  }
}

bool LeafWalk::fooled(std::span<const float> x) {
  ++queries_;
  model_.predict(x, out_, scratch_);
  return static_cast<std::size_t>(std::max_element(out_.begin(), out_.end()) - out_.begin()) != label_;
}

/// The values on the row's side of a node; zero may go its own way.
void LeafWalk::enter() {
  const ForestArrays& a = forest_.arrays();
  std::fill(sums_.begin(), sums_.end(), 0);
  for (std::size_t t = 0; t < forest_.trees(); ++t) {
    std::vector<Limit>& limits = limits_[t];
    limits.clear();
    std::int32_t node = a.roots[t];
    while (node >= 0) {
      const auto n = static_cast<std::size_t>(node);
      const std::uint32_t column = a.feature[n];
      const float x = x_[column], threshold = a.threshold[n];
      if (a.category_set[n] < 0 && x == x) {
        Range range = x <= threshold ? Range{-infinity, threshold} : Range{above(threshold), infinity};
        if (a.flags[n] & zero_missing) {
          if (std::abs(x) <= zero_bound)
            range = {-zero_bound, zero_bound};
          else if (x < 0)
            range.hi = std::min(range.hi, below(-zero_bound));
          else
            range.lo = std::max(range.lo, above(zero_bound));
        }
        limits.push_back({column, range});
      }
      node = goes_left(a, n, x) ? a.left[n] : a.right[n];
    }
    leaf_[t] = static_cast<std::uint32_t>(~node);
    add(t, leaf_[t], 1, sums_);
  }
}

void LeafWalk::intersect() {
  for (const std::uint32_t c : moving_) {
    lower_[c] = {allowed_[c].lo, allowed_[c].lo, -1};
    upper_[c] = {allowed_[c].hi, allowed_[c].hi, -1};
  }
  for (std::size_t t = 0; t < limits_.size(); ++t) {
    const auto tree = static_cast<std::int32_t>(t);
    for (const Limit& l : limits_[t]) {
      Ends &lo = lower_[l.column], &hi = upper_[l.column];
      if (l.range.lo > lo.first) {
        if (lo.tree != tree) lo.second = lo.first;
        lo.first = l.range.lo, lo.tree = tree;
      } else if (lo.tree != tree) {
        lo.second = std::max(lo.second, l.range.lo);
      }
      if (l.range.hi < hi.first) {
        if (hi.tree != tree) hi.second = hi.first;
        hi.first = l.range.hi, hi.tree = tree;
      } else if (hi.tree != tree) {
        hi.second = std::min(hi.second, l.range.hi);
      }
    }
  }
  order_.clear();
  for (const std::uint32_t c : moving_) {
    box_[c] = between(c, lower_[c].first, upper_[c].first);
    change_[c] = change(c, box_[c]);
    if (change_[c] > 0) order_.push_back(c);
  }
  std::sort(order_.begin(), order_.end(), [&](std::uint32_t a, std::uint32_t b) {
    return change_[a] != change_[b] ? change_[a] > change_[b] : a < b;
  });
}

/// To the best neighbour; false if none is nearer.
bool LeafWalk::step() {
  improved_ = false;
  for (std::size_t t = 0; t < limits_.size(); ++t) {
    // Without this tree, the box of the others.
    touched_.clear();
    for (const Limit& l : limits_[t]) {
      const std::uint32_t c = l.column;
      if (allowed_[c].lo == allowed_[c].hi || is_touched_[c]) continue;
      is_touched_[c] = 1;
      touched_.push_back(c);
      const auto tree = static_cast<std::int32_t>(t);
      box_[c] = between(c, lower_[c].tree == tree ? lower_[c].second : lower_[c].first,
                        upper_[c].tree == tree ? upper_[c].second : upper_[c].first);
    }
    explore(t, forest_.arrays().roots[t]);
    for (const std::uint32_t c : touched_) {
      is_touched_[c] = 0;
      box_[c] = between(c, lower_[c].first, upper_[c].first);
    }
  }
  for (const std::uint32_t c : moving_) sweep(c);
  if (!improved_) return false;
  if (best_column_ >= 0) {
    x_[static_cast<std::size_t>(best_column_)] = best_value_;
    enter();
    return true;
  }
  add(best_tree_, leaf_[best_tree_], -1, sums_);
  add(best_tree_, best_leaf_, 1, sums_);
  leaf_[best_tree_] = best_leaf_;
  limits_[best_tree_] = best_limits_;
  return true;
}

void LeafWalk::explore(std::size_t tree, std::int32_t node) {
  if (node < 0) return consider(tree, static_cast<std::uint32_t>(~node));
  const ForestArrays& a = forest_.arrays();
  const auto n = static_cast<std::size_t>(node);
  const std::uint32_t column = a.feature[n];
  if (allowed_[column].lo == allowed_[column].hi || !(origin_[column] == origin_[column]) || a.category_set[n] >= 0)
    return explore(tree, goes_left(a, n, origin_[column]) ? a.left[n] : a.right[n]);
  for (const Piece& piece : pieces_of(n)) narrow(tree, piece.child, column, piece.range);
}

/// The children of a numeric node by the values that go there; an empty range where there are fewer.
std::array<LeafWalk::Piece, 5> LeafWalk::pieces_of(std::size_t n) const noexcept {
  const ForestArrays& a = forest_.arrays();
  const float threshold = a.threshold[n];
  constexpr Piece none{0, {1, 0}};
  if (!(a.flags[n] & zero_missing))
    return {{{a.left[n], {-infinity, threshold}}, {a.right[n], {above(threshold), infinity}}, none, none, none}};
  return {{{a.left[n], {-infinity, std::min(threshold, below(-zero_bound))}},
           {a.right[n], {above(threshold), below(-zero_bound)}},
           {a.flags[n] & missing_left ? a.left[n] : a.right[n], {-zero_bound, zero_bound}},
           {a.left[n], {above(zero_bound), threshold}},
           {a.right[n], {std::max(above(threshold), above(zero_bound)), infinity}}}};
}

/// What a tree does along one column, the others as they are.
void LeafWalk::line(std::size_t tree, std::int32_t node, std::uint32_t column, Range range) {
  const ForestArrays& a = forest_.arrays();
  while (node >= 0) {
    const auto n = static_cast<std::size_t>(node);
    if (a.feature[n] == column) break;
    node = goes_left(a, n, x_[a.feature[n]]) ? a.left[n] : a.right[n];
  }
  if (node < 0) {
    events_.push_back({range.lo, static_cast<std::uint32_t>(tree), static_cast<std::uint32_t>(~node)});
    return;
  }
  for (const Piece& piece : pieces_of(static_cast<std::size_t>(node))) {
    const Range now{std::max(range.lo, piece.range.lo), std::min(range.hi, piece.range.hi)};
    if (now.lo <= now.hi) line(tree, piece.child, column, now);
  }
}

/// The boxes along one column, in all trees at once: thresholds that trees share are crossed only so.
void LeafWalk::sweep(std::uint32_t column) {
  events_.clear();
  std::vector<std::uint32_t>& leaf = swept_leaf_;
  leaf = leaf_;
  const Range all = allowed_[column];
  for (std::size_t t = 0; t < limits_.size(); ++t) {
    const std::size_t begin = events_.size();
    line(t, forest_.arrays().roots[t], column, all);
    if (events_.size() == begin + 1) events_.pop_back();  // one leaf all along
  }
  std::sort(events_.begin(), events_.end(),
            [](const Event& a, const Event& b) { return a.from != b.from ? a.from < b.from : a.tree < b.tree; });
  Size others;
  for (const std::uint32_t c : order_)
    if (c != column) extend(others, change_[c]);
  changed_ = sums_;
  for (std::size_t i = 0; i < events_.size();) {
    Range range{events_[i].from, all.hi};
    for (; i < events_.size() && events_[i].from == range.lo; ++i) {
      add(events_[i].tree, leaf[events_[i].tree], -1, changed_);
      leaf[events_[i].tree] = events_[i].leaf;
      add(events_[i].tree, leaf[events_[i].tree], 1, changed_);
    }
    if (i < events_.size()) range.hi = below(events_[i].from);
    if (!possible(column, range)) continue;
    Size size = others;
    extend(size, change(column, range));
    if (!better(size, changed_)) continue;
    best_column_ = static_cast<std::int64_t>(column);
    best_value_ = nearest(column, range);
  }
}

void LeafWalk::narrow(std::size_t tree, std::int32_t child, std::uint32_t column, Range range) {
  const Range before = box_[column];
  Range now{std::max(before.lo, range.lo), std::min(before.hi, range.hi)};
  if (!(now.lo <= now.hi) || !possible(column, now)) return;
  const bool fresh = !is_touched_[column];
  if (fresh) {
    is_touched_[column] = 1;
    touched_.push_back(column);
  }
  box_[column] = now;
  path_.push_back({column, range});
  // Nothing below is nearer than this column lets it be.
  const double least = change(column, now);
  Size alone;
  extend(alone, least);
  const bool far = inside_                             ? size_of(alone) > options_.radius
                   : options_.norm == AttackNorm::linf ? alone.excess > best_.excess
                                                       : alone.squares > best_.squares;
  if (!far) explore(tree, child);
  path_.pop_back();
  box_[column] = before;
  if (fresh) {
    is_touched_[column] = 0;
    touched_.pop_back();
  }
}

void LeafWalk::consider(std::size_t tree, std::uint32_t leaf) {
  Size size;
  for (const std::uint32_t c : touched_) {
    extend(size, change(c, box_[c]));
  }
  for (const std::uint32_t c : order_) {
    if (!is_touched_[c]) extend(size, change_[c]);
  }
  if (inside_ ? size_of(size) > options_.radius : !less(size, best_)) return;  // before the sums
  changed_ = sums_;
  add(tree, leaf_[tree], -1, changed_);
  add(tree, leaf, 1, changed_);
  if (!better(size, changed_)) return;
  best_column_ = -1;
  best_tree_ = tree;
  best_leaf_ = leaf;
  best_limits_ = path_;
}

/// Whether this is the best neighbour so far, and then it is.
bool LeafWalk::better(const Size& size, std::span<const std::int64_t> sums) noexcept {
  if (inside_ ? size_of(size) > options_.radius : !less(size, best_)) return false;
  const double reached = margin(sums);
  if (reached <= (inside_ ? best_margin_ : 0)) return false;
  improved_ = true;
  best_ = size;
  best_margin_ = reached;
  return true;
}

void LeafWalk::extend(Size& size, double change) const noexcept {
  size.largest = std::max(size.largest, change);
  size.excess += std::max(0.0, change - options_.radius);
  size.squares += change * change;
}

/// Nearer: by what is above the radius, over all columns, so that a step counts that does not move the farthest one.
bool LeafWalk::less(const Size& a, const Size& b) const noexcept {
  constexpr double same = 1e-12;  // the order of the sums does not count
  if (options_.norm == AttackNorm::linf && std::abs(a.excess - b.excess) > same * b.excess) return a.excess < b.excess;
  return a.squares < b.squares * (1 - same);
}

double LeafWalk::size_of(const Size& s) const noexcept {
  return options_.norm == AttackNorm::linf ? s.largest : std::sqrt(s.squares);
}

float LeafWalk::nearest(std::uint32_t column, Range range) const noexcept {
  return std::clamp(origin_[column], range.lo, range.hi);
}

/// In units.
double LeafWalk::change(std::uint32_t column, Range range) const noexcept {
  const double unit = options_.rules.empty() ? 1 : options_.rules[column].unit;
  return std::abs(static_cast<double>(nearest(column, range)) - static_cast<double>(origin_[column])) / unit;
}

/// Down to whole numbers where the rule wants them; false if none is left. The row's own value always may stay.
bool LeafWalk::possible(std::uint32_t column, Range& range) const noexcept {
  if (options_.rules.empty() || !options_.rules[column].whole) return true;
  const float own = origin_[column];
  const bool inside = own >= range.lo && own <= range.hi;
  Range whole{std::ceil(range.lo), std::floor(range.hi)};
  if (inside) whole = {std::min(whole.lo, own), std::max(whole.hi, own)};
  range = whole;
  return whole.lo <= whole.hi;
}

LeafWalk::Range LeafWalk::between(std::uint32_t column, float lo, float hi) const noexcept {
  Range range{lo, hi};
  possible(column, range);
  return range;
}

/// Above 0 where the class is another one: by how much its score is larger.
double LeafWalk::margin(std::span<const std::int64_t> sums) const noexcept {
  const ForestShape& shape = forest_.shape();
  const double resolution = forest_.engine().resolution;
  const auto score = [&](std::size_t k) { return shape.base[k] + static_cast<double>(sums[k]) * resolution; };
  if (sums.size() == 1) return label_ == 1 ? -score(0) : score(0);
  double most = -std::numeric_limits<double>::infinity();
  for (std::size_t k = 0; k < sums.size(); ++k)
    if (k != label_) most = std::max(most, score(k));
  return most - score(label_);
}

void LeafWalk::add(std::size_t tree, std::uint32_t leaf, std::int64_t sign,
                   std::span<std::int64_t> sums) const noexcept {
  const std::uint32_t width = forest_.shape().leaf_width;
  if (width == 1) {
    sums[forest_.arrays().outputs_of[tree]] += sign * leaves_[leaf];
    return;
  }
  for (std::uint32_t k = 0; k < width; ++k) sums[k] += sign * leaves_[static_cast<std::size_t>(leaf) * width + k];
}

}  // namespace redoubt::detail
