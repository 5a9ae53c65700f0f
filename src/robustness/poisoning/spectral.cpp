#include "redoubt/robustness/poisoning/spectral.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "redoubt/data/dataset.hpp"
#include "robustness/rows.hpp"
#include "robustness/singular.hpp"

namespace redoubt {
namespace {

/// Columns with mean 0 and deviation 1 over `rows`; missing and constant ones are 0.
std::vector<double> standardised(MatrixView<const float> x, std::span<const std::uint32_t> rows) {
  const std::size_t n = rows.size(), d = x.cols();
  std::vector<double> z(n * d, 0.0);
  for (std::size_t c = 0; c < d; ++c) {
    double sum = 0, squares = 0, count = 0;
    for (const std::uint32_t r : rows)
      if (std::isfinite(x(r, c))) sum += x(r, c), ++count;
    if (count == 0) continue;
    const double mean = sum / count;
    for (const std::uint32_t r : rows)
      if (std::isfinite(x(r, c))) squares += (x(r, c) - mean) * (x(r, c) - mean);
    const double deviation = std::sqrt(squares / count);
    if (deviation <= 1e-12 * std::abs(mean) || deviation == 0) continue;
    for (std::size_t i = 0; i < n; ++i)
      if (std::isfinite(x(rows[i], c))) z[i * d + c] = (x(rows[i], c) - mean) / deviation;
  }
  return z;
}

}  // namespace

std::vector<double> spectral_scores(MatrixView<const float> x, std::span<const std::int32_t> labels) {
  if (x.rows() != labels.size())
    detail::fail(errc::shape_mismatch, fmt::format("spectral_scores: {} rows and {} labels", x.rows(), labels.size()));
  std::vector<double> scores(labels.size(), 0.0);
  std::int32_t classes = 0;
  for (const std::int32_t label : labels) classes = std::max(classes, label + 1);
  std::vector<std::vector<std::uint32_t>> rows(static_cast<std::size_t>(classes));
  for (std::uint32_t r = 0; r < labels.size(); ++r)
    if (labels[r] >= 0) rows[static_cast<std::size_t>(labels[r])].push_back(r);
  for (const auto& members : rows) {
    if (members.size() < 3) continue;
    const auto projections = detail::top_projections(standardised(x, members), members.size(), x.cols());
    double mean = 0;
    for (const double p : projections) mean += p * p / static_cast<double>(members.size());
    if (mean > 0)
      for (std::size_t i = 0; i < members.size(); ++i) scores[members[i]] = projections[i] * projections[i] / mean;
  }
  return scores;
}

void SpectralSignatures::update(const Batch& batch) {
  SpectralSignatures more;
  more.width_ = batch.features.cols();
  for (std::size_t r = 0; r < batch.features.rows(); ++r) {
    const auto row = batch.features.row(r);
    more.features_.insert(more.features_.end(), row.begin(), row.end());
  }
  more.labels_.assign(batch.data->labels().begin(), batch.data->labels().end());
  more.classes_.assign(batch.data->classes().begin(), batch.data->classes().end());
  more.ids_.assign(batch.data->row_ids().begin(), batch.data->row_ids().end());
  merge(more);
}

void SpectralSignatures::merge(const SpectralSignatures& other) {
  if (other.ids_.empty()) return;
  if (!ids_.empty() && other.width_ != width_)
    detail::fail(errc::shape_mismatch,
                 fmt::format("spectral_signatures: batches have {} and {} features", width_, other.width_));
  width_ = other.width_;
  std::vector<std::int32_t> code;  // classes are matched by name
  for (const std::string& name : other.classes_) {
    const auto at = std::find(classes_.begin(), classes_.end(), name);
    code.push_back(static_cast<std::int32_t>(at - classes_.begin()));
    if (at == classes_.end()) classes_.push_back(name);
  }
  for (const std::int32_t label : other.labels_)
    labels_.push_back(label < 0 ? -1 : code[static_cast<std::size_t>(label)]);
  features_.insert(features_.end(), other.features_.begin(), other.features_.end());
  ids_.insert(ids_.end(), other.ids_.begin(), other.ids_.end());
}

Verdict SpectralSignatures::finish() const {
  if (!(expected_share > 0 && expected_share <= 0.33))
    detail::fail(errc::invalid_argument,
                 fmt::format("SpectralSignatures::expected_share is {}; it must be in (0, 0.33]", expected_share));
  if (!(cut >= 1))
    detail::fail(errc::invalid_argument, fmt::format("SpectralSignatures::cut is {}; it must be at least 1", cut));
  constexpr std::size_t fewest = 20;
  if (ids_.size() < fewest || width_ < 2)
    return Verdict::abstain(
        std::string(id), stage,
        fmt::format("needs at least {} rows of 2 features; there are {} of {}", fewest, ids_.size(), width_));
  const auto scores = spectral_scores({features_.data(), ids_.size(), width_}, labels_);
  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  for (std::size_t k = 0; k < classes_.size(); ++k) {
    std::vector<std::uint32_t> members;
    for (std::uint32_t r = 0; r < ids_.size(); ++r)
      if (labels_[r] == static_cast<std::int32_t>(k)) members.push_back(r);
    std::stable_sort(members.begin(), members.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return scores[a] > scores[b]; });
    members.resize(static_cast<std::size_t>(1.5 * expected_share * static_cast<double>(members.size())));
    for (const std::uint32_t r : members)
      if (scores[r] >= cut)
        verdict.findings.push_back(
            {ids_[r], "", scores[r],
             fmt::format("far out on the main direction of class {}: {:.1f} times the mean", classes_[k], scores[r])});
  }
  detail::finish_warning(verdict, ids_.size());
  verdict.summary =
      fmt::format("{} of {} rows stand out on the main direction of their class", verdict.findings.size(), ids_.size());
  return verdict;
}

}  // namespace redoubt
