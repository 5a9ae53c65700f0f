#include "redoubt/robustness/gate_checks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "redoubt/core/tensor.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/forest.hpp"
#include "robustness/rows.hpp"
#include "robustness/scoring.hpp"

namespace redoubt {
namespace {

void append(std::vector<float>& values, MatrixView<const float> matrix) {
  for (std::size_t r = 0; r < matrix.rows(); ++r)
    values.insert(values.end(), matrix.row(r).begin(), matrix.row(r).end());
}

MatrixView<const float> view(const std::vector<float>& values, std::size_t rows) {
  return {values.data(), rows, rows == 0 ? 0 : values.size() / rows};
}

std::size_t most_probable_class(std::span<const float> row) noexcept {
  return static_cast<std::size_t>(std::max_element(row.begin(), row.end()) - row.begin());
}

Verdict gate_verdict(std::string_view id) {
  Verdict verdict;
  verdict.check = id;
  verdict.stage = Stage::gate;
  return verdict;
}

}  // namespace

// --- MetricThreshold ----------------------------------------------------------------------------------

void MetricThreshold::update(const Batch& batch) {
  detail::append_rows(data_, *batch.data);
  append(outputs_, batch.probabilities);
}

void MetricThreshold::merge(const MetricThreshold& other) {
  detail::append_rows(data_, other.data_);
  outputs_.insert(outputs_.end(), other.outputs_.begin(), other.outputs_.end());
}

Verdict MetricThreshold::finish() const {
  if (data_.task() == Task::none) return Verdict::abstain(std::string(id), stage, "the data has no target");
  if (std::isnan(threshold)) detail::fail(errc::invalid_argument, "MetricThreshold::threshold is not a number");
  const std::string name = detail::metric_or_default(metric, data_.task());
  const double value = detail::metric_of(data_, view(outputs_, data_.rows()), name);
  if (std::isnan(value))
    return Verdict::abstain(std::string(id), stage,
                            fmt::format("{} is not defined on these {} rows", name, data_.rows()));
  const bool higher = detail::higher_is_better(name);
  Verdict verdict = gate_verdict(id);
  verdict.score = value;
  verdict.outcome = (higher ? value >= threshold : value <= threshold) ? Outcome::pass : Outcome::block;
  verdict.summary = fmt::format("{} is {:.4f} on {} rows; {} {:.4f} is asked for", name, value, data_.rows(),
                                higher ? "at least" : "at most", threshold);
  return verdict;
}

// --- ChampionChallenger -------------------------------------------------------------------------------

void ChampionChallenger::update(const Batch& batch) {
  detail::append_rows(data_, *batch.data);
  append(outputs_, batch.probabilities);
  append(reference_, batch.reference);
}

void ChampionChallenger::merge(const ChampionChallenger& other) {
  detail::append_rows(data_, other.data_);
  outputs_.insert(outputs_.end(), other.outputs_.begin(), other.outputs_.end());
  reference_.insert(reference_.end(), other.reference_.begin(), other.reference_.end());
}

Verdict ChampionChallenger::finish() const {
  if (data_.task() == Task::none) return Verdict::abstain(std::string(id), stage, "the data has no target");
  const std::size_t rows = data_.rows();
  const auto candidate = view(outputs_, rows), champion = view(reference_, rows);
  const std::string name = detail::metric_or_default(metric, data_.task());
  const double before = detail::metric_of(data_, champion, name), now = detail::metric_of(data_, candidate, name);
  if (std::isnan(before) || std::isnan(now))
    return Verdict::abstain(std::string(id), stage, fmt::format("{} is not defined on these {} rows", name, rows));

  Verdict verdict = gate_verdict(id);
  const double loss = detail::worsening(name, before, now);
  verdict.score = loss - max_loss;
  if (loss > max_loss)
    verdict.findings.push_back(
        {no_row, "", loss, fmt::format("overall {} is {:.4f}, the champion's is {:.4f}", name, now, before)});

  const std::string by_slice = !slice_metric.empty()              ? slice_metric
                               : data_.task() == Task::regression ? "mae"
                                                                  : "accuracy";
  std::size_t looked_at = 0;
  for (const std::string& column_name : slices) {
    const Column& column = data_.column(column_name);
    if (column.spec.type != ColumnType::categorical)
      detail::fail(errc::type_mismatch, fmt::format("ChampionChallenger::slices: column '{}' is {}, not categorical",
                                                    column_name, to_string(column.spec.type)));
    std::vector<std::vector<std::size_t>> members(column.spec.categories.size());
    for (std::size_t r = 0; r < rows; ++r)
      if (column.codes[r] >= 0) members[static_cast<std::size_t>(column.codes[r])].push_back(r);
    for (std::size_t category = 0; category < members.size(); ++category) {
      const auto& slice = members[category];
      if (slice.size() < min_slice_rows) continue;
      const Dataset part = data_.take(slice);
      Tensor<float> part_now({slice.size(), candidate.cols()}), part_before({slice.size(), champion.cols()});
      for (std::size_t i = 0; i < slice.size(); ++i) {
        std::copy_n(candidate.row(slice[i]).begin(), candidate.cols(), part_now.row(i).begin());
        std::copy_n(champion.row(slice[i]).begin(), champion.cols(), part_before.row(i).begin());
      }
      const double slice_before = detail::metric_of(part, part_before, by_slice);
      const double slice_now = detail::metric_of(part, part_now, by_slice);
      if (std::isnan(slice_before) || std::isnan(slice_now)) continue;
      ++looked_at;
      const double slice_loss = detail::worsening(by_slice, slice_before, slice_now);
      verdict.score = std::max(verdict.score, slice_loss - max_slice_loss);
      if (slice_loss > max_slice_loss)
        verdict.findings.push_back(
            {no_row, "", slice_loss,
             fmt::format("{} = {} ({} rows): {} is {:.4f}, the champion's is {:.4f}", column_name,
                         column.spec.categories[category], slice.size(), by_slice, slice_now, slice_before)});
    }
  }
  detail::sort_findings(verdict.findings);
  verdict.outcome = verdict.findings.empty() ? Outcome::pass : Outcome::block;
  verdict.summary =
      fmt::format("{} is {:.4f}, the champion's is {:.4f}; {} slices compared", name, now, before, looked_at);
  return verdict;
}

// --- CanaryFlips --------------------------------------------------------------------------------------

void CanaryFlips::update(const Batch& batch) {
  if (!(confidence > 0.5 && confidence <= 1))
    detail::fail(errc::invalid_argument,
                 fmt::format("CanaryFlips::confidence is {}; it must be in (0.5, 1]", confidence));
  if (!(max_flips >= 0 && max_flips <= 1))
    detail::fail(errc::invalid_argument, fmt::format("CanaryFlips::max_flips is {}; it must be in [0, 1]", max_flips));
  const Dataset& data = *batch.data;
  for (std::size_t r = 0; r < data.rows(); ++r) {
    const std::int32_t label = data.labels()[r];
    if (label < 0) continue;
    const auto truth = static_cast<std::size_t>(label);
    const float before = batch.reference(r, truth);
    if (before < static_cast<float>(confidence)) continue;
    ++canaries_;
    const std::size_t guess = most_probable_class(batch.probabilities.row(r));
    if (guess == truth) continue;
    flips_.push_back(
        {data.row_ids()[r], "", before - batch.probabilities(r, truth),
         fmt::format("is {} and the champion was sure of it ({:.3f}); the candidate says {} ({:.3f})",
                     data.classes()[truth], before, data.classes()[guess], batch.probabilities(r, guess))});
  }
}

void CanaryFlips::merge(const CanaryFlips& other) {
  canaries_ += other.canaries_;
  flips_.insert(flips_.end(), other.flips_.begin(), other.flips_.end());
}

Verdict CanaryFlips::finish() const {
  if (canaries_ < min_canaries)
    return Verdict::abstain(
        std::string(id), stage,
        fmt::format("the champion is sure of {} rows only; {} are needed", canaries_, min_canaries));
  Verdict verdict = gate_verdict(id);
  verdict.findings = flips_;
  detail::sort_findings(verdict.findings);
  verdict.score = static_cast<double>(flips_.size()) / static_cast<double>(canaries_);
  verdict.outcome = verdict.score > max_flips ? Outcome::block : flips_.empty() ? Outcome::pass : Outcome::warn;
  verdict.summary = fmt::format("{} of {} formerly certain cases flipped ({:.2f} %); {:.2f} % are tolerated",
                                flips_.size(), canaries_, 100 * verdict.score, 100 * max_flips);
  return verdict;
}

// --- running ------------------------------------------------------------------------------------------

std::vector<Verdict> run_gate_checks(const Model& candidate, const Model* champion, const Dataset& frozen,
                                     std::span<const AnyCheck> checks, Arena* arena) {
  Need wanted = Need::none;
  for (const AnyCheck& check : checks) wanted = wanted | check.needs();
  Batch batch;
  batch.data = &frozen;
  batch.arena = arena;
  Tensor<float> outputs, reference, features;
  Tensor<std::uint32_t> leaves;
  if (frozen.rows() > 0) {
    outputs = detail::aligned_outputs(candidate, frozen, arena);
    batch.probabilities = outputs;
    if (champion && *champion) {
      reference = detail::aligned_outputs(*champion, frozen, arena);
      batch.reference = reference;
    }
    if (covers(wanted, Need::features) || covers(wanted, Need::leaf_ids)) {
      features = candidate.encoder().apply(frozen, arena);
      batch.features = features;
    }
    const auto* forest = dynamic_cast<const Forest*>(&candidate.predictor());
    if (covers(wanted, Need::leaf_ids) && forest) {
      leaves = Tensor<std::uint32_t>({frozen.rows(), forest->trees()});
      for (std::size_t r = 0; r < frozen.rows(); ++r) forest->leaf_ids(features.row(r), leaves.row(r));
      batch.leaf_ids = leaves;
    }
  }
  std::vector<Verdict> verdicts;
  for (const AnyCheck& check : checks) verdicts.push_back(check.run(batch));
  return verdicts;
}

}  // namespace redoubt
