#include "redoubt/robustness/poisoning/duplicates.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>
#include <unordered_map>

#include "redoubt/data/text.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

/// Union-find whose roots are the smallest rows.
class Groups {
 public:
  explicit Groups(std::size_t rows) : parent_(rows) { std::iota(parent_.begin(), parent_.end(), 0u); }
  std::uint32_t find(std::uint32_t r) {
    while (parent_[r] != r) r = parent_[r] = parent_[parent_[r]];
    return r;
  }
  void join(std::uint32_t a, std::uint32_t b) {
    a = find(a), b = find(b);
    parent_[std::max(a, b)] = std::min(a, b);
  }
  std::vector<std::uint32_t> roots() {
    for (std::uint32_t r = 0; r < parent_.size(); ++r) find(r), parent_[r] = find(r);
    return parent_;
  }

 private:
  std::vector<std::uint32_t> parent_;
};

bool has_words(std::string_view text, std::size_t least) {
  std::size_t words = 0;
  for_each_token(text, [&](std::string_view) { ++words; });
  return words >= least;
}

void join_texts(const Dataset& data, const DuplicateOptions& options, Arena* arena, Groups& groups) {
  for (std::size_t c : data.schema().features()) {
    if (data.schema()[c].type != ColumnType::text) continue;
    const TextColumn& texts = data.column(c).texts;
    TextColumn long_enough;  // shorter ones become empty, which are alone
    for (std::size_t r = 0; r < texts.size(); ++r)
      long_enough.push_back(has_words(texts[r], options.min_words) ? texts[r] : std::string_view());
    const auto found = near_duplicate_groups(long_enough, options.similarity, 2, arena);
    for (std::uint32_t r = 0; r < found.size(); ++r) groups.join(r, found[r]);
  }
}

void join_equal_rows(const Dataset& data, Groups& groups) {
  std::unordered_map<std::uint64_t, std::uint32_t> first;
  for (std::uint32_t r = 0; r < data.rows(); ++r)
    groups.join(r, first.try_emplace(data.feature_hash(r), r).first->second);
}

void check_options(const DuplicateOptions& options) {
  if (!(options.similarity > 0 && options.similarity <= 1))
    detail::fail(errc::invalid_argument,
                 fmt::format("DuplicateOptions::similarity is {}; it must be in (0, 1]", options.similarity));
}

}  // namespace

std::vector<std::uint32_t> duplicate_groups(const Dataset& data, const DuplicateOptions& options, Arena* arena) {
  check_options(options);
  Groups groups(data.rows());
  join_texts(data, options, arena, groups);
  join_equal_rows(data, groups);
  return groups.roots();
}

void Duplicates::update(const Batch& batch) {
  check_options(options);
  detail::append_rows(data_, *batch.data);
}

void Duplicates::merge(const Duplicates& other) { detail::append_rows(data_, other.data_); }

Verdict Duplicates::finish() const {
  if (data_.rows() == 0) return Verdict::abstain(std::string(id), stage, "there are no rows to look at");
  const auto rows = static_cast<std::uint32_t>(data_.rows());
  const auto sources = data_.sources();
  const auto ids = data_.row_ids();
  const bool labelled = data_.task() == Task::classification;
  std::vector<Finding> by_row(rows);

  Groups text_groups(rows);
  join_texts(data_, options, nullptr, text_groups);
  std::map<std::uint32_t, std::vector<std::uint32_t>> members;
  const auto roots = text_groups.roots();
  for (std::uint32_t r = 0; r < rows; ++r) members[roots[r]].push_back(r);
  std::size_t copied_groups = 0, copied_rows = 0;
  for (const auto& [root, group] : members) {
    if (group.size() < min_rows) continue;
    std::set<std::int32_t> authors;
    for (std::uint32_t r : group)
      if (!sources.empty() && sources[r] >= 0) authors.insert(sources[r]);
    if (!sources.empty() && authors.size() < 2) continue;
    ++copied_groups;
    copied_rows += group.size();
    const double strength = (sources.empty() ? 0.5 : 1.0) * (1 - 1.0 / static_cast<double>(group.size()));
    const std::string evidence =
        sources.empty() ? fmt::format("one of {} near-identical texts, first seen in row {}", group.size(), ids[root])
                        : fmt::format("one of {} near-identical texts by {} sources, first seen in row {}",
                                      group.size(), authors.size(), ids[root]);
    for (std::uint32_t r : group) by_row[r] = {ids[r], "", strength, evidence};
  }

  std::size_t contradicted = 0;
  if (labelled) {
    Groups equal(rows);
    join_equal_rows(data_, equal);
    const auto equal_roots = equal.roots();
    const auto labels = data_.labels();
    std::map<std::uint32_t, std::map<std::int32_t, std::size_t>> counts;
    for (std::uint32_t r = 0; r < rows; ++r)
      if (labels[r] >= 0) ++counts[equal_roots[r]][labels[r]];
    for (std::uint32_t r = 0; r < rows; ++r) {
      if (labels[r] < 0) continue;
      const auto& count = counts[equal_roots[r]];
      std::size_t total = 0, most = 0;
      for (const auto& [label, n] : count) total += n, most = std::max(most, n);
      const std::size_t own = count.at(labels[r]);
      if (own == most) continue;
      ++contradicted;
      const double strength = static_cast<double>(total - own) / static_cast<double>(total);
      if (strength > by_row[r].score)
        by_row[r] = {ids[r], "", strength,
                     fmt::format("labelled {}, but {} of {} equal rows are labelled otherwise",
                                 data_.classes()[static_cast<std::size_t>(labels[r])], total - own, total)};
    }
  }

  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  verdict.findings = detail::scored(std::move(by_row));
  detail::finish_warning(verdict, data_.rows());
  verdict.summary = fmt::format("{} rows in {} groups of near-identical texts{}; {} rows contradict equal rows",
                                copied_rows, copied_groups, sources.empty() ? "" : " by several sources", contradicted);
  return verdict;
}

}  // namespace redoubt
