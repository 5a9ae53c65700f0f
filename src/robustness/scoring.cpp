#include "robustness/scoring.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "redoubt/metrics/evaluation.hpp"

namespace redoubt::detail {

Tensor<float> aligned_outputs(const Model& model, const Dataset& data, Arena* arena) {
  if (model.task() != data.task())
    fail(errc::type_mismatch,
         fmt::format("the model is for {}, the data for {}", to_string(model.task()), to_string(data.task())));
  Tensor<float> outputs = model.predict_proba(data, arena);
  if (model.task() != Task::classification) return outputs;
  const auto names = data.classes();
  if (std::equal(names.begin(), names.end(), model.classes().begin(), model.classes().end())) return outputs;
  Tensor<float> aligned({data.rows(), names.size()});
  for (std::size_t c = 0; c < names.size(); ++c) {
    const auto found = std::find(model.classes().begin(), model.classes().end(), names[c]);
    if (found == model.classes().end()) continue;
    const auto from = static_cast<std::size_t>(found - model.classes().begin());
    for (std::size_t r = 0; r < data.rows(); ++r) aligned(r, c) = outputs(r, from);
  }
  return aligned;
}

std::vector<double> row_losses(const Model& model, const Dataset& data) {
  const Tensor<float> out = aligned_outputs(model, data, nullptr);
  std::vector<double> loss(data.rows(), 0.0);
  for (std::size_t r = 0; r < loss.size(); ++r) {
    if (data.task() == Task::classification) {
      if (const auto label = data.labels()[r]; label >= 0)
        loss[r] = -std::log(std::max(static_cast<double>(out(r, static_cast<std::size_t>(label))), 1e-12));
    } else if (!std::isnan(data.targets()[r])) {
      loss[r] = std::pow(static_cast<double>(out(r, 0)) - data.targets()[r], 2);
    }
  }
  return loss;
}

double metric_of(const Dataset& data, MatrixView<const float> outputs, std::string_view metric) {
  EvaluationOptions options;
  options.bootstrap.resamples = 0;
  const auto weights = data.weights();
  std::vector<double> kept_weights;
  std::vector<std::size_t> rows;
  const bool classes = data.task() == Task::classification;
  for (std::size_t r = 0; r < data.rows(); ++r)
    if (classes ? data.labels()[r] >= 0 : !std::isnan(data.targets()[r])) {
      rows.push_back(r);
      if (!weights.empty()) kept_weights.push_back(weights[r]);
    }
  if (rows.empty()) return std::numeric_limits<double>::quiet_NaN();
  if (classes) {
    std::vector<std::int32_t> truth;
    Tensor<float> kept({rows.size(), outputs.cols()});
    for (std::size_t i = 0; i < rows.size(); ++i) {
      truth.push_back(data.labels()[rows[i]]);
      std::copy_n(outputs.row(rows[i]).begin(), outputs.cols(), kept.row(i).begin());
    }
    return Evaluation::classification({data.classes().begin(), data.classes().end()}, truth, kept, kept_weights,
                                      options)
        .value(metric);
  }
  std::vector<double> truth, predicted;
  for (std::size_t r : rows) truth.push_back(data.targets()[r]), predicted.push_back(outputs(r, 0));
  return Evaluation::regression(truth, predicted, kept_weights, options).value(metric);
}

std::string metric_or_default(const std::string& metric, Task task) {
  if (!metric.empty()) return metric;
  return task == Task::regression ? "rmse" : "roc_auc";
}

bool higher_is_better(std::string_view metric) noexcept {
  for (std::string_view lower : {"log_loss", "brier", "calibration_error", "rmse", "mae"})
    if (metric == lower) return false;
  return true;
}

double worsening(std::string_view metric, double before, double now) noexcept {
  if (higher_is_better(metric)) return before - now;
  return (now - before) / std::max(std::abs(before), 1e-12);
}

}  // namespace redoubt::detail
