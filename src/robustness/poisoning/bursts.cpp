#include "redoubt/robustness/poisoning/bursts.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "robustness/rows.hpp"

namespace redoubt {
namespace {

/// The rows of one category (and label) in time order.
struct Key {
  std::size_t column;
  std::int32_t category, label;
  auto operator<=>(const Key&) const = default;
};

std::vector<std::size_t> chosen_columns(const Dataset& data, const std::vector<std::string>& by) {
  const Schema& schema = data.schema();
  std::vector<std::size_t> columns;
  for (const std::string& name : by) {
    const std::size_t c = schema.at(name);
    if (schema[c].type != ColumnType::categorical)
      detail::fail(errc::type_mismatch,
                   fmt::format("Bursts::by: column '{}' is {}, not categorical", name, to_string(schema[c].type)));
    columns.push_back(c);
  }
  if (by.empty())
    for (std::size_t c : schema.features())
      if (schema[c].type == ColumnType::categorical && schema[c].categories.size() * 4 <= data.rows())
        columns.push_back(c);
  return columns;
}

}  // namespace

void Bursts::update(const Batch& batch) { detail::append_rows(data_, *batch.data); }
void Bursts::merge(const Bursts& other) { detail::append_rows(data_, other.data_); }

Verdict Bursts::finish() const {
  if (min_rows < 3)
    detail::fail(errc::invalid_argument, fmt::format("Bursts::min_rows is {}; it must be at least 3", min_rows));
  if (!(significance > 0 && significance < 1))
    detail::fail(errc::invalid_argument, fmt::format("Bursts::significance is {}; it must be in (0, 1)", significance));
  if (data_.rows() == 0) return Verdict::abstain(std::string(id), stage, "there are no rows to look at");
  const auto columns = chosen_columns(data_, by);
  if (columns.empty())
    return Verdict::abstain(std::string(id), stage, "there is no categorical feature column to group the rows by");

  const auto times = data_.times();
  const bool labelled = data_.task() == Task::classification;
  std::map<Key, std::vector<std::size_t>> groups;
  std::int64_t first = missing_time, last = missing_time;
  for (std::size_t r = 0; r < data_.rows(); ++r) {
    if (times[r] == missing_time) continue;
    first = first == missing_time ? times[r] : std::min(first, times[r]);
    last = last == missing_time ? times[r] : std::max(last, times[r]);
    for (std::size_t c : columns)
      if (const std::int32_t category = data_.column(c).codes[r]; category >= 0)
        groups[{c, category, labelled ? data_.labels()[r] : -1}].push_back(r);
  }
  if (first == missing_time || first == last)
    return Verdict::abstain(std::string(id), stage, "the rows do not differ in time");
  const double span = static_cast<double>(last) - static_cast<double>(first);

  std::size_t looked_at = 0;
  for (const auto& [key, rows] : groups)
    for (std::size_t m = min_rows; m <= rows.size() / 2; m *= 2) looked_at += rows.size() - m + 1;

  std::vector<Finding> by_row(data_.rows());
  std::size_t bursts = 0;
  for (auto& [key, rows] : groups) {
    std::stable_sort(rows.begin(), rows.end(), [&](std::size_t a, std::size_t b) { return times[a] < times[b]; });
    const double rate = static_cast<double>(rows.size()) / span;
    bool found = false;
    for (std::size_t m = min_rows; m <= rows.size() / 2; m *= 2) {
      for (std::size_t i = 0; i + m <= rows.size(); ++i) {
        const double width = static_cast<double>(times[rows[i + m - 1]]) - static_cast<double>(times[rows[i]]);
        const double expected = rate * width;
        // The run starts at a row, so that one is given: m - 1 more within `width`.
        if (expected >= static_cast<double>(m - 1) ||
            detail::poisson_tail(m - 1, expected) * static_cast<double>(looked_at) > significance)
          continue;
        found = true;
        const double strength = 1 - expected / static_cast<double>(m);
        for (std::size_t k = i; k < i + m; ++k) {
          Finding& f = by_row[rows[k]];
          if (strength <= f.score) continue;
          const ColumnSpec& spec = data_.schema()[key.column];
          f = {data_.row_ids()[rows[k]], "", strength,
               fmt::format("one of {} rows with {} = {}{} within {:.1f} hours, where {:.1f} are usual", m, spec.name,
                           spec.categories[static_cast<std::size_t>(key.category)],
                           key.label >= 0
                               ? fmt::format(" labelled {}", data_.classes()[static_cast<std::size_t>(key.label)])
                               : std::string(),
                           width / 3.6e9, expected)};
        }
      }
    }
    bursts += found;
  }

  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  for (Finding& f : by_row)
    if (f.score > 0) verdict.findings.push_back(std::move(f));
  detail::sort_findings(verdict.findings);
  verdict.outcome = verdict.findings.empty() ? Outcome::pass : Outcome::warn;
  verdict.score = static_cast<double>(verdict.findings.size()) / static_cast<double>(data_.rows());
  verdict.summary =
      fmt::format("{} rows lie in bursts of {} of {} groups", verdict.findings.size(), bursts, groups.size());
  return verdict;
}

}  // namespace redoubt
