#include "redoubt/robustness/poisoning/confident_learning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "redoubt/data/dataset.hpp"

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

template <class T>
LabelIssues find_issues(MatrixView<const T> p, std::span<const std::int32_t> labels) {
  const std::size_t rows = p.rows(), classes = p.cols();
  if (labels.size() != rows)
    detail::fail(errc::shape_mismatch,
                 fmt::format("confident_learning: probabilities are {} x {}, but there are {} labels", rows, classes,
                             labels.size()));
  std::vector<double> sums(classes, 0);
  std::vector<std::size_t> counts(classes, 0);
  for (std::size_t r = 0; r < rows; ++r) {
    if (labels[r] < -1 || labels[r] >= static_cast<std::int64_t>(classes))
      detail::fail(
          errc::invalid_argument,
          fmt::format("confident_learning: row {} has label {}, but there are {} classes", r, labels[r], classes));
    if (labels[r] < 0) continue;
    sums[static_cast<std::size_t>(labels[r])] += p(r, static_cast<std::size_t>(labels[r]));
    ++counts[static_cast<std::size_t>(labels[r])];
  }

  LabelIssues issues;
  issues.confident = Tensor<std::uint64_t>({classes, classes});
  issues.guess.assign(rows, -1);
  issues.self_confidence.assign(rows, std::numeric_limits<double>::quiet_NaN());
  std::vector<T> least;  // confident from here on; NaN, which nothing reaches, for a class without rows
  for (std::size_t c = 0; c < classes; ++c) {
    issues.thresholds.push_back(counts[c] ? sums[c] / static_cast<double>(counts[c])
                                          : std::numeric_limits<double>::quiet_NaN());
    least.push_back(static_cast<T>(issues.thresholds[c] - slack));
  }
  for (std::size_t r = 0; r < rows; ++r) {
    const T* const row = p.row(r).data();
    T best = -1;  // of the confident ones
    std::size_t guess = classes;
    bool possible = true;
    for (std::size_t c = 0; c < classes; ++c) {
      possible &= row[c] >= T(-1e-6) && row[c] <= T(1 + 1e-6);
      if (row[c] >= least[c] && row[c] > best) {
        best = row[c];
        guess = c;
      }
    }
    if (!possible) fail_probability(p, r);
    if (labels[r] < 0) continue;
    const auto given = static_cast<std::size_t>(labels[r]);
    issues.self_confidence[r] = row[given];
    if (guess == classes) continue;
    issues.guess[r] = static_cast<std::int32_t>(guess);
    ++issues.confident(given, guess);
    if (guess == given) continue;
    // A label that is also the most probable class is no issue, however confident another class may look.
    if (std::max_element(row, row + classes) != row + given) issues.flagged.push_back(static_cast<std::uint32_t>(r));
  }
  std::stable_sort(issues.flagged.begin(), issues.flagged.end(), [&](std::uint32_t a, std::uint32_t b) {
    return issues.self_confidence[a] < issues.self_confidence[b];
  });
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
