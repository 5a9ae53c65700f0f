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
  const auto times = data.times();
  if (data.rows() > 0 && times.empty())
    detail::fail(errc::invalid_argument, "find_bursts: the data has no time column");

  const bool labelled = data.task() == Task::classification;
  std::map<std::tuple<std::size_t, std::int32_t, std::int32_t>, std::vector<std::uint32_t>> groups;
  std::int64_t first = missing_time, last = missing_time;
  const auto columns = chosen_columns(data, options.by);
  for (std::uint32_t r = 0; r < data.rows(); ++r) {
    if (times[r] == missing_time) continue;
    first = first == missing_time ? times[r] : std::min(first, times[r]);
    last = last == missing_time ? times[r] : std::max(last, times[r]);
    for (std::size_t c : columns)
      if (const std::int32_t category = data.column(c).codes[r]; category >= 0)
        groups[{c, category, labelled ? data.labels()[r] : -1}].push_back(r);
  }
  std::vector<Burst> bursts;
  if (first == last) return bursts;
  const double span = static_cast<double>(last) - static_cast<double>(first);

  std::size_t runs = 0;
  for (const auto& [key, rows] : groups)
    for (std::size_t m = options.min_rows; m <= rows.size(); m *= 2) runs += rows.size() - m + 1;

  for (auto& [key, rows] : groups) {
    std::stable_sort(rows.begin(), rows.end(), [&](std::uint32_t a, std::uint32_t b) { return times[a] < times[b]; });
    const auto elapsed = [&](std::size_t from, std::size_t to) {
      return static_cast<double>(times[rows[to]]) - static_cast<double>(times[rows[from]]);
    };
    const double rate = static_cast<double>(rows.size()) / span;
    std::vector<std::size_t> reach(rows.size(), 0);  // a run that begins here ends before this index
    for (std::size_t m = options.min_rows; m <= rows.size(); m *= 2)
      for (std::size_t i = 0; i + m <= rows.size(); ++i) {
        // The run begins at a row, so that one is given: m - 1 more in that time.
        const double expected = rate * elapsed(i, i + m - 1);
        if (expected < static_cast<double>(m - 1) &&
            detail::poisson_tail(m - 1, expected) * static_cast<double>(runs) <= options.significance)
          reach[i] = i + m;
      }
    for (std::size_t i = 0; i < rows.size(); ++i) {
      if (reach[i] == 0) continue;
      std::size_t end = reach[i];
      for (std::size_t k = i; k < end; ++k) end = std::max(end, reach[k]);
      Burst burst{std::get<0>(key), std::get<1>(key), std::get<2>(key), {}, 0, 0};
      burst.rows.assign(rows.begin() + static_cast<std::ptrdiff_t>(i), rows.begin() + static_cast<std::ptrdiff_t>(end));
      burst.hours = elapsed(i, end - 1) / microseconds_per_hour;
      burst.expected = std::min(rate * elapsed(i, end - 1), static_cast<double>(burst.rows.size()));
      bursts.push_back(std::move(burst));
      i = end - 1;
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
  for (Finding& f : by_row)
    if (f.score > 0) verdict.findings.push_back(std::move(f));
  detail::sort_findings(verdict.findings);
  verdict.outcome = verdict.findings.empty() ? Outcome::pass : Outcome::warn;
  verdict.score = static_cast<double>(verdict.findings.size()) / static_cast<double>(data_.rows());
  verdict.summary = fmt::format("{} rows lie in {} bursts", verdict.findings.size(), bursts.size());
  return verdict;
}

}  // namespace redoubt
