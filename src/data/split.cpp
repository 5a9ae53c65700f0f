#include "redoubt/data/split.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <unordered_map>
#include <unordered_set>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"

namespace redoubt {

namespace {

// Streams of the seed, so that the parts of a split do not share random numbers.
constexpr std::uint64_t stream_rows = 0x5350'4c49'5400ull, stream_sources = 0x5350'4c49'5401ull,
                        stream_folds = 0x5350'4c49'5402ull;

std::vector<std::uint64_t> feature_hashes(const Dataset& data) {
  std::vector<std::uint64_t> hashes(data.rows());
  parallel_for(data.rows(), 1024, [&](std::size_t begin, std::size_t end) {
    for (std::size_t row = begin; row < end; ++row) hashes[row] = data.feature_hash(row);
  });
  return hashes;
}

/// Rows that must stay together, numbered by their first row.
struct Groups {
  std::vector<std::uint32_t> of_row;
  std::vector<std::uint32_t> first_row;
  std::vector<std::uint32_t> size;
};

Groups group_duplicates(const Dataset& data) {
  const std::vector<std::uint64_t> hashes = feature_hashes(data);
  Groups groups;
  std::unordered_map<std::uint64_t, std::uint32_t> seen;
  seen.reserve(hashes.size());
  for (std::size_t row = 0; row < hashes.size(); ++row) {
    const auto [entry, fresh] = seen.try_emplace(hashes[row], static_cast<std::uint32_t>(groups.size.size()));
    if (fresh) {
      groups.first_row.push_back(static_cast<std::uint32_t>(row));
      groups.size.push_back(0);
    }
    groups.of_row.push_back(entry->second);
    ++groups.size[entry->second];
  }
  return groups;
}

/// Groups per stratum (class of the first row; one stratum unless the task is classification), each in random order.
std::vector<std::vector<std::uint64_t>> shuffled_strata(const Dataset& data, const Groups& groups, std::uint64_t seed,
                                                        std::uint64_t stream) {
  const bool classes = data.task() == Task::classification;
  std::vector<std::vector<std::uint64_t>> strata(classes ? data.classes().size() + 1 : 1);
  for (std::size_t g = 0; g < groups.size.size(); ++g) {
    std::size_t stratum = 0;
    if (classes) {
      const std::int32_t label = data.labels()[groups.first_row[g]];
      stratum = label < 0 ? strata.size() - 1 : static_cast<std::size_t>(label);
    }
    strata[stratum].push_back(g);
  }
  Random random(seed, stream);
  for (auto& stratum : strata) random.shuffle(std::span<std::uint64_t>(stratum));
  return strata;
}

/// Quotas of `fraction` of each size that sum to round(fraction * total): largest remainders, ties to the first.
std::vector<std::uint64_t> quotas(const std::vector<std::uint64_t>& sizes, double fraction) {
  std::vector<std::uint64_t> result(sizes.size());
  std::vector<double> remainder(sizes.size());
  const auto total = std::accumulate(sizes.begin(), sizes.end(), std::uint64_t{0});
  auto left = static_cast<std::int64_t>(std::llround(fraction * static_cast<double>(total)));
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const double exact = fraction * static_cast<double>(sizes[i]);
    result[i] = static_cast<std::uint64_t>(exact);
    remainder[i] = exact - std::floor(exact);
    left -= static_cast<std::int64_t>(result[i]);
  }
  std::vector<std::size_t> order(sizes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return remainder[a] > remainder[b]; });
  for (std::size_t i = 0; left > 0 && i < order.size(); ++i, --left) ++result[order[i]];
  return result;
}

void check_fraction(double test_fraction) {
  if (!(test_fraction > 0 && test_fraction < 1))
    detail::fail(errc::invalid_argument, fmt::format("test_fraction = {} is not in (0, 1)", test_fraction));
}

Split take_sides(const Dataset& data, const std::vector<std::size_t>& train, const std::vector<std::size_t>& test,
                 const char* why) {
  if (train.empty() || test.empty())
    detail::fail(errc::invalid_argument, fmt::format("the {} side of the split of {} rows would be empty: {}",
                                                     train.empty() ? "train" : "test", data.rows(), why));
  return {data.take(train), data.take(test)};
}

/// Removes from `test` the rows that equal a row of `train`.
void drop_seen(const Dataset& data, const std::vector<std::size_t>& train, std::vector<std::size_t>& test) {
  std::unordered_set<std::uint64_t> seen;
  seen.reserve(train.size());
  for (const std::size_t row : train) seen.insert(data.feature_hash(row));
  std::erase_if(test, [&](std::size_t row) { return seen.contains(data.feature_hash(row)); });
}

std::vector<std::int64_t> times_of(const Dataset& data) {
  const auto times = data.times();
  if (times.empty()) detail::fail(errc::invalid_argument, "a split by time needs a column with the role time");
  return {times.begin(), times.end()};
}

/// Source of each row, numbered from 0; rows without one get numbers of their own.
std::vector<std::uint32_t> sources_of(const Dataset& data, std::size_t& count) {
  const auto codes = data.sources();
  if (codes.empty()) detail::fail(errc::invalid_argument, "a split by source needs a column with the role source");
  count = data.source_names().size();
  std::vector<std::uint32_t> sources(codes.size());
  for (std::size_t row = 0; row < codes.size(); ++row)
    sources[row] = codes[row] < 0 ? static_cast<std::uint32_t>(count++) : static_cast<std::uint32_t>(codes[row]);
  return sources;
}

/// Would `size` more rows bring `taken` closer to `target`?
bool closer(std::uint64_t taken, std::uint64_t size, std::uint64_t target) noexcept {
  return taken < target && size < 2 * (target - taken);
}

}  // namespace

Split split_stratified(const Dataset& data, double test_fraction, std::uint64_t seed) {
  check_fraction(test_fraction);
  const Groups groups = group_duplicates(data);
  const auto strata = shuffled_strata(data, groups, seed, stream_rows);
  std::vector<std::uint64_t> sizes;
  for (const auto& stratum : strata) {
    std::uint64_t rows = 0;
    for (const std::uint64_t g : stratum) rows += groups.size[g];
    sizes.push_back(rows);
  }
  const std::vector<std::uint64_t> wanted = quotas(sizes, test_fraction);
  std::vector<std::uint8_t> in_test(groups.size.size());
  for (std::size_t s = 0; s < strata.size(); ++s) {
    std::uint64_t taken = 0;
    for (const std::uint64_t g : strata[s]) {
      if (!closer(taken, groups.size[g], wanted[s])) continue;
      in_test[g] = 1;
      taken += groups.size[g];
    }
  }
  std::vector<std::size_t> train, test;
  for (std::size_t row = 0; row < data.rows(); ++row) (in_test[groups.of_row[row]] ? test : train).push_back(row);
  return take_sides(data, train, test, "there are too few different rows for that fraction");
}

Split split_by_source(const Dataset& data, double test_fraction, std::uint64_t seed) {
  check_fraction(test_fraction);
  std::size_t count = 0;
  const std::vector<std::uint32_t> source = sources_of(data, count);
  std::vector<std::uint64_t> size(count), order;
  for (const std::uint32_t s : source) ++size[s];
  for (std::uint64_t s = 0; s < count; ++s)
    if (size[s] > 0) order.push_back(s);
  Random(seed, stream_sources).shuffle(std::span<std::uint64_t>(order));
  const auto wanted = static_cast<std::uint64_t>(std::llround(test_fraction * static_cast<double>(data.rows())));
  std::vector<std::uint8_t> in_test(count);
  std::uint64_t taken = 0;
  for (const std::uint64_t s : order) {
    if (!closer(taken, size[s], wanted)) continue;
    in_test[s] = 1;
    taken += size[s];
  }
  std::vector<std::size_t> train, test;
  for (std::size_t row = 0; row < data.rows(); ++row) (in_test[source[row]] ? test : train).push_back(row);
  drop_seen(data, train, test);
  return take_sides(data, train, test, "there are too few sources for that fraction, or they repeat the same rows");
}

Split split_by_time(const Dataset& data, double test_fraction) {
  check_fraction(test_fraction);
  const std::vector<std::int64_t> times = times_of(data);
  std::vector<std::size_t> order(data.rows());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return times[a] < times[b]; });
  const auto later = static_cast<std::ptrdiff_t>(std::llround(test_fraction * static_cast<double>(data.rows())));
  std::vector<std::size_t> train(order.begin(), order.end() - later), test(order.end() - later, order.end());
  std::sort(train.begin(), train.end());
  std::sort(test.begin(), test.end());
  drop_seen(data, train, test);
  return take_sides(data, train, test,
                    "there are too few rows for that fraction, or the later rows all repeat older ones");
}

Split split_by_source_and_time(const Dataset& data, double test_fraction, std::uint64_t seed) {
  check_fraction(test_fraction);
  const std::vector<std::int64_t> times = times_of(data);
  std::size_t count = 0;
  const std::vector<std::uint32_t> source = sources_of(data, count);
  const char* why = "too few sources or different times; split by time or by source alone";
  if (data.rows() < 2) return take_sides(data, {}, {}, why);
  std::vector<std::int64_t> sorted = times;
  std::sort(sorted.begin(), sorted.end());
  const auto later = static_cast<std::size_t>(std::llround(test_fraction * static_cast<double>(data.rows())));
  const std::int64_t cut = sorted[data.rows() - 1 - std::min(later, data.rows() - 1)];

  std::vector<std::uint64_t> before(count), after(count), both;
  for (std::size_t row = 0; row < data.rows(); ++row) ++(times[row] <= cut ? before : after)[source[row]];
  std::uint64_t train_rows = 0, test_rows = 0;
  for (std::uint64_t s = 0; s < count; ++s) {
    train_rows += before[s];
    if (before[s] == 0) test_rows += after[s];
    if (before[s] > 0 && after[s] > 0) both.push_back(s);
  }
  Random(seed, stream_sources).shuffle(std::span<std::uint64_t>(both));
  std::vector<std::uint8_t> held_out(count);
  for (const std::uint64_t s : both) {
    if (static_cast<double>(test_rows) >= test_fraction * static_cast<double>(test_rows + train_rows)) break;
    held_out[s] = 1;
    train_rows -= before[s];
    test_rows += after[s];
  }
  std::vector<std::size_t> train, test;
  for (std::size_t row = 0; row < data.rows(); ++row) {
    const std::uint32_t s = source[row];
    if (times[row] <= cut && !held_out[s]) train.push_back(row);
    if (times[row] > cut && (held_out[s] || before[s] == 0)) test.push_back(row);
  }
  drop_seen(data, train, test);
  return take_sides(data, train, test, why);
}

std::vector<std::uint32_t> fold_ids(const Dataset& data, int k, std::uint64_t seed) {
  if (k < 2 || static_cast<std::size_t>(k) > data.rows())
    detail::fail(errc::invalid_argument,
                 fmt::format("k = {} folds: need 2 <= k <= rows, which are {}", k, data.rows()));
  const Groups groups = group_duplicates(data);
  auto strata = shuffled_strata(data, groups, seed, stream_folds);
  std::vector<std::uint32_t> fold_of_group(groups.size.size());
  std::vector<std::uint64_t> total(static_cast<std::size_t>(k));
  for (auto& stratum : strata) {
    // Large groups first, each to the fold with the fewest rows of this stratum, then with the fewest rows.
    std::stable_sort(stratum.begin(), stratum.end(),
                     [&](std::uint64_t a, std::uint64_t b) { return groups.size[a] > groups.size[b]; });
    std::vector<std::uint64_t> rows(total.size());
    for (const std::uint64_t g : stratum) {
      std::size_t best = 0;
      for (std::size_t f = 1; f < rows.size(); ++f)
        if (rows[f] < rows[best] || (rows[f] == rows[best] && total[f] < total[best])) best = f;
      fold_of_group[g] = static_cast<std::uint32_t>(best);
      rows[best] += groups.size[g];
      total[best] += groups.size[g];
    }
  }
  std::vector<std::uint32_t> folds(data.rows());
  for (std::size_t row = 0; row < folds.size(); ++row) folds[row] = fold_of_group[groups.of_row[row]];
  return folds;
}

std::vector<Split> k_fold(const Dataset& data, int k, std::uint64_t seed) {
  const std::vector<std::uint32_t> folds = fold_ids(data, k, seed);
  std::vector<Split> splits;
  for (std::uint32_t f = 0; f < static_cast<std::uint32_t>(k); ++f) {
    std::vector<std::size_t> train, test;
    for (std::size_t row = 0; row < folds.size(); ++row) (folds[row] == f ? test : train).push_back(row);
    splits.push_back(take_sides(data, train, test, "there are fewer different rows than folds"));
  }
  return splits;
}

}  // namespace redoubt
