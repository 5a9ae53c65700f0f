#include "trees/leafwise.hpp"

#include <algorithm>
#include <queue>

#include "redoubt/core/parallel.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t scan_columns = 16;   // per task
constexpr std::size_t serial_bins = 8192;  // fewer bins than this are not worth a second thread

/// Gains below this share of the scores they are the difference of are rounding errors.
constexpr double rounding = 1e-12;

}  // namespace

double LeafwiseGrower::score(const GradientSum& sum, double l2) const noexcept {
  const double g = static_cast<double>(sum.g) / g_scale_;
  const double h = hessian(sum) + l2;
  return h > 0 ? g * g / h : 0;
}

bool LeafwiseGrower::allowed(const GradientSum& child) const noexcept {
  return child.n >= options_.min_leaf_rows && child.n > 0 && hessian(child) >= options_.min_leaf_hessian;
}

bool LeafwiseGrower::splittable(const Leaf& leaf) const noexcept {
  return leaf.total.n >= 2 * static_cast<std::int64_t>(options_.min_leaf_rows) &&
         (options_.max_depth == 0 || leaf.depth < options_.max_depth);
}

/// Makes `left` against the rest of the leaf the best split, if it is; `better` says whether it was.
void LeafwiseGrower::consider(Split& best, const Leaf& leaf, const GradientSum& left, double l2, double leaf_score,
                              bool& better) const {
  better = false;
  const GradientSum right = leaf.total - left;
  if (!allowed(left) || !allowed(right)) return;
  const double children = score(left, l2) + score(right, l2);
  const double gain = children - leaf_score;
  if (gain <= best.gain || gain <= options_.min_gain + rounding * children) return;
  best.gain = gain;
  best.left = left;
  better = true;
}

LeafwiseGrower::Split LeafwiseGrower::best_numeric(const Leaf& leaf, std::uint32_t column,
                                                   const GradientSum* bins) const {
  const ColumnBins& cuts = bins_.column(column);
  const GradientSum missing = bins[cuts.missing()];
  const double leaf_score = score(leaf.total, options_.l2);
  Split best;
  bool missing_left = false, better = false;
  GradientSum left;
  for (std::uint32_t b = 0; b < cuts.count; ++b) {
    if (bins[b].n == 0) continue;  // the same rows as the cut before
    left += bins[b];
    consider(best, leaf, left, options_.l2, leaf_score, better);
    if (better) {
      best.last_bin = b;
      missing_left = false;
    }
    if (missing.n == 0) continue;
    consider(best, leaf, left + missing, options_.l2, leaf_score, better);
    if (better) {
      best.last_bin = b;
      missing_left = true;
    }
  }
  if (best.gain == 0) return best;
  // Values against gaps: then every value goes left.
  if (missing.n > 0 && !missing_left && best.left.n == leaf.total.n - missing.n) best.last_bin = cuts.count - 1;
  // Without missing values to learn from they will follow the majority.
  if (missing.n == 0) missing_left = 2 * best.left.n > leaf.total.n;
  best.column = column;
  best.left_bins = numeric_left(cuts, best.last_bin, missing_left);
  return best;
}

LeafwiseGrower::Split LeafwiseGrower::best_categorical(const Leaf& leaf, std::uint32_t column,
                                                       const GradientSum* bins) const {
  const ColumnBins& cuts = bins_.column(column);
  std::vector<std::uint32_t> present;  // the bin of missing values is a category like any other
  for (std::uint32_t b = 0; b <= cuts.count; ++b)
    if (bins[b].n > 0) present.push_back(b);
  Split best;
  bool better = false;
  std::vector<std::uint32_t> left_bins;
  if (present.size() < 2) return best;
  if (present.size() <= static_cast<std::size_t>(options_.max_one_hot)) {
    const double leaf_score = score(leaf.total, options_.l2);
    for (const auto b : present) {
      consider(best, leaf, bins[b], options_.l2, leaf_score, better);
      if (better) left_bins.assign(1, b);
    }
  } else {
    const double l2 = options_.l2 + options_.category_l2;
    const double leaf_score = score(leaf.total, options_.l2);
    std::vector<std::pair<double, std::uint32_t>> order;
    for (const auto b : present)
      if (bins[b].n >= options_.min_category_rows)
        order.emplace_back(static_cast<double>(bins[b].g) / g_scale_ / (hessian(bins[b]) + options_.category_smoothing),
                           b);
    std::sort(order.begin(), order.end());
    // From both ends: what is left of the other side may be rare or unseen categories.
    for (int direction = 0; direction < 2; ++direction) {
      GradientSum left;
      const std::size_t most = std::min(order.size(), static_cast<std::size_t>(options_.max_category_side));
      for (std::size_t i = 0; i < most; ++i) {
        left += bins[order[i].second];
        consider(best, leaf, left, l2, leaf_score, better);
        if (!better) continue;
        left_bins.clear();
        for (std::size_t j = 0; j <= i; ++j) left_bins.push_back(order[j].second);
      }
      std::reverse(order.begin(), order.end());
    }
  }
  if (best.gain == 0) return best;
  best.column = column;
  for (const auto b : left_bins) best.left_bins.insert(b);
  // Categories (and missing values) that this leaf does not know follow the majority.
  if (2 * best.left.n > leaf.total.n)
    for (std::uint32_t b = 0; b <= cuts.count; ++b)
      if (bins[b].n == 0) best.left_bins.insert(b);
  return best;
}

int LeafwiseGrower::take_slot() {
  if (free_slots_.empty()) {
    slots_.emplace_back();
    return static_cast<int>(slots_.size()) - 1;
  }
  const int slot = free_slots_.back();
  free_slots_.pop_back();
  return slot;
}

/// Best splits of a leaf whose histogram is there and, if `large` is given, of its sibling, whose slot still holds
/// the parent's histogram.
void LeafwiseGrower::find_splits(Leaf* small, Leaf* large, std::span<const std::uint8_t> column_on) {
  const auto offsets = bins_.offsets();
  const std::size_t grain = offsets.back() < serial_bins ? bins_.cols() : scan_columns;
  const std::size_t blocks = (bins_.cols() + grain - 1) / grain;
  std::vector<Split> found(2 * blocks);
  GradientSum* const small_bins = slots_[static_cast<std::size_t>(small->histogram)].data();
  GradientSum* const large_bins = large ? slots_[static_cast<std::size_t>(large->histogram)].data() : nullptr;
  const bool small_splits = splittable(*small);
  parallel_for(
      bins_.cols(), grain,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t c = begin; c < end; ++c) {
          if (!column_on[c]) continue;
          const auto column = static_cast<std::uint32_t>(c);
          const auto scan = [&](const Leaf& leaf, const GradientSum* bins, Split& best) {
            // The common bin goes to one side, so the other has at most the remaining rows.
            if (leaf.total.n - bins[bins_.common_bin(c)].n < options_.min_leaf_rows) return;
            const Split split = bins_.column(c).categories > 0 ? best_categorical(leaf, column, bins)
                                                               : best_numeric(leaf, column, bins);
            if (split.gain > best.gain) best = split;
          };
          if (small_splits) scan(*small, small_bins + offsets[c], found[2 * (begin / grain)]);
          if (!large) continue;
          for (auto b = offsets[c]; b < offsets[c + 1]; ++b) large_bins[b] = large_bins[b] - small_bins[b];
          scan(*large, large_bins + offsets[c], found[2 * (begin / grain) + 1]);
        }
      },
      options_.arena);
  for (std::size_t i = 0; i < blocks; ++i) {
    if (found[2 * i].gain > small->best.gain) small->best = found[2 * i];
    if (large && found[2 * i + 1].gain > large->best.gain) large->best = found[2 * i + 1];
  }
}

/// Stable: rows that go left first. Returns where the others begin.
std::size_t LeafwiseGrower::partition(std::vector<std::uint32_t>& rows, const Leaf& leaf, const Split& split) {
  std::array<std::uint8_t, 256> goes_left{};
  for (std::uint32_t b = 0; b < goes_left.size(); ++b) goes_left[b] = split.left_bins.contains(b);
  right_rows_.resize(leaf.end - leaf.begin);
  std::size_t lefts = leaf.begin, rights = 0;
  for (std::size_t i = leaf.begin; i < leaf.end; ++i) {
    const std::uint32_t row = rows[i];
    const bool left = goes_left[bins_.row(row)[split.column]];
    rows[lefts] = row;
    right_rows_[rights] = row;
    lefts += left;
    rights += !left;
  }
  std::copy_n(right_rows_.begin(), rights, rows.begin() + static_cast<std::ptrdiff_t>(lefts));
  return lefts;
}

float LeafwiseGrower::cover(std::span<const std::uint32_t> rows) const {
  if (weights_.empty()) return static_cast<float>(rows.size());
  double sum = 0;
  for (const auto r : rows) sum += weights_[r];
  return static_cast<float>(sum);
}

GrownTree LeafwiseGrower::grow(std::vector<std::uint32_t>& rows, const Gradients& gradients,
                               std::span<const std::uint8_t> column_on) {
  g_scale_ = gradients.g_scale;
  h_scale_ = gradients.h_scale;
  free_slots_.clear();
  for (std::size_t i = slots_.size(); i-- > 0;) free_slots_.push_back(static_cast<int>(i));
  GrownTree tree;
  leaves_.assign(1, Leaf{});
  Leaf& root = leaves_[0];
  root.end = rows.size();
  for (const auto r : rows) root.total += {gradients.rows[r].g, gradients.rows[r].h, 1};

  const auto build = [&](Leaf& leaf) {
    build_histogram(bins_, std::span(rows).subspan(leaf.begin, leaf.end - leaf.begin), gradients.rows, leaf.total,
                    column_on, slots_[static_cast<std::size_t>(leaf.histogram)], ordered_, options_.arena);
  };
  const auto release = [&](Leaf& leaf) {
    if (leaf.histogram >= 0) free_slots_.push_back(leaf.histogram);
    leaf.histogram = -1;
  };
  // Largest gain first, then the older leaf.
  const auto later = [&](std::uint32_t a, std::uint32_t b) {
    return leaves_[a].best.gain != leaves_[b].best.gain ? leaves_[a].best.gain < leaves_[b].best.gain : a > b;
  };
  std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, decltype(later)> queue(later);
  const auto offer = [&](std::uint32_t leaf) {
    if (leaves_[leaf].best.gain > 0)
      queue.push(leaf);
    else
      release(leaves_[leaf]);
  };
  if (splittable(root) && bins_.cols() > 0) {
    root.histogram = take_slot();
    build(root);
    find_splits(&root, nullptr, column_on);
    offer(0);
  }

  while (!queue.empty() && leaves_.size() < static_cast<std::size_t>(options_.max_leaves)) {
    const std::uint32_t left_id = queue.top();
    queue.pop();
    const auto right_id = static_cast<std::uint32_t>(leaves_.size());
    leaves_.emplace_back();
    Leaf& left = leaves_[left_id];
    Leaf& right = leaves_[right_id];
    const Split split = left.best;
    const auto node = static_cast<std::int32_t>(tree.nodes.size());
    tree.nodes.push_back({split.column, split.last_bin, split.left_bins, ~static_cast<std::int32_t>(left_id),
                          ~static_cast<std::int32_t>(right_id),
                          cover(std::span(rows).subspan(left.begin, left.end - left.begin)),
                          static_cast<float>(split.gain)});
    if (left.parent < 0) {
      tree.root = node;
    } else {
      GrownNode& parent = tree.nodes[static_cast<std::size_t>(left.parent)];
      (left.is_left ? parent.left : parent.right) = node;
    }
    const int parent_slot = left.histogram;
    const std::size_t middle = partition(rows, left, split);
    right.begin = middle;
    right.end = left.end;
    right.total = left.total - split.left;
    right.depth = left.depth + 1;
    right.parent = node;
    left.end = middle;
    left.total = split.left;
    left.depth = right.depth;
    left.parent = node;
    left.is_left = true;
    left.histogram = -1;
    left.best = {};

    Leaf& small = left.total.n <= right.total.n ? left : right;
    Leaf& large = left.total.n <= right.total.n ? right : left;
    const bool large_splits = splittable(large);
    large.histogram = parent_slot;
    if (large_splits || splittable(small)) {
      small.histogram = take_slot();
      build(small);
      find_splits(&small, large_splits ? &large : nullptr, column_on);
    }
    offer(left_id);
    offer(right_id);
  }

  tree.leaf_values.reserve(leaves_.size());
  for (const Leaf& leaf : leaves_) {
    const double h = hessian(leaf.total) + options_.l2;
    const double step = h > 0 ? -static_cast<double>(leaf.total.g) / g_scale_ / h : 0;
    tree.leaf_values.push_back(static_cast<float>(options_.learning_rate * step));
    tree.leaf_cover.push_back(cover(std::span(rows).subspan(leaf.begin, leaf.end - leaf.begin)));
  }
  return tree;
}

}  // namespace redoubt::detail
