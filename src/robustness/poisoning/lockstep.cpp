#include "redoubt/robustness/poisoning/lockstep.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <set>
#include <span>
#include <tuple>
#include <utility>

#include "redoubt/core/random.hpp"
#include "robustness/poisoning/items.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

constexpr double microseconds_per_hour = 3.6e9;
constexpr std::size_t most_later = 64;  // rows of an item that one row is compared with: a crowd tells nobody apart

/// Two rows about one item at the same time.
struct Meeting {
  std::uint32_t first, second;  // positions
  std::int32_t item;
};
using Pair = std::pair<std::int32_t, std::int32_t>;

void check_options(const LockstepOptions& o) {
  const auto require = [](bool ok, const char* name, double value, const char* range) {
    if (!ok)
      detail::fail(errc::invalid_argument, fmt::format("LockstepOptions::{} is {}; it must be {}", name, value, range));
  };
  require(o.window_hours > 0 && o.window_hours < 1e6, "window_hours", o.window_hours, "in (0, 1e6)");
  require(o.min_items >= 2, "min_items", static_cast<double>(o.min_items), "at least 2");
  require(o.min_sources >= 2, "min_sources", static_cast<double>(o.min_sources), "at least 2");
  require(o.false_links > 0 && o.false_links < 1, "false_links", o.false_links, "in (0, 1)");
  require(o.shuffles >= 1, "shuffles", static_cast<double>(o.shuffles), "at least 1");
}

std::vector<Meeting> meetings(const Dataset& data, std::size_t column, const LockstepOptions& options,
                              std::vector<std::uint32_t>& known) {
  const auto& items = data.column(column).codes;
  const auto times = data.times();
  const bool labelled = options.by_label && data.task() == Task::classification;
  for (std::uint32_t r = 0; r < data.rows(); ++r)
    if (items[r] >= 0 && times[r] != missing_time && data.sources()[r] >= 0) known.push_back(r);
  const auto key = [&](std::uint32_t r) { return std::tuple(items[r], labelled ? data.labels()[r] : 0, times[r]); };
  std::vector<std::uint32_t> order = known;
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return key(a) < key(b); });
  const double window = options.window_hours * microseconds_per_hour;
  std::vector<Meeting> found;
  for (std::size_t i = 0; i < order.size(); ++i)
    for (std::size_t j = i + 1; j < std::min(order.size(), i + 1 + most_later); ++j) {
      const std::uint32_t a = order[i], b = order[j];
      if (items[a] != items[b] || (labelled && data.labels()[a] != data.labels()[b]) ||
          static_cast<double>(times[b]) - static_cast<double>(times[a]) > window)
        break;
      found.push_back({a, b, items[a]});
    }
  return found;
}

/// Of every pair of sources that met, on how many items; sorted by pair.
std::vector<std::pair<Pair, std::size_t>> common_items(std::span<const Meeting> met,
                                                       std::span<const std::int32_t> sources) {
  std::vector<std::pair<Pair, std::int32_t>> all;
  for (const Meeting& m : met) {
    const std::int32_t a = sources[m.first], b = sources[m.second];
    if (a != b) all.push_back({{std::min(a, b), std::max(a, b)}, m.item});
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::vector<std::pair<Pair, std::size_t>> counts;
  for (const auto& [pair, item] : all) {
    if (counts.empty() || counts.back().first != pair) counts.push_back({pair, 0});
    ++counts.back().second;
  }
  return counts;
}

/// [k]: pairs with k common items or more.
std::vector<double> at_least(const std::vector<std::pair<Pair, std::size_t>>& counts) {
  std::vector<double> pairs;
  for (const auto& [pair, n] : counts) {
    if (pairs.size() <= n) pairs.resize(n + 1, 0.0);
    ++pairs[n];
  }
  for (std::size_t k = pairs.size(); k-- > 1;) pairs[k - 1] += pairs[k];
  return pairs;
}

}  // namespace

std::vector<LockstepGroup> find_lockstep(const Dataset& data, const LockstepOptions& options) {
  check_options(options);
  std::vector<LockstepGroup> groups;
  if (data.rows() == 0) return groups;
  if (data.sources().empty() || data.times().empty())
    detail::fail(errc::invalid_argument, "find_lockstep: the data needs a source column and a time column");
  const std::size_t column = detail::item_column(data, options.by, "LockstepOptions::by");
  if (column == data.schema().size())
    detail::fail(errc::invalid_argument, "find_lockstep: the data has no categorical column of items");

  std::vector<std::uint32_t> known;
  const auto met = meetings(data, column, options, known);
  std::vector<std::int32_t> sources(data.sources().begin(), data.sources().end());
  const auto counts = common_items(met, sources);
  const auto observed = at_least(counts);

  // Who did what is dealt anew: everybody stays as active, and items as popular and as hurried, as they are.
  std::vector<double> chance(observed.size(), 0.0);
  Random random(options.seed, 31);
  std::vector<std::uint32_t> dealt;
  for (const std::uint32_t r : known) dealt.push_back(static_cast<std::uint32_t>(sources[r]));
  std::vector<std::int32_t> shuffled = sources;
  for (std::size_t s = 0; s < options.shuffles; ++s) {
    random.shuffle(dealt);
    for (std::size_t i = 0; i < known.size(); ++i) shuffled[known[i]] = static_cast<std::int32_t>(dealt[i]);
    const auto pairs = at_least(common_items(met, shuffled));
    for (std::size_t k = 0; k < std::min(pairs.size(), chance.size()); ++k) chance[k] += pairs[k];
  }
  std::size_t enough = options.min_items;
  // One more than was counted: no shuffle with such a pair does not mean that there cannot be one.
  while (enough < observed.size() &&
         (chance[enough] + 1) / static_cast<double>(options.shuffles + 1) > options.false_links * observed[enough])
    ++enough;
  if (enough >= observed.size()) return groups;

  std::vector<std::int32_t> parent(data.source_names().size());
  std::iota(parent.begin(), parent.end(), 0);
  const auto find = [&](std::int32_t s) {
    while (parent[static_cast<std::size_t>(s)] != s) {
      auto& up = parent[static_cast<std::size_t>(s)];
      s = up = parent[static_cast<std::size_t>(up)];
    }
    return s;
  };
  std::set<Pair> links;
  for (const auto& [pair, n] : counts)
    if (n >= enough) {
      links.insert(pair);
      const std::int32_t a = find(pair.first), b = find(pair.second);
      parent[static_cast<std::size_t>(std::max(a, b))] = std::min(a, b);
    }
  std::vector<LockstepGroup> by_root(parent.size());
  std::vector<std::set<std::int32_t>> items(parent.size());
  std::vector<std::size_t> all(parent.size(), 0);
  for (std::size_t s = 0; s < parent.size(); ++s)
    by_root[static_cast<std::size_t>(find(static_cast<std::int32_t>(s)))].sources.push_back(
        static_cast<std::uint32_t>(s));
  for (const std::int32_t s : sources)
    if (s >= 0) ++all[static_cast<std::size_t>(find(s))];
  for (const Meeting& m : met) {
    const std::int32_t a = sources[m.first], b = sources[m.second];
    if (!links.contains({std::min(a, b), std::max(a, b)})) continue;
    const auto root = static_cast<std::size_t>(find(a));
    by_root[root].rows.insert(by_root[root].rows.end(), {m.first, m.second});
    items[root].insert(m.item);
  }
  for (std::size_t root = 0; root < by_root.size(); ++root) {
    LockstepGroup& group = by_root[root];
    if (group.sources.size() < options.min_sources || group.rows.empty()) continue;
    std::sort(group.rows.begin(), group.rows.end());
    group.rows.erase(std::unique(group.rows.begin(), group.rows.end()), group.rows.end());
    group.items = items[root].size();
    group.share = static_cast<double>(group.rows.size()) / static_cast<double>(all[root]);
    groups.push_back(std::move(group));
  }
  std::stable_sort(groups.begin(), groups.end(),
                   [](const LockstepGroup& a, const LockstepGroup& b) { return a.rows.size() > b.rows.size(); });
  return groups;
}

void Lockstep::update(const Batch& batch) { detail::append_rows(data_, *batch.data); }
void Lockstep::merge(const Lockstep& other) { detail::append_rows(data_, other.data_); }

Verdict Lockstep::finish() const {
  if (data_.rows() == 0) return Verdict::abstain(std::string(id), stage, "there are no rows to look at");
  const std::size_t column = detail::item_column(data_, options.by, "LockstepOptions::by");
  if (column == data_.schema().size())
    return Verdict::abstain(std::string(id), stage, "there is no categorical column of items");
  const auto groups = find_lockstep(data_, options);
  std::vector<Finding> by_row(data_.rows());
  for (const LockstepGroup& group : groups) {
    const std::string evidence = fmt::format(
        "one of {} rows that {} sources gave together, each within {:g} hours of another, on {} of {}",
        group.rows.size(), group.sources.size(), options.window_hours, group.items, data_.schema()[column].name);
    for (const std::uint32_t r : group.rows) by_row[r] = {data_.row_ids()[r], "", group.share, evidence};
  }
  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  verdict.findings = detail::scored(std::move(by_row));
  detail::finish_warning(verdict, data_.rows());
  verdict.summary = fmt::format("{} rows were given by {} groups of sources that act together on {}",
                                verdict.findings.size(), groups.size(), data_.schema()[column].name);
  return verdict;
}

}  // namespace redoubt
