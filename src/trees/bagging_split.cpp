#include "trees/bagging_split.hpp"

#include <algorithm>
#include <bit>
#include <span>
#include <type_traits>

namespace redoubt::detail {
namespace {

constexpr std::size_t few_rows = 64;        // a kernel takes them without bins
constexpr std::uint32_t light_weights = 8;  // below

}  // namespace

template <class Sums>
bool BaggedSearch<Sums>::start_node(const std::uint32_t* ids, const Row* rows, std::size_t count) {
  ids_ = ids;
  rows_ = rows;
  count_ = count;
  const bool pure = sums_.start_node(rows, count);
  if constexpr (std::is_same_v<Sums, TwoClassSums>) {
    few_.count = 0;
    planned_ = false;
    if (pure || min_rows_ > 1) return pure;
    if (random_cuts_) {
      planes_.resize(std::max(planes_.size(), (count + 63) / 64));
      planned_ = kernels_.planes(rows, count, planes_.data()) >> 32 < light_weights;
    } else if (count <= few_rows) {
      kernels::detail::TwoClassRows few{rows, count, sums_.node(), {}};
      if (kernels_.planes(rows, count, &few.planes) >> 32 < light_weights) few_ = few;
    }
  }
  return pure;
}

/// Whether the present left side is allowed and the best so far.
template <class Sums>
inline bool BaggedSearch<Sums>::consider(BaggedSplit& best) const {
  if (min_rows_ > 1 && (left_rows_ < min_rows_ || count_ - left_rows_ < min_rows_)) return false;
  const double score = sums_.split_score();
  if (!(score > best.score)) return false;
  best.score = score;
  return true;
}

template <class Sums>
template <bool Counted>
void BaggedSearch<Sums>::fill_bins(const std::uint8_t* bytes, std::uint32_t bins) {
  const std::uint32_t* const ids = ids_;
  const Row* const rows = rows_;
  const auto add = [&](std::size_t i) {
    const std::uint8_t b = bytes[ids[i]];
    sums_.add(b, rows[i]);
    if constexpr (Counted) ++counts_[b];
    return b;
  };
  present_count_ = 0;
  if (2 * count_ >= bins) {
    for (std::size_t i = 0; i < count_; ++i) add(i);
    for (std::uint32_t b = 0; b < bins; ++b) {
      present_[present_count_] = b;
      present_count_ += sums_.any(b);
    }
    return;
  }
  // Few rows: only their bins are looked at.
  std::array<std::uint64_t, 4> seen{};
  for (std::size_t i = 0; i < count_; ++i) {
    const std::uint8_t b = add(i);
    seen[b / 64] |= std::uint64_t{1} << (b % 64);
  }
  for (std::uint32_t w = 0; w < 4; ++w)
    for (std::uint64_t bits = seen[w]; bits != 0; bits &= bits - 1)
      present_[present_count_++] = w * 64 + static_cast<std::uint32_t>(std::countr_zero(bits));
}

/// Two classes, the best cut of values, any number of rows in a leaf. Returns whether the rows differ in the column.
template <class Sums>
bool BaggedSearch<Sums>::try_by_kernel(std::uint32_t column, const std::uint8_t* bytes, BaggedSplit& best) {
  if constexpr (std::is_same_v<Sums, TwoClassSums>) {
    const ColumnBins& cuts = bins_.column(column);
    kernels::detail::TwoClassCut found;
    std::uint64_t missing = 0;
    if (few_.count > 0) {
      alignas(64) std::array<std::uint8_t, few_rows> codes;
      for (std::size_t i = 0; i < count_; ++i) codes[i] = bytes[ids_[i]];
      kernels_.cut_rows(few_, codes.data(), cuts.missing(), &found);
      if (found.score > best.score && bins_.place(column).any_missing)
        for (std::size_t i = 0; i < count_; ++i) missing += codes[i] == cuts.missing() ? rows_[i] : 0;
    } else {
      std::uint64_t* const bins = sums_.bins();
      const std::uint32_t* const ids = ids_;
      const Row* const rows = rows_;
      for (std::size_t i = 0; i < count_; ++i) bins[bytes[ids[i]]] += rows[i];
      missing = bins[cuts.missing()];
      kernels_.cut(bins, cuts.count, missing, sums_.node(), &found);
      std::fill_n(bins, cuts.count + 1, std::uint64_t{0});
    }
    if (found.score > best.score) {
      best.score = found.score;
      best.column = column;
      best.numeric = true;
      best.missing_left = found.missing_left != 0;
      best.last_bin = found.bin;
      if (missing == 0)
        best.missing_left = 2 * (found.left >> 32) > sums_.node() >> 32;
      else if (!best.missing_left && found.left + missing == sums_.node())
        best.last_bin = cuts.count - 1;  // values against gaps: then every value goes left
    }
    return found.score >= 0;
  }
  return false;
}

template <class Sums>
void BaggedSearch<Sums>::try_numeric(std::uint32_t column, BaggedSplit& best) {
  const ColumnBins& cuts = bins_.column(column);
  const std::uint32_t missing = cuts.missing();
  const bool any_missing = present_[present_count_ - 1] == missing;
  const std::size_t values = present_count_ - any_missing;
  for (std::size_t i = 0; i < values; ++i) {
    // All values on one side, and nothing is missing: no split.
    if (!any_missing && i + 1 == values) break;
    const std::uint32_t b = present_[i];
    move_left(b);
    bool better = consider(best), missing_left = false;
    if (any_missing) {
      move_left(missing);
      if (consider(best)) better = missing_left = true;
      move_back(missing);
    } else if (better) {
      missing_left = 2 * sums_.left_weight() > sums_.node_weight();
    }
    if (!better) continue;
    best.column = column;
    best.numeric = true;
    best.missing_left = missing_left;
    // Values against gaps: then every value goes left.
    best.last_bin = any_missing && !missing_left && i + 1 == values ? cuts.count - 1 : b;
  }
}

/// Sorted by mean, the best of all subsets is a prefix: for values and two classes (Fisher 1958, Breiman et al. 1984).
/// With random cuts: one random subset.
template <class Sums>
void BaggedSearch<Sums>::try_categorical(std::uint32_t column, Random& random, BaggedSplit& best) {
  const ColumnBins& cuts = bins_.column(column);
  const std::span<std::uint32_t> present(present_.data(), present_count_);
  std::size_t first = 1, last = present.size() - 1;  // sizes of the prefixes on trial
  if (random_cuts_) {
    random.shuffle(present);
    first = last = 1 + random.below(present.size() - 1);
  } else {
    std::stable_sort(present.begin(), present.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return sums_.mean(a) < sums_.mean(b); });
  }
  std::size_t best_prefix = 0;
  bool heavier_left = false;
  for (std::size_t size = 1; size <= last; ++size) {
    move_left(present[size - 1]);
    if (size < first || !consider(best)) continue;
    best_prefix = size;
    heavier_left = 2 * sums_.left_weight() > sums_.node_weight();
  }
  if (best_prefix == 0) return;
  best.column = column;
  best.numeric = false;
  best.left_bins = {};
  for (std::size_t i = 0; i < best_prefix; ++i) best.left_bins.insert(present[i]);
  if (!heavier_left) return;
  // Categories that this node does not know follow the heavier side.
  BinSet known;
  for (const std::uint32_t b : present) known.insert(b);
  for (std::uint32_t b = 0; b <= cuts.count; ++b)
    if (!known.contains(b)) best.left_bins.insert(b);
}

/// One cut between two bins of the node, each as likely. No bins are filled: the rows are compared with the cut.
template <class Sums>
bool BaggedSearch<Sums>::try_random_cut(std::uint32_t column, const std::uint8_t* bytes, Random& random,
                                        BaggedSplit& best) {
  const ColumnBins& cuts = bins_.column(column);
  const std::uint8_t missing = cuts.missing();
  const std::size_t count = count_;
  const std::uint32_t* const ids = ids_;
  const Row* const rows = rows_;
  cells_.resize(std::max(cells_.size(), count));
  for (std::size_t i = 0; i < count; ++i) cells_[i] = bytes[ids[i]];
  std::uint8_t low, high;
  const bool any_missing = kernels_.bounds(cells_.data(), count, missing, &low, &high);
  if (low > high || (low == high && !any_missing)) return false;
  const bool gaps = low == high;  // values against gaps
  const auto cut = static_cast<std::uint8_t>(gaps ? low : low + random.below(high - low));
  const bool counted = min_rows_ > 1;
  const auto move_left = [&](std::uint8_t first, std::uint8_t last) {
    if constexpr (std::is_same_v<Sums, TwoClassSums>) {
      if (planned_) {
        sums_.add_left(kernels_.sum_to(planes_.data(), cells_.data(), count, last) -
                       (first > 0 ? kernels_.sum_to(planes_.data(), cells_.data(), count, first - 1u) : 0));
        return;
      }
    }
    for (std::size_t i = 0; i < count; ++i) {
      const bool left = (cells_[i] >= first) & (cells_[i] <= last);
      sums_.add_left_if(left, rows[i]);
      if (counted) left_rows_ += left;
    }
  };
  move_left(0, cut);
  bool better = consider(best), missing_left = false;
  if (any_missing && !gaps) {
    move_left(missing, missing);
    if (consider(best)) better = missing_left = true;
  } else if (better && !any_missing) {
    missing_left = 2 * sums_.left_weight() > sums_.node_weight();
  }
  if (!better) return true;
  best.column = column;
  best.numeric = true;
  best.missing_left = missing_left;
  best.last_bin = gaps ? cuts.count - 1 : cut;
  return true;
}

template <class Sums>
bool BaggedSearch<Sums>::try_column(std::uint32_t column, const std::uint8_t* bytes, Random& random,
                                    BaggedSplit& best) {
  const ColumnBins& cuts = bins_.column(column);
  if (std::is_same_v<Sums, TwoClassSums> && cuts.categories == 0 && !random_cuts_ && min_rows_ <= 1)
    return try_by_kernel(column, bytes, best);
  sums_.start_left();
  left_rows_ = 0;
  if (random_cuts_ && cuts.categories == 0) return try_random_cut(column, bytes, random, best);
  if (min_rows_ > 1)
    fill_bins<true>(bytes, cuts.count + 1);
  else
    fill_bins<false>(bytes, cuts.count + 1);
  if (present_count_ >= 2) {
    if (cuts.categories > 0)
      try_categorical(column, random, best);
    else
      try_numeric(column, best);
  }
  for (std::size_t i = 0; i < present_count_; ++i) {
    sums_.clear(present_[i]);
    counts_[present_[i]] = 0;
  }
  return present_count_ >= 2;
}

template class BaggedSearch<TwoClassSums>;
template class BaggedSearch<ClassSums<std::uint32_t>>;
template class BaggedSearch<ClassSums<double>>;
template class BaggedSearch<MeanSums>;

}  // namespace redoubt::detail
