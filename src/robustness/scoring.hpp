#pragma once
// Metrics of predictions on a dataset, with the classes of model and data matched by name.
#include <string>
#include <string_view>

#include "redoubt/core/tensor.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt::detail {

/// Outputs of the model in the order of the data's classes (regression: one column of values). A class that the
/// model does not know gets 0. Error(type_mismatch) if the tasks differ.
Tensor<float> aligned_outputs(const Model& model, const Dataset& data, Arena* arena);

/// One metric of `outputs` (rows x classes, or rows x 1) on the labelled rows of `data`; NaN if it is not defined
/// there (no labelled rows, one class only). Error(not_found) lists the known metrics.
double metric_of(const Dataset& data, MatrixView<const float> outputs, std::string_view metric);

/// Log loss or squared error of every row; 0 for a row without a target.
std::vector<double> row_losses(const Model& model, const Dataset& data);

/// "" -> the usual metric of the task: roc_auc or rmse.
std::string metric_or_default(const std::string& metric, Task task);
bool higher_is_better(std::string_view metric) noexcept;
/// How much worse `now` is than `before`, positive if worse; for errors (rmse, log_loss, ...) relative to `before`.
double worsening(std::string_view metric, double before, double now) noexcept;

}  // namespace redoubt::detail
