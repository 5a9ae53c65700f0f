#include "redoubt/robustness/poisoning/dense_blocks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <queue>
#include <utility>

#include "redoubt/core/random.hpp"
#include "robustness/poisoning/items.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

using Edge = std::pair<std::uint32_t, std::uint32_t>;

/// Of distinct edges.
DenseBlock densest(const std::vector<Edge>& edges) {
  DenseBlock block;
  if (edges.empty()) return block;
  std::uint32_t sources = 0, items = 0;
  for (const auto& [s, i] : edges) sources = std::max(sources, s + 1), items = std::max(items, i + 1);
  // Sources first, then items; those without an edge take no part.
  const std::size_t nodes = std::size_t{sources} + items;
  std::vector<std::size_t> begin(nodes + 1, 0);
  for (const auto& [s, i] : edges) ++begin[s + 1], ++begin[sources + i + 1];
  std::vector<double> item_weight(items);
  for (std::size_t i = 0; i < items; ++i)
    item_weight[i] = 1 / std::log(static_cast<double>(begin[sources + i + 1]) + 5);
  for (std::size_t n = 0; n < nodes; ++n) begin[n + 1] += begin[n];
  std::vector<std::uint32_t> neighbour(begin.back());
  std::vector<double> weight(nodes, 0);
  double total = 0;
  {
    auto at = begin;
    for (const auto& [s, i] : edges) {
      neighbour[at[s]++] = sources + i;
      neighbour[at[sources + i]++] = s;
      weight[s] += item_weight[i];
      weight[sources + i] += item_weight[i];
      total += item_weight[i];
    }
  }
  using Entry = std::pair<double, std::uint32_t>;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> lightest;  // with stale entries
  std::vector<std::uint8_t> inside(nodes, 0);
  std::size_t left = 0;
  for (std::uint32_t n = 0; n < nodes; ++n)
    if (begin[n] < begin[n + 1]) {
      inside[n] = 1;
      ++left;
      lightest.emplace(weight[n], n);
    }
  std::vector<std::uint32_t> removed;
  std::size_t best_after = 0;
  block.density = total / static_cast<double>(left);
  while (left > 1) {
    const auto [w, n] = lightest.top();
    lightest.pop();
    if (!inside[n] || w != weight[n]) continue;
    inside[n] = 0;
    removed.push_back(n);
    for (std::size_t e = begin[n]; e < begin[n + 1]; ++e) {
      const std::uint32_t m = neighbour[e];
      if (!inside[m]) continue;
      const double edge = item_weight[(n < sources ? m : n) - sources];
      total -= edge;
      weight[m] -= edge;
      lightest.emplace(weight[m], m);
    }
    if (const double density = total / static_cast<double>(--left); density > block.density) {
      block.density = density;
      best_after = removed.size();
    }
  }
  for (std::uint32_t n = 0; n < nodes; ++n) inside[n] = begin[n] < begin[n + 1];
  for (std::size_t i = 0; i < best_after; ++i) inside[removed[i]] = 0;
  for (std::uint32_t n = 0; n < nodes; ++n)
    if (inside[n]) n < sources ? block.sources.push_back(n) : block.items.push_back(n - sources);
  return block;
}

void keep_distinct(std::vector<Edge>& edges) {
  std::sort(edges.begin(), edges.end());
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
}

/// Mean and standard deviation of the density where items are dealt at random.
std::pair<double, double> by_chance(const std::vector<Edge>& edges, const DenseBlockOptions& options,
                                    std::uint64_t stream) {
  Random random(options.seed, stream);
  std::vector<std::uint32_t> items;
  for (const Edge& e : edges) items.push_back(e.second);
  double sum = 0, squares = 0;
  for (std::size_t k = 0; k < options.shuffles; ++k) {
    random.shuffle(items);
    std::vector<Edge> dealt = edges;
    for (std::size_t i = 0; i < dealt.size(); ++i) dealt[i].second = items[i];
    keep_distinct(dealt);
    const double density = densest(dealt).density;
    sum += density;
    squares += density * density;
  }
  const double n = static_cast<double>(options.shuffles), mean = sum / n;
  return {mean, std::sqrt(std::max(0.0, squares / n - mean * mean) * n / (n - 1))};
}

void check_options(const DenseBlockOptions& options) {
  if (options.shuffles < 3)
    detail::fail(errc::invalid_argument,
                 fmt::format("DenseBlockOptions::shuffles is {}; it must be at least 3", options.shuffles));
  if (!(options.cut > 0))
    detail::fail(errc::invalid_argument, fmt::format("DenseBlockOptions::cut is {}; it must be positive", options.cut));
  if (!(options.min_ratio >= 1))
    detail::fail(errc::invalid_argument,
                 fmt::format("DenseBlockOptions::min_ratio is {}; it must be at least 1", options.min_ratio));
}

}  // namespace

DenseBlock densest_block(std::span<const std::uint32_t> sources, std::span<const std::uint32_t> items) {
  if (sources.size() != items.size())
    detail::fail(errc::shape_mismatch,
                 fmt::format("densest_block: {} sources and {} items", sources.size(), items.size()));
  std::vector<Edge> edges;
  for (std::size_t i = 0; i < sources.size(); ++i) edges.emplace_back(sources[i], items[i]);
  keep_distinct(edges);
  return densest(edges);
}

void DenseBlocks::update(const Batch& batch) { detail::append_rows(data_, *batch.data); }
void DenseBlocks::merge(const DenseBlocks& other) { detail::append_rows(data_, other.data_); }

Verdict DenseBlocks::finish() const {
  check_options(options);
  if (data_.rows() == 0) return Verdict::abstain(std::string(id), stage, "there are no rows to look at");
  const std::size_t column = detail::item_column(data_, options.by, "DenseBlockOptions::by");
  if (column == data_.schema().size())
    return Verdict::abstain(std::string(id), stage, "there is no categorical column of items");
  const ColumnSpec& spec = data_.schema()[column];
  const auto& items = data_.column(column).codes;
  const auto sources = data_.sources();
  const bool labelled = options.by_label && data_.task() == Task::classification;
  const std::size_t labels = labelled ? data_.classes().size() : 1;

  std::vector<Finding> by_row(data_.rows());
  std::size_t blocks = 0;
  for (std::size_t label = 0; label < labels; ++label) {
    std::vector<std::uint32_t> rows;
    std::vector<Edge> edges;
    for (std::uint32_t r = 0; r < data_.rows(); ++r)
      if (sources[r] >= 0 && items[r] >= 0 && (!labelled || data_.labels()[r] == static_cast<std::int32_t>(label))) {
        rows.push_back(r);
        edges.emplace_back(sources[r], items[r]);
      }
    keep_distinct(edges);
    if (edges.empty()) continue;
    const auto [mean, deviation] = by_chance(edges, options, label);
    for (std::size_t k = 0; k < options.max_blocks && !edges.empty(); ++k) {
      const DenseBlock block = densest(edges);
      if (block.density < mean + options.cut * deviation || block.density < options.min_ratio * mean) break;
      ++blocks;
      const auto in_block = [&](std::int32_t source, std::int32_t item) {
        return std::binary_search(block.sources.begin(), block.sources.end(), static_cast<std::uint32_t>(source)) &&
               std::binary_search(block.items.begin(), block.items.end(), static_cast<std::uint32_t>(item));
      };
      const double score = 1 - mean / block.density;
      const std::string evidence = fmt::format(
          "one of {} sources that speak about the same {} of {}{}: density {:.2f}, by chance {:.2f}",
          block.sources.size(), block.items.size(), spec.name,
          labelled ? fmt::format(", all labelled {}", data_.classes()[label]) : std::string(), block.density, mean);
      for (const std::uint32_t r : rows)
        if (score > by_row[r].score && in_block(sources[r], items[r]))
          by_row[r] = {data_.row_ids()[r], "", score, evidence};
      std::erase_if(edges, [&](const Edge& e) {
        return in_block(static_cast<std::int32_t>(e.first), static_cast<std::int32_t>(e.second));
      });
    }
  }
  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  verdict.findings = detail::scored(std::move(by_row));
  detail::finish_warning(verdict, data_.rows());
  verdict.summary = fmt::format("{} rows lie in {} blocks of sources that act together on {}", verdict.findings.size(),
                                blocks, spec.name);
  return verdict;
}

}  // namespace redoubt
