#include "redoubt/robustness/poisoning/confident_learning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/confident.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/data/dataset.hpp"
#include "robustness/radix.hpp"

namespace redoubt {
namespace {

/// Rounding slack when a probability is compared with its class threshold: a row exactly at the mean is confident.
constexpr double slack = 1e-6;

template <class T>
[[noreturn]] void fail_probability(MatrixView<const T> p, std::size_t r) {
  std::size_t c = 0;
  while (p(r, c) >= T(-1e-6) && p(r, c) <= T(1 + 1e-6)) ++c;
  detail::fail(errc::invalid_argument,
               fmt::format("confident_learning: the probability of class {} in row {} is {}; it must be in [0, 1]", c,
                           r, p(r, c)));
}

constexpr std::size_t rows_at_once = 64;

void look(const kernels::detail::ConfidentTable& table, MatrixView<const double> p, std::size_t first,
          std::size_t count, const double* least, kernels::detail::ConfidentRow* out) {
  table.fp64(p.row(first).data(), p.stride(), count, p.cols(), least, out);
}
void look(const kernels::detail::ConfidentTable& table, MatrixView<const float> p, std::size_t first, std::size_t count,
          const float* least, kernels::detail::ConfidentRow* out) {
  table.fp32(p.row(first).data(), p.stride(), count, p.cols(), least, out);
}

/// Rows in ascending order by value, equal ones as they stand: by radix in fp32, and what is equal there by comparing.
void sort_by(const std::vector<double>& value, std::vector<std::uint32_t>& rows) {
  detail::FloatOrder order;
  order.sort(rows.size(), [&](std::size_t i) { return static_cast<float>(value[rows[i]]); });
  std::vector<std::uint32_t> sorted(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) sorted[i] = rows[order.position(i)];
  for (std::size_t from = 0, to = 0; from < rows.size(); from = to) {
    while (to < rows.size() && order.key(to) == order.key(from)) ++to;
    if (to - from > 1)
      std::stable_sort(sorted.begin() + static_cast<std::ptrdiff_t>(from),
                       sorted.begin() + static_cast<std::ptrdiff_t>(to),
                       [&](std::uint32_t a, std::uint32_t b) { return value[a] < value[b]; });
  }
  rows = std::move(sorted);
}

template <class T>
LabelIssues find_issues(MatrixView<const T> p, std::span<const std::int32_t> labels) {
  const std::size_t rows = p.rows(), classes = p.cols();
  if (labels.size() != rows)
    detail::fail(errc::shape_mismatch,
                 fmt::format("confident_learning: probabilities are {} x {}, but there are {} labels", rows, classes,
                             labels.size()));
  LabelIssues issues;
  issues.self_confidence.resize(rows);
  std::vector<double> sums(classes, 0);
  std::vector<std::size_t> counts(classes, 0);
  constexpr std::size_t ahead = 24;  // rows: each is a line of memory of its own
  for (std::size_t r = 0; r < rows; ++r) {
    if (r + ahead < rows && labels[r + ahead] > 0)
      __builtin_prefetch(p.row(r + ahead).data() + std::min<std::size_t>(labels[r + ahead], classes - 1));
    if (labels[r] < -1 || labels[r] >= static_cast<std::int64_t>(classes))
      detail::fail(
          errc::invalid_argument,
          fmt::format("confident_learning: row {} has label {}, but there are {} classes", r, labels[r], classes));
    if (labels[r] < 0) {
      issues.self_confidence[r] = std::numeric_limits<double>::quiet_NaN();
      continue;
    }
    const auto given = static_cast<std::size_t>(labels[r]);
    sums[given] += issues.self_confidence[r] = p(r, given);
    ++counts[given];
  }

  issues.confident = Tensor<std::uint64_t>({classes, classes});
  issues.guess.assign(rows, -1);
  std::vector<T> least;  // confident from here on; NaN, which nothing reaches, for a class without rows
  for (std::size_t c = 0; c < classes; ++c) {
    issues.thresholds.push_back(counts[c] ? sums[c] / static_cast<double>(counts[c])
                                          : std::numeric_limits<double>::quiet_NaN());
    least.push_back(static_cast<T>(issues.thresholds[c] - slack));
  }
  const auto& table = kernels::detail::confident_table(active_isa());
  kernels::detail::ConfidentRow seen[rows_at_once];
  std::vector<std::uint32_t> flagged;
  for (std::size_t r = 0; r < rows; ++r) {
    if (r % rows_at_once == 0) look(table, p, r, std::min(rows_at_once, rows - r), least.data(), seen);
    const auto& it = seen[r % rows_at_once];
    if (it.sound == 0 || !(it.most <= T(1 + 1e-6))) fail_probability(p, r);
    if (labels[r] < 0) continue;
    const auto given = static_cast<std::size_t>(labels[r]);
    if (it.best == -1) continue;
    issues.guess[r] = static_cast<std::int32_t>(it.guess);
    ++issues.confident(given, it.guess);
    if (it.guess == given) continue;
    // A label that is also the most probable class is no issue, however confident another class may look.
    const T* const row = p.row(r).data();
    if (issues.self_confidence[r] < it.most || std::max_element(row, row + classes) != row + given)
      flagged.push_back(static_cast<std::uint32_t>(r));
  }
  sort_by(issues.self_confidence, flagged);
  issues.flagged = std::move(flagged);
  return issues;
}

}  // namespace

LabelIssues confident_learning(MatrixView<const float> probabilities, std::span<const std::int32_t> labels) {
  return find_issues(probabilities, labels);
}

LabelIssues confident_learning(MatrixView<const double> probabilities, std::span<const std::int32_t> labels) {
  return find_issues(probabilities, labels);
}

void ConfidentLearning::update(const Batch& batch) {
  const Dataset& data = *batch.data;
  const auto labels = data.labels();
  const auto names = data.classes();
  if (batch.probabilities.cols() != names.size())
    detail::fail(errc::shape_mismatch,
                 fmt::format("confident_learning: probabilities have {} columns, the target has {} "
                             "classes",
                             batch.probabilities.cols(), names.size()));
  if (!names_.empty() && !std::equal(names.begin(), names.end(), names_.begin(), names_.end()))
    detail::fail(errc::type_mismatch, "confident_learning: batches have different classes");
  names_.assign(names.begin(), names.end());
  classes_ = names_.size();
  for (std::size_t r = 0; r < data.rows(); ++r) {
    const auto row = batch.probabilities.row(r);
    probabilities_.insert(probabilities_.end(), row.begin(), row.end());
  }
  labels_.insert(labels_.end(), labels.begin(), labels.end());
  ids_.insert(ids_.end(), data.row_ids().begin(), data.row_ids().end());
}

void ConfidentLearning::merge(const ConfidentLearning& other) {
  if (other.ids_.empty()) return;
  if (!names_.empty() && names_ != other.names_)
    detail::fail(errc::type_mismatch, "confident_learning: merged states have different classes");
  names_ = other.names_;
  classes_ = other.classes_;
  probabilities_.insert(probabilities_.end(), other.probabilities_.begin(), other.probabilities_.end());
  labels_.insert(labels_.end(), other.labels_.begin(), other.labels_.end());
  ids_.insert(ids_.end(), other.ids_.begin(), other.ids_.end());
}

Verdict ConfidentLearning::finish() const {
  if (ids_.empty()) return Verdict::abstain(std::string(id), stage, "there are no rows to look at");
  const auto issues =
      confident_learning(MatrixView<const float>(probabilities_.data(), ids_.size(), classes_), labels_);
  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  verdict.outcome = issues.flagged.empty() ? Outcome::pass : Outcome::warn;
  verdict.score = static_cast<double>(issues.flagged.size()) / static_cast<double>(ids_.size());
  verdict.summary = fmt::format("{} of {} rows are confidently of another class than their label",
                                issues.flagged.size(), ids_.size());
  for (std::uint32_t r : issues.flagged)
    verdict.findings.push_back(
        {ids_[r], "", 1 - issues.self_confidence[r],
         fmt::format("labelled {}, but the others of its kind are {} (probability of its own label {:.3f})",
                     names_[static_cast<std::size_t>(labels_[r])], names_[static_cast<std::size_t>(issues.guess[r])],
                     issues.self_confidence[r])});
  return verdict;
}

}  // namespace redoubt
