#include "redoubt/robustness/poisoning/sources.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "robustness/rows.hpp"

namespace redoubt {

std::vector<double> benjamini_hochberg(std::span<const double> p_values) {
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> q(p_values.size());
  double smallest = 1;
  for (std::size_t i = order.size(); i-- > 0;) {
    smallest = std::min(smallest, p_values[order[i]] * static_cast<double>(order.size()) / static_cast<double>(i + 1));
    q[order[i]] = smallest;
  }
  return q;
}

std::vector<SourceSuspicion> source_suspicion(const Dataset& data, std::span<const std::uint8_t> suspicious) {
  const auto sources = data.sources();
  if (sources.empty() && data.schema().find(ColumnRole::source) == Schema::npos)
    detail::fail(errc::invalid_argument, "source_suspicion: the data has no source column");
  if (suspicious.size() != data.rows())
    detail::fail(errc::shape_mismatch,
                 fmt::format("source_suspicion: {} flags for {} rows", suspicious.size(), data.rows()));
  const std::size_t count = data.source_names().size();
  std::vector<detail::GroupCount> counts(count);
  for (std::size_t r = 0; r < data.rows(); ++r)
    if (sources[r] >= 0) counts[static_cast<std::size_t>(sources[r])].add(suspicious[r] != 0);
  const auto tests = detail::test_groups(counts);
  std::vector<SourceSuspicion> all;
  for (std::size_t s = 0; s < count; ++s) {
    if (counts[s].rows == 0) continue;
    all.push_back({data.source_names()[s],
                   counts[s].rows,
                   counts[s].flagged,
                   tests[s].expected,
                   tests[s].p_value,
                   tests[s].q_value,
                   tests[s].excess,
                   {}});
  }
  std::stable_sort(all.begin(), all.end(), detail::more_suspicious);
  return all;
}

bool detail::more_suspicious(const SourceSuspicion& a, const SourceSuspicion& b) {
  return a.q_value != b.q_value ? a.q_value < b.q_value : a.score > b.score;
}

std::vector<detail::GroupTest> detail::test_groups(std::span<const GroupCount> groups) {
  std::size_t rows = 0, flagged = 0;
  for (const GroupCount& g : groups) rows += g.rows, flagged += g.flagged;
  std::vector<GroupTest> tests(groups.size());
  std::vector<double> p_values;
  for (std::size_t i = 0; i < groups.size(); ++i) {
    const GroupCount& g = groups[i];
    if (g.rows == 0) continue;
    // Add-one keeps a rate of zero among the others from turning a single flag into certainty.
    const double rate = (static_cast<double>(flagged - g.flagged) + 1) / (static_cast<double>(rows - g.rows) + 2);
    tests[i].expected = rate * static_cast<double>(g.rows);
    tests[i].p_value = binomial_tail(g.flagged, g.rows, rate);
    tests[i].excess =
        std::clamp((static_cast<double>(g.flagged) - tests[i].expected) / static_cast<double>(g.rows), 0.0, 1.0);
    p_values.push_back(tests[i].p_value);
  }
  const auto q_values = benjamini_hochberg(p_values);
  std::size_t next = 0;
  for (std::size_t i = 0; i < groups.size(); ++i)
    if (groups[i].rows > 0) tests[i].q_value = q_values[next++];
  return tests;
}

void SourceAllowList::update(const Batch& batch) {
  const Dataset& data = *batch.data;
  const auto sources = data.sources();
  for (std::size_t r = 0; r < data.rows(); ++r) {
    ++rows_;
    const std::string name = sources[r] < 0 ? std::string() : data.source_names()[static_cast<std::size_t>(sources[r])];
    if (!name.empty() && std::find(allowed.begin(), allowed.end(), name) != allowed.end()) continue;
    refused_.push_back(
        {data.row_ids()[r], name, 1.0, name.empty() ? "has no source" : "comes from an unlisted source"});
  }
}

void SourceAllowList::merge(const SourceAllowList& other) {
  rows_ += other.rows_;
  refused_.insert(refused_.end(), other.refused_.begin(), other.refused_.end());
}

Verdict SourceAllowList::finish() const {
  if (allowed.empty()) return Verdict::abstain(std::string(id), stage, "no source is listed as allowed");
  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  verdict.findings = refused_;
  verdict.outcome = refused_.empty() ? Outcome::pass : Outcome::block;
  verdict.score = rows_ == 0 ? 0 : static_cast<double>(refused_.size()) / static_cast<double>(rows_);
  verdict.summary = fmt::format("{} of {} rows do not come from an allowed source", refused_.size(), rows_);
  return verdict;
}

}  // namespace redoubt
