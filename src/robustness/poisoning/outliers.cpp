#include "redoubt/robustness/poisoning/outliers.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/robustness/poisoning/outlier_scores.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/isolation_forest.hpp"
#include "robustness/complete.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

std::vector<double> scores_of(const Outliers& check, MatrixView<const float> x) {
  if (check.method == OutlierMethod::isolation_forest) {
    const auto forest = IsolationForest{{.trees = check.trees, .seed = check.seed}}.fit_encoded(x);
    Tensor<float> scores({x.rows(), 1});
    forest->predict_batch(x, scores, nullptr);
    return {scores.data(), scores.data() + scores.size()};
  }
  const bool scaled = check.method == OutlierMethod::knn || check.method == OutlierMethod::lof;
  const Tensor<float> complete = detail::completed(x, scaled);
  const std::size_t most = x.rows() - 1;
  switch (check.method) {
    case OutlierMethod::ecod: return ecod_scores(complete);
    case OutlierMethod::hbos: return hbos_scores(complete);
    case OutlierMethod::knn: return knn_scores(complete, std::min<std::size_t>(5, most));
    case OutlierMethod::lof: return lof_scores(complete, std::min<std::size_t>(20, most));
    default: return robust_distance_scores(complete, {.seed = check.seed});
  }
}

}  // namespace

const char* to_string(OutlierMethod method) noexcept {
  switch (method) {
    case OutlierMethod::isolation_forest: return "isolation_forest";
    case OutlierMethod::ecod: return "ecod";
    case OutlierMethod::hbos: return "hbos";
    case OutlierMethod::knn: return "knn";
    case OutlierMethod::lof: return "lof";
    case OutlierMethod::robust_distance: return "robust_distance";
  }
  return "unknown";
}

void Outliers::update(const Batch& batch) {
  if (!ids_.empty() && batch.features.cols() != width_)
    detail::fail(errc::shape_mismatch,
                 fmt::format("outliers: batches have {} and {} features", width_, batch.features.cols()));
  width_ = batch.features.cols();
  for (std::size_t r = 0; r < batch.features.rows(); ++r) {
    const auto row = batch.features.row(r);
    features_.insert(features_.end(), row.begin(), row.end());
  }
  ids_.insert(ids_.end(), batch.data->row_ids().begin(), batch.data->row_ids().end());
}

void Outliers::merge(const Outliers& other) {
  if (other.ids_.empty()) return;
  if (!ids_.empty() && other.width_ != width_)
    detail::fail(errc::shape_mismatch,
                 fmt::format("outliers: merged states have {} and {} features", width_, other.width_));
  width_ = other.width_;
  features_.insert(features_.end(), other.features_.begin(), other.features_.end());
  ids_.insert(ids_.end(), other.ids_.begin(), other.ids_.end());
}

Verdict Outliers::finish() const {
  constexpr std::size_t fewest = 20;
  if (!(cut > 0)) detail::fail(errc::invalid_argument, fmt::format("Outliers::cut is {}; it must be positive", cut));
  if (ids_.size() < fewest || width_ == 0)
    return Verdict::abstain(
        std::string(id), stage,
        fmt::format("needs at least {} rows with features; there are {} rows of {}", fewest, ids_.size(), width_));
  const MatrixView<const float> x(features_.data(), ids_.size(), width_);
  const std::vector<double> values = scores_of(*this, x);
  std::vector<double> distance;
  const double centre = detail::median(values);
  for (double v : values) distance.push_back(std::abs(v - centre));
  // 1.4826 turns the median absolute deviation of a normal into its standard deviation.
  const bool isolated = method == OutlierMethod::isolation_forest;
  const double spread = std::max(1.4826 * detail::median(distance), isolated ? 1e-3 : 1e-3 * std::abs(centre) + 1e-12);

  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  for (std::size_t r = 0; r < values.size(); ++r)
    if (const double z = (values[r] - centre) / spread; z > cut)
      verdict.findings.push_back({ids_[r], "", values[r],
                                  fmt::format("{}: anomaly score {:.4g}, {:.1f} deviations above the median",
                                              isolated ? "isolated" : to_string(method), values[r], z)});
  detail::finish_warning(verdict, ids_.size());
  verdict.summary = fmt::format("{} of {} rows are strong outliers", verdict.findings.size(), ids_.size());
  return verdict;
}

}  // namespace redoubt
