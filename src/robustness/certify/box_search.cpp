#include "robustness/certify/box_search.hpp"

#include <algorithm>
#include <array>

namespace redoubt::detail {

BoxSearch::BoxSearch(std::span<const CellRange> box) : whole_(box.begin(), box.end()), box_(whole_) {}

void BoxSearch::begin_list() { lists_.push_back({static_cast<std::uint32_t>(items_.size()), 0, 0}); }

void BoxSearch::add(std::int64_t value, std::span<const CellRange> ranges) {
  items_.push_back({value, static_cast<std::uint32_t>(ranges_.size()), static_cast<std::uint32_t>(ranges.size())});
  ++lists_.back().count;
  for (const CellRange& r : ranges) {
    ranges_.push_back(r);
    lists_.back().columns |= std::uint64_t{1} << (r.column % 64);
  }
}

bool BoxSearch::meets(const Item& item) const noexcept {
  const CellRange* const ranges = ranges_.data() + item.first;
  for (std::uint32_t i = 0; i < item.count; ++i) {
    const CellRange& here = box_[ranges[i].column];
    if (ranges[i].lo > here.hi || ranges[i].hi < here.lo) return false;
  }
  return true;
}

/// All pairs of boxes of `a` and `b` that meet; false, and nothing is kept, if they are more than `cap`.
bool BoxSearch::join(const List& a, const List& b, std::size_t cap, List& joint) {
  const std::size_t items = items_.size(), ranges = ranges_.size();
  joint = {static_cast<std::uint32_t>(items), 0, a.columns | b.columns};
  for (std::uint32_t i = a.first; i < a.first + a.count; ++i)
    for (std::uint32_t j = b.first; j < b.first + b.count; ++j) {
      const Item x = items_[i], y = items_[j];
      const std::size_t begin = ranges_.size();
      std::uint32_t p = 0, q = 0;
      bool meet = true;
      while (meet && (p < x.count || q < y.count)) {
        const CellRange* left = p < x.count ? &ranges_[x.first + p] : nullptr;
        const CellRange* right = q < y.count ? &ranges_[y.first + q] : nullptr;
        CellRange both;
        if (!right || (left && left->column < right->column)) {
          both = *left, ++p;
        } else if (!left || right->column < left->column) {
          both = *right, ++q;
        } else {
          both = {left->column, std::max(left->lo, right->lo), std::min(left->hi, right->hi)};
          meet = both.lo <= both.hi;
          ++p, ++q;
        }
        ranges_.push_back(both);
      }
      if (!meet) {
        ranges_.resize(begin);
        continue;
      }
      if (joint.count == cap) {
        items_.resize(items);
        ranges_.resize(ranges);
        return false;
      }
      items_.push_back(
          {x.value + y.value, static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(ranges_.size() - begin)});
      ++joint.count;
    }
  result_.states += static_cast<std::size_t>(a.count) * b.count / 16;
  return true;
}

/// Joins neighbours while they have at most `cap` boxes together.
void BoxSearch::merge(std::size_t cap) {
  std::vector<List> merged;
  for (const List& list : lists_) {
    List joint;
    if (!merged.empty() && join(merged.back(), list, cap, joint))
      merged.back() = joint;
    else
      merged.push_back(list);
  }
  lists_ = std::move(merged);
}

void BoxSearch::filter(std::span<const std::uint32_t> from, Slice& slice) {
  slice = {pool_.size(), 0, none, none};
  for (const std::uint32_t id : from) {
    const Item& item = items_[id];
    if (!meets(item)) continue;
    pool_.push_back(id);
    ++slice.count;
    if (item.value < slice.least) {
      slice.second = slice.least;
      slice.least = item.value;
    } else {
      slice.second = std::min(slice.second, item.value);
    }
  }
}

/// The whole box with all boxes of all lists; its bound.
std::int64_t BoxSearch::start() {
  box_ = whole_;
  pool_.clear();
  if (levels_.empty()) levels_.emplace_back();
  levels_[0].resize(lists_.size());
  std::vector<std::uint32_t> ids;
  std::int64_t bound = constant_;
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    ids.clear();
    for (std::uint32_t i = 0; i < lists_[l].count; ++i) ids.push_back(lists_[l].first + i);
    filter(ids, levels_[0][l]);
    bound += levels_[0][l].least;
  }
  return bound;
}

void BoxSearch::explore(std::size_t level, std::int64_t bound) {
  if (result_.states >= max_states_) {
    stop_ = true;
    pruned_ = std::min(pruned_, bound);
    return;
  }
  ++result_.states;
  // The list whose best box is missed most.
  std::size_t chosen = lists_.size();
  std::int64_t regret = -1;
  for (std::size_t l = 0; l < lists_.size(); ++l) {
    const Slice& s = levels_[level][l];
    if (s.count > 1 && s.second - s.least > regret) {
      regret = s.second - s.least;
      chosen = l;
    }
  }
  if (chosen == lists_.size()) {
    if (bound < result_.upper) {
      result_.upper = bound;
      result_.box = box_;
      if (goal_ != none && bound <= goal_) stop_ = true;
    }
    return;
  }
  if (levels_.size() == level + 1) levels_.emplace_back();
  const Slice branch = levels_[level][chosen];
  std::vector<std::uint32_t> order(pool_.begin() + static_cast<std::ptrdiff_t>(branch.first),
                                   pool_.begin() + static_cast<std::ptrdiff_t>(branch.first + branch.count));
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return items_[a].value != items_[b].value ? items_[a].value < items_[b].value : a < b;
  });
  std::vector<CellRange> undo;
  const std::size_t pool = pool_.size();
  for (const std::uint32_t id : order) {
    const Item item = items_[id];
    const auto hopeless = [&](std::int64_t b) { return b >= result_.upper || (goal_ != none && b > goal_); };
    const std::int64_t rest = bound - branch.least + item.value;
    if (stop_ || hopeless(rest)) {
      pruned_ = std::min(pruned_, rest);
      break;  // the others are not better
    }
    undo.clear();
    std::uint64_t changed = 0;
    for (std::uint32_t i = item.first; i < item.first + item.count; ++i) {
      CellRange& here = box_[ranges_[i].column];
      const std::int32_t lo = std::max(here.lo, ranges_[i].lo), hi = std::min(here.hi, ranges_[i].hi);
      if (lo == here.lo && hi == here.hi) continue;
      undo.push_back(here);
      here.lo = lo, here.hi = hi;
      changed |= std::uint64_t{1} << (here.column % 64);
    }
    std::int64_t child = constant_;
    auto& slices = levels_[level + 1];
    slices = levels_[level];
    for (std::size_t l = 0; l < lists_.size(); ++l) {
      Slice& s = slices[l];
      if (l == chosen) {
        s = {pool_.size(), 1, item.value, none};
        pool_.push_back(id);
      } else if (s.count > 1 && lists_[l].columns & changed) {
        const Slice from = s;
        // filter appends to the pool that `from` lies in.
        pool_.reserve(pool_.size() + from.count);
        filter({pool_.data() + from.first, from.count}, s);
      }
      child += s.least;
    }
    if (hopeless(child))
      pruned_ = std::min(pruned_, child);
    else
      explore(level + 1, child);
    for (const CellRange& before : undo) box_[before.column] = before;
    pool_.resize(pool);
  }
}

void BoxSearch::dive(std::int64_t goal, std::size_t max_states) {
  goal_ = goal;
  max_states_ = max_states;
  pruned_ = none;
  stop_ = false;
  const std::int64_t bound = start();
  result_.lower = std::max(result_.lower, bound);
  if (goal != none && bound > goal) return;
  explore(0, bound);
  // Found early: what was not looked at is not below the bound of the whole.
  const bool found = goal != none && result_.upper <= goal;
  if (!found) result_.lower = std::max(result_.lower, std::min(pruned_, result_.upper));
}

BoxSearch::Result BoxSearch::minimise(std::int64_t goal, std::size_t max_states) {
  std::vector<List> open;
  for (const List& list : lists_)
    if (list.count == 1)
      constant_ += items_[list.first].value;
    else if (list.count > 1)
      open.push_back(list);
  lists_ = std::move(open);
  result_ = {};
  result_.lower = std::numeric_limits<std::int64_t>::min();
  const auto done = [&] {
    return result_.lower == result_.upper || (goal != none && (result_.upper <= goal || result_.lower > goal)) ||
           result_.states >= max_states;
  };
  // Small counterexamples are found at once, small proofs too; the rest needs better bounds.
  dive(goal, std::min<std::size_t>(max_states, 256));
  for (const std::size_t cap : std::array<std::size_t, 3>{64, 512, 4096}) {
    if (done()) break;
    merge(cap);
    dive(goal, cap == 4096 ? max_states : std::min(max_states, result_.states + 8 * cap));
  }
  return std::move(result_);
}

}  // namespace redoubt::detail
