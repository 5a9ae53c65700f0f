#include "redoubt/trees/isolation_forest.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <numeric>
#include <unordered_set>

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
}

/// c(n): mean depth of an unsuccessful search in a binary search tree of n keys.
double mean_path(std::size_t n) {
  if (n < 2) return 0;
  if (n == 2) return 1;
  const auto count = static_cast<double>(n);
  return 2 * (std::log(count - 1) + std::numbers::egamma) - 2 * (count - 1) / count;
}

/// `count` distinct numbers below `bound` (Floyd's algorithm).
std::vector<std::uint32_t> draw(std::size_t bound, std::size_t count, Random& random) {
  std::vector<std::uint32_t> drawn;
  std::unordered_set<std::uint32_t> taken;
  for (std::size_t j = bound - count; j < bound; ++j) {
    auto candidate = static_cast<std::uint32_t>(random.below(j + 1));
    if (!taken.insert(candidate).second) taken.insert(candidate = static_cast<std::uint32_t>(j));
    drawn.push_back(candidate);
  }
  return drawn;
}

class IsolationGrower {
 public:
  IsolationGrower(MatrixView<const float> x, std::span<const std::uint32_t> category_counts)
      : x_(x), category_counts_(category_counts), columns_(x.cols()) {
    std::iota(columns_.begin(), columns_.end(), 0u);
    arrays_.category_offsets.push_back(0);
  }
  void grow(std::vector<std::uint32_t> rows, Random& random);
  ForestArrays take() { return std::move(arrays_); }

 private:
  struct Job {
    std::size_t begin, end;
    std::int64_t parent;
    bool is_left;
    int depth;
  };
  bool split(const Job& job, const std::vector<std::uint32_t>& rows, Random& random);
  bool split_numeric(std::uint32_t column, std::span<const std::uint32_t> rows, Random& random);
  bool split_categorical(std::uint32_t column, std::span<const std::uint32_t> rows, Random& random);
  bool goes_left(std::uint32_t row) const;
  void add_node(std::uint32_t column, float threshold, bool default_left, std::int32_t set);

  MatrixView<const float> x_;
  std::span<const std::uint32_t> category_counts_;
  std::vector<std::uint32_t> columns_;
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
  float low = 0, high = 0;
  bool any = false;
  for (const auto r : rows) {
    const float v = x_(r, column);
    if (v != v) continue;
    low = any ? std::min(low, v) : v;
    high = any ? std::max(high, v) : v;
    any = true;
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
bool IsolationGrower::split(const Job& job, const std::vector<std::uint32_t>& rows, Random& random) {
  const auto here = std::span(rows).subspan(job.begin, job.end - job.begin);
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::swap(columns_[i], columns_[i + random.below(columns_.size() - i)]);
    const std::uint32_t column = columns_[i];
    const bool categorical = !category_counts_.empty() && category_counts_[column] > 0;
    if (categorical ? split_categorical(column, here, random) : split_numeric(column, here, random)) return true;
  }
  return false;
}

/// Side of a row at the newest node.
bool IsolationGrower::goes_left(std::uint32_t row) const {
  const float v = x_(row, arrays_.feature.back());
  if (arrays_.category_set.back() < 0)
    return v != v ? (arrays_.flags.back() & missing_left) != 0 : v <= arrays_.threshold.back();
  const std::uint32_t first = arrays_.category_offsets[arrays_.category_offsets.size() - 2];
  if (!(v > -1 && static_cast<double>(v) < category_counts_[arrays_.feature.back()])) return arrays_.flags.back() != 0;
  const auto code = static_cast<std::uint32_t>(v);
  return arrays_.category_bits[first + code / 32] >> (code % 32) & 1;
}

void IsolationGrower::grow(std::vector<std::uint32_t> rows, Random& random) {
  const int max_depth = std::bit_width(rows.size() - 1);  // ceil(log2)
  std::vector<Job> jobs{{0, rows.size(), -1, false, 0}};
  arrays_.outputs_of.push_back(0);
  while (!jobs.empty()) {
    const Job job = jobs.back();
    jobs.pop_back();
    const std::size_t count = job.end - job.begin;
    std::int32_t child;
    if (count > 1 && job.depth < max_depth && split(job, rows, random)) {
      child = static_cast<std::int32_t>(arrays_.feature.size() - 1);
      arrays_.cover.push_back(static_cast<float>(count));
      const auto first = rows.begin() + static_cast<std::ptrdiff_t>(job.begin);
      const auto middle = std::stable_partition(first, rows.begin() + static_cast<std::ptrdiff_t>(job.end),
                                                [&](std::uint32_t r) { return goes_left(r); });
      const auto cut = static_cast<std::size_t>(middle - rows.begin());
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

}  // namespace

Shared<const Forest> IsolationForest::fit_encoded(MatrixView<const float> x,
                                                  std::span<const std::uint32_t> category_counts) const {
  check(options);
  if (!category_counts.empty() && category_counts.size() != x.cols())
    detail::fail(errc::shape_mismatch, fmt::format("IsolationForest: {} category counts for a matrix of {} x {}",
                                                   category_counts.size(), x.rows(), x.cols()));
  if (x.rows() < 2)
    detail::fail(errc::invalid_argument, fmt::format("IsolationForest: needs at least 2 rows, there is {}", x.rows()));
  const std::size_t subsample = std::min<std::size_t>(static_cast<std::size_t>(options.subsample), x.rows());
  IsolationGrower grower(x, category_counts);
  for (std::size_t t = 0; t < static_cast<std::size_t>(options.trees); ++t) {
    Random random(options.seed, t);
    grower.grow(draw(x.rows(), subsample, random), random);
    if (options.progress) options.progress->update("trees", t + 1, static_cast<std::size_t>(options.trees));
  }
  ForestShape shape;
  shape.inputs = static_cast<std::uint32_t>(x.cols());
  shape.outputs = 1;
  shape.link = ForestLink::isolation;
  shape.normaliser = static_cast<float>(mean_path(subsample));
  shape.base = {0.0f};
  return Shared<const Forest>::make(std::move(shape), grower.take());
}

Model IsolationForest::fit(const Dataset& data) const {
  data.require_trainable(false);
  check(options);
  Tensor<float> encoded;
  Encoder encoder = Encoder::fit_apply(data, options.encoder, encoded);
  auto forest = fit_encoded(encoded, encoder.category_counts());
  return detail::make_tree_model("isolation_forest",
                                 fmt::format("trees={} subsample={}", options.trees, options.subsample), options.seed,
                                 data, Task::none, std::move(encoder), std::move(forest));
}

}  // namespace redoubt
