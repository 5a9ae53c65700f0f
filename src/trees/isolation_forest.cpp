#include "redoubt/trees/isolation_forest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <numbers>
#include <numeric>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/progress.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/trees/forest.hpp"
#include "trees/grown_tree.hpp"

namespace redoubt {
namespace {

void check(const IsolationForestOptions& o) {
  detail::require_option(o.trees >= 1, "IsolationForest", "trees", o.trees, "at least 1");
  detail::require_option(o.subsample >= 2, "IsolationForest", "subsample", o.subsample, "at least 2");
  detail::require_option(o.max_features > 0 && o.max_features <= 1, "IsolationForest", "max_features", o.max_features,
                         "in (0, 1]");
}

constexpr std::size_t trees_per_block = 8;

/// c(n): mean depth of an unsuccessful search in a binary search tree of n keys.
double mean_path(std::size_t n) {
  if (n < 2) return 0;
  if (n == 2) return 1;
  const auto count = static_cast<double>(n);
  return 2 * (std::log(count - 1) + std::numbers::egamma) - 2 * (count - 1) / count;
}

/// Draws the rows of a tree. Floyd's algorithm, with an open hash table of what is taken.
class Drawer {
 public:
  Drawer(std::size_t bound, std::size_t count, bool replace)
      : bound_(bound), count_(count), replace_(replace), table_(replace ? 0 : std::bit_ceil(4 * count)) {}

  void draw(std::vector<std::uint32_t>& drawn, Random& random) {
    drawn.clear();
    std::fill(table_.begin(), table_.end(), 0u);
    for (std::size_t j = bound_ - count_; j < bound_; ++j) {
      auto candidate = static_cast<std::uint32_t>(random.below(replace_ ? bound_ : j + 1));
      if (!replace_ && !insert(candidate)) insert(candidate = static_cast<std::uint32_t>(j));
      drawn.push_back(candidate);
    }
  }

 private:
  bool insert(std::uint32_t number) {
    std::size_t i = number * 2654435761u;
    for (;; ++i) {
      std::uint32_t& place = table_[i & (table_.size() - 1)];
      if (place == number + 1) return false;
      if (place == 0) {
        place = number + 1;
        return true;
      }
    }
  }
  std::size_t bound_, count_;
  bool replace_;
  std::vector<std::uint32_t> table_;  ///< number + 1; 0: free
};

class IsolationGrower {
 public:
  IsolationGrower(MatrixView<const float> x, std::span<const std::uint32_t> category_counts, std::size_t subsample)
      : x_(x), category_counts_(category_counts), columns_(x.cols()), values_(subsample), right_rows_(subsample) {
    arrays_.category_offsets.push_back(0);
  }
  /// Adds a tree on `rows` (permuted) and `usable` columns at random.
  void grow(std::vector<std::uint32_t>& rows, std::size_t usable, Random& random);
  ForestArrays& arrays() { return arrays_; }

 private:
  struct Job {
    std::size_t begin, end;
    std::int64_t parent;
    bool is_left;
    int depth;
  };
  bool split(const Job& job, const std::vector<std::uint32_t>& rows, std::size_t usable, Random& random);
  std::size_t partition(const Job& job, std::vector<std::uint32_t>& rows);
  bool split_numeric(std::uint32_t column, std::span<const std::uint32_t> rows, Random& random);
  bool split_categorical(std::uint32_t column, std::span<const std::uint32_t> rows, Random& random);
  bool goes_left(std::uint32_t row) const;
  void add_node(std::uint32_t column, float threshold, bool default_left, std::int32_t set);

  MatrixView<const float> x_;
  std::span<const std::uint32_t> category_counts_;
  std::vector<std::uint32_t> columns_;
  std::vector<float> values_;  ///< of the column of the newest numeric split, in the order of the node's rows
  std::vector<std::uint32_t> right_rows_;
  ForestArrays arrays_;
};

void IsolationGrower::add_node(std::uint32_t column, float threshold, bool default_left, std::int32_t set) {
  arrays_.feature.push_back(column);
  arrays_.threshold.push_back(threshold);
  arrays_.flags.push_back(default_left ? missing_left | others_left : 0);
  arrays_.category_set.push_back(set);
  arrays_.left.push_back(0);
  arrays_.right.push_back(0);
  arrays_.gain.push_back(0);
}

/// A uniform cut between the smallest and the largest value; missing values toss a coin per node.
bool IsolationGrower::split_numeric(std::uint32_t column, std::span<const std::uint32_t> rows, Random& random) {
  constexpr float infinite = std::numeric_limits<float>::infinity();
  float low = infinite, high = -infinite;
  const float* const cells = x_.data() + column;
  const std::size_t stride = x_.stride();
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const float v = values_[i] = cells[rows[i] * stride];
    low = v < low ? v : low;  // not by NaN
    high = v > high ? v : high;
  }
  if (!(low < high)) return false;
  auto cut = static_cast<float>(random.uniform(low, high));
  if (!(cut >= low && cut < high)) cut = low;  // rounding, infinities
  add_node(column, cut, random() & 1, -1);
  return true;
}

/// A random subset of the categories that occur; others and missing values toss one coin per node.
bool IsolationGrower::split_categorical(std::uint32_t column, std::span<const std::uint32_t> rows, Random& random) {
  const std::uint32_t categories = category_counts_[column];
  std::vector<std::uint32_t> present;
  for (const auto r : rows)
    if (const float v = x_(r, column); v > -1 && static_cast<double>(v) < categories)
      present.push_back(static_cast<std::uint32_t>(v));
  std::sort(present.begin(), present.end());
  present.erase(std::unique(present.begin(), present.end()), present.end());
  if (present.size() < 2) return false;
  random.shuffle(present);
  const std::size_t lefts = 1 + random.below(present.size() - 1);
  const bool default_left = random() & 1;
  std::vector<std::uint32_t> words((categories + 31) / 32, default_left ? ~0u : 0u);
  for (std::size_t i = 0; i < present.size(); ++i) {
    const std::uint32_t bit = 1u << (present[i] % 32);
    words[present[i] / 32] = i < lefts ? words[present[i] / 32] | bit : words[present[i] / 32] & ~bit;
  }
  arrays_.category_bits.insert(arrays_.category_bits.end(), words.begin(), words.end());
  arrays_.category_offsets.push_back(static_cast<std::uint32_t>(arrays_.category_bits.size()));
  add_node(column, 0, default_left, static_cast<std::int32_t>(arrays_.category_offsets.size() - 2));
  return true;
}

/// Adds a node on a random column in which the rows differ; false if there is none.
bool IsolationGrower::split(const Job& job, const std::vector<std::uint32_t>& rows, std::size_t usable,
                            Random& random) {
  const auto here = std::span(rows).subspan(job.begin, job.end - job.begin);
  for (std::size_t i = 0; i < usable; ++i) {
    std::swap(columns_[i], columns_[i + random.below(usable - i)]);
    const std::uint32_t column = columns_[i];
    const bool categorical = !category_counts_.empty() && category_counts_[column] > 0;
    if (categorical ? split_categorical(column, here, random) : split_numeric(column, here, random)) return true;
  }
  return false;
}

/// Parts the node's rows, those of the left side first, by the newest split; returns where the right side begins.
std::size_t IsolationGrower::partition(const Job& job, std::vector<std::uint32_t>& rows) {
  const bool numeric = arrays_.category_set.back() < 0;
  const float cut = arrays_.threshold.back();
  const bool gaps_left = (arrays_.flags.back() & missing_left) != 0;
  std::size_t left = job.begin, right = 0;
  for (std::size_t i = job.begin; i < job.end; ++i) {
    const std::uint32_t row = rows[i];
    bool is_left;
    if (numeric) {
      const float v = values_[i - job.begin];
      is_left = (v <= cut) | ((v != v) & gaps_left);
    } else {
      is_left = goes_left(row);
    }
    rows[left] = row;
    right_rows_[right] = row;
    left += is_left;
    right += !is_left;
  }
  std::copy_n(right_rows_.data(), right, rows.data() + left);
  return left;
}

/// Side of a row at the newest node, which is categorical.
bool IsolationGrower::goes_left(std::uint32_t row) const {
  const float v = x_(row, arrays_.feature.back());
  const std::uint32_t first = arrays_.category_offsets[arrays_.category_offsets.size() - 2];
  if (!(v > -1 && static_cast<double>(v) < category_counts_[arrays_.feature.back()])) return arrays_.flags.back() != 0;
  const auto code = static_cast<std::uint32_t>(v);
  return arrays_.category_bits[first + code / 32] >> (code % 32) & 1;
}

void IsolationGrower::grow(std::vector<std::uint32_t>& rows, std::size_t usable, Random& random) {
  std::iota(columns_.begin(), columns_.end(), 0u);
  if (usable < columns_.size())
    for (std::size_t i = 0; i < usable; ++i) std::swap(columns_[i], columns_[i + random.below(columns_.size() - i)]);
  const int max_depth = std::bit_width(rows.size() - 1);  // ceil(log2)
  std::vector<Job> jobs{{0, rows.size(), -1, false, 0}};
  arrays_.outputs_of.push_back(0);
  while (!jobs.empty()) {
    const Job job = jobs.back();
    jobs.pop_back();
    const std::size_t count = job.end - job.begin;
    std::int32_t child;
    if (count > 1 && job.depth < max_depth && split(job, rows, usable, random)) {
      child = static_cast<std::int32_t>(arrays_.feature.size() - 1);
      arrays_.cover.push_back(static_cast<float>(count));
      const std::size_t cut = partition(job, rows);
      jobs.push_back({cut, job.end, child, false, job.depth + 1});
      jobs.push_back({job.begin, cut, child, true, job.depth + 1});
    } else {
      child = ~static_cast<std::int32_t>(arrays_.leaf_values.size());
      arrays_.leaf_values.push_back(static_cast<float>(job.depth + mean_path(count)));
      arrays_.leaf_cover.push_back(static_cast<float>(count));
    }
    if (job.parent < 0)
      arrays_.roots.push_back(child);
    else
      (job.is_left ? arrays_.left : arrays_.right)[static_cast<std::size_t>(job.parent)] = child;
  }
}

/// Adds the trees of `part` to `whole`.
void append(ForestArrays& whole, const ForestArrays& part) {
  const auto add = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
  const auto nodes = static_cast<std::int32_t>(whole.feature.size());
  const auto leaves = static_cast<std::int32_t>(whole.leaf_values.size());
  const auto sets = static_cast<std::int32_t>(whole.category_offsets.size() - 1);
  const auto bits = static_cast<std::uint32_t>(whole.category_bits.size());
  const auto moved = [&](std::int32_t child) { return child >= 0 ? child + nodes : child - leaves; };
  for (const auto root : part.roots) whole.roots.push_back(moved(root));
  for (const auto child : part.left) whole.left.push_back(moved(child));
  for (const auto child : part.right) whole.right.push_back(moved(child));
  for (const auto set : part.category_set) whole.category_set.push_back(set < 0 ? set : set + sets);
  for (std::size_t i = 1; i < part.category_offsets.size(); ++i)
    whole.category_offsets.push_back(part.category_offsets[i] + bits);
  add(whole.outputs_of, part.outputs_of);
  add(whole.feature, part.feature);
  add(whole.threshold, part.threshold);
  add(whole.flags, part.flags);
  add(whole.cover, part.cover);
  add(whole.gain, part.gain);
  add(whole.category_bits, part.category_bits);
  add(whole.leaf_values, part.leaf_values);
  add(whole.leaf_cover, part.leaf_cover);
}

}  // namespace

float IsolationForest::threshold(std::span<const float> scores, double contamination) {
  detail::require_option(contamination > 0 && contamination <= 0.5, "IsolationForest", "contamination", contamination,
                         "in (0, 0.5]");
  if (scores.empty()) detail::fail(errc::invalid_argument, "IsolationForest: a threshold of no scores");
  std::vector<float> sorted(scores.begin(), scores.end());
  const double place = (1 - contamination) * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const auto first = sorted.begin() + static_cast<std::ptrdiff_t>(below);
  std::nth_element(sorted.begin(), first, sorted.end());
  const float low = *first;
  if (below + 1 == sorted.size()) return low;
  const float high = *std::min_element(first + 1, sorted.end());
  return static_cast<float>(low + (place - static_cast<double>(below)) * (high - low));
}

Shared<const Forest> IsolationForest::fit_encoded(MatrixView<const float> x,
                                                  std::span<const std::uint32_t> category_counts) const {
  check(options);
  if (!category_counts.empty() && category_counts.size() != x.cols())
    detail::fail(errc::shape_mismatch, fmt::format("IsolationForest: {} category counts for a matrix of {} x {}",
                                                   category_counts.size(), x.rows(), x.cols()));
  if (x.rows() < 2)
    detail::fail(errc::invalid_argument, fmt::format("IsolationForest: needs at least 2 rows, there is {}", x.rows()));
  const std::size_t subsample = std::min<std::size_t>(static_cast<std::size_t>(options.subsample), x.rows());
  const auto share = static_cast<std::size_t>(options.max_features * static_cast<double>(x.cols()));
  const std::size_t usable = std::max<std::size_t>(share, 1);
  const auto trees = static_cast<std::size_t>(options.trees);
  std::vector<ForestArrays> parts((trees + trees_per_block - 1) / trees_per_block);
  std::mutex progress_mutex;
  std::size_t done = 0;
  parallel_for(
      trees, trees_per_block,
      [&](std::size_t begin, std::size_t end) {
        IsolationGrower grower(x, category_counts, subsample);
        Drawer drawer(x.rows(), subsample, options.bootstrap);
        std::vector<std::uint32_t> rows;
        for (std::size_t t = begin; t < end; ++t) {
          Random random(options.seed, t);
          drawer.draw(rows, random);
          grower.grow(rows, usable, random);
          if (!options.progress) continue;
          const std::lock_guard lock(progress_mutex);
          options.progress->update("trees", ++done, trees);
        }
        parts[begin / trees_per_block] = std::move(grower.arrays());
      },
      options.arena);
  ForestArrays arrays = std::move(parts[0]);
  for (std::size_t i = 1; i < parts.size(); ++i) append(arrays, parts[i]);
  ForestShape shape;
  shape.inputs = static_cast<std::uint32_t>(x.cols());
  shape.outputs = 1;
  shape.link = ForestLink::isolation;
  shape.normaliser = static_cast<float>(mean_path(subsample));
  shape.base = {0.0f};
  return Shared<const Forest>::make(std::move(shape), std::move(arrays));
}

Model IsolationForest::fit(const Dataset& data) const {
  data.require_trainable(false);
  check(options);
  Tensor<float> encoded;
  Encoder encoder = Encoder::fit_apply(data, options.encoder, encoded);
  auto forest = fit_encoded(encoded, encoder.category_counts());
  return detail::make_tree_model("isolation_forest",
                                 fmt::format("trees={} subsample={} max_features={} bootstrap={}", options.trees,
                                             options.subsample, options.max_features, options.bootstrap),
                                 options.seed, data, Task::none, std::move(encoder), std::move(forest));
}

}  // namespace redoubt
