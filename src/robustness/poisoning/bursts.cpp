#include "redoubt/robustness/poisoning/bursts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "robustness/rows.hpp"

namespace redoubt {
namespace {

constexpr double microseconds_per_hour = 3.6e9;

std::vector<std::size_t> chosen_columns(const Dataset& data, const std::vector<std::string>& by) {
  const Schema& schema = data.schema();
  std::vector<std::size_t> columns;
  for (const std::string& name : by) {
    const std::size_t c = schema.at(name);
    if (schema[c].type != ColumnType::categorical)
      detail::fail(errc::type_mismatch, fmt::format("BurstOptions::by: column '{}' is {}, not categorical", name,
                                                    to_string(schema[c].type)));
    columns.push_back(c);
  }
  if (by.empty())
    for (std::size_t c = 0; c < schema.size(); ++c) {
      const ColumnSpec& spec = schema[c];
      if (spec.type == ColumnType::categorical &&
          (spec.role == ColumnRole::feature || spec.role == ColumnRole::ignore) &&
          spec.categories.size() * 4 <= data.rows())
        columns.push_back(c);
    }
  return columns;
}

}  // namespace

std::vector<Burst> find_bursts(const Dataset& data, const BurstOptions& options) {
  if (options.min_rows < 3)
    detail::fail(errc::invalid_argument,
                 fmt::format("BurstOptions::min_rows is {}; it must be at least 3", options.min_rows));
  if (!(options.significance > 0 && options.significance < 1))
    detail::fail(errc::invalid_argument,
                 fmt::format("BurstOptions::significance is {}; it must be in (0, 1)", options.significance));
  if (!(options.min_ratio >= 1))
    detail::fail(errc::invalid_argument,
                 fmt::format("BurstOptions::min_ratio is {}; it must be at least 1", options.min_ratio));
  const auto times = data.times();
  if (data.rows() > 0 && times.empty())
    detail::fail(errc::invalid_argument, "find_bursts: the data has no time column");

  const bool labelled = options.by_label && data.task() == Task::classification;
  // The clock is the rank among all rows, so that a busy day of the whole data is no burst of its parts.
  std::vector<std::uint32_t> order;
  for (std::uint32_t r = 0; r < data.rows(); ++r)
    if (times[r] != missing_time) order.push_back(r);
  std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) { return times[a] < times[b]; });
  std::vector<std::uint32_t> rank(data.rows(), 0);
  for (std::uint32_t i = 0; i < order.size(); ++i) rank[order[i]] = i;

  std::map<std::tuple<std::size_t, std::int32_t, std::int32_t>, std::vector<std::uint32_t>>
      groups;  // rows in time order
  const auto columns = chosen_columns(data, options.by);
  for (std::uint32_t r : order)
    for (std::size_t c : columns)
      if (const std::int32_t category = data.column(c).codes[r]; category >= 0)
        groups[{c, category, labelled ? data.labels()[r] : -1}].push_back(r);
  std::vector<Burst> bursts;
  if (order.empty() || times[order.front()] == times[order.back()]) return bursts;

  std::size_t runs = 0;
  for (const auto& [key, rows] : groups)
    for (std::size_t m = options.min_rows; m <= rows.size(); m *= 2) runs += rows.size() - m + 1;

  struct Run {
    double p;
    std::size_t begin, size;
    double expected;
  };
  for (const auto& [key, rows] : groups) {
    const double rate = static_cast<double>(rows.size()) / static_cast<double>(order.size());
    std::vector<Run> found;
    for (std::size_t m = options.min_rows; m <= rows.size(); m *= 2)
      for (std::size_t i = 0; i + m <= rows.size(); ++i) {
        // The run begins at a row, so that one is given: m - 1 more in that time.
        const double expected = rate * static_cast<double>(rank[rows[i + m - 1]] - rank[rows[i]]);
        if (expected * options.min_ratio >= static_cast<double>(m - 1)) continue;
        const double p = detail::poisson_tail(m - 1, expected);
        if (p * static_cast<double>(runs) <= options.significance) found.push_back({p, i, m, expected});
      }
    // The least likely runs first; one that overlaps a less likely one adds nothing.
    std::stable_sort(found.begin(), found.end(), [](const Run& a, const Run& b) { return a.p < b.p; });
    std::vector<std::uint8_t> taken(rows.size(), 0);
    for (const Run& run : found) {
      const auto first = rows.begin() + static_cast<std::ptrdiff_t>(run.begin);
      const auto last = first + static_cast<std::ptrdiff_t>(run.size);
      const auto taken_first = taken.begin() + static_cast<std::ptrdiff_t>(run.begin);
      const auto taken_last = taken_first + static_cast<std::ptrdiff_t>(run.size);
      if (std::find(taken_first, taken_last, 1) != taken_last) continue;
      std::fill(taken_first, taken_last, 1);
      Burst burst{std::get<0>(key), std::get<1>(key), std::get<2>(key), {first, last}, 0, run.expected};
      burst.hours =
          (static_cast<double>(times[*(last - 1)]) - static_cast<double>(times[*first])) / microseconds_per_hour;
      bursts.push_back(std::move(burst));
    }
  }
  return bursts;
}

void Bursts::update(const Batch& batch) { detail::append_rows(data_, *batch.data); }
void Bursts::merge(const Bursts& other) { detail::append_rows(data_, other.data_); }

Verdict Bursts::finish() const {
  if (data_.rows() == 0) return Verdict::abstain(std::string(id), stage, "there are no rows to look at");
  if (chosen_columns(data_, options.by).empty())
    return Verdict::abstain(std::string(id), stage, "there is no categorical column to group the rows by");
  const auto bursts = find_bursts(data_, options);
  std::vector<Finding> by_row(data_.rows());
  for (const Burst& burst : bursts) {
    const ColumnSpec& spec = data_.schema()[burst.column];
    const std::string evidence = fmt::format(
        "one of {} rows with {} = {}{} within {:.1f} hours, where {:.1f} are usual", burst.rows.size(), spec.name,
        spec.categories[static_cast<std::size_t>(burst.category)],
        burst.label >= 0 ? fmt::format(" labelled {}", data_.classes()[static_cast<std::size_t>(burst.label)])
                         : std::string(),
        burst.hours, burst.expected);
    for (std::uint32_t r : burst.rows)
      if (burst.score() > by_row[r].score) by_row[r] = {data_.row_ids()[r], "", burst.score(), evidence};
  }
  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  verdict.findings = detail::scored(std::move(by_row));
  detail::finish_warning(verdict, data_.rows());
  verdict.summary = fmt::format("{} rows lie in {} bursts", verdict.findings.size(), bursts.size());
  return verdict;
}

}  // namespace redoubt
