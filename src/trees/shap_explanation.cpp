#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "redoubt/data/dataset.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/model/model.hpp"
#include "redoubt/trees/forest.hpp"
#include "redoubt/trees/shap.hpp"

namespace redoubt {
namespace {

const Forest& forest_of(const Model& model) {
  if (const auto* forest = dynamic_cast<const Forest*>(&model.predictor())) return *forest;
  detail::fail(errc::unsupported, fmt::format("explain: SHAP values are for forests, this model is of form '{}'",
                                              model.predictor().form()));
}

}  // namespace

struct Explainer::State {
  Model model;  // keeps the forest
  TreeShap shap;
};

Explainer::Explainer(const Model& model)
    : state_(Shared<const State>::make(State{model, TreeShap(forest_of(model))})) {}

Explainer::Explainer(const Model& model, const Dataset& background, Arena* arena) {
  const Forest& forest = forest_of(model);
  const Tensor<float> rows = model.encoder().apply(background, arena);
  state_ = Shared<const State>::make(State{model, TreeShap(forest, rows, arena)});
}

Explanation Explainer::explain_encoded(MatrixView<const float> rows, Arena* arena) const {
  const auto& [model, shap] = *state_;
  Explanation result;
  for (const ColumnSpec& column : model.schema().columns()) result.columns.push_back(column.name);
  const auto& classes = model.classes();
  const std::size_t outputs = shap.outputs(), columns = result.columns.size();
  if (classes.size() == outputs)
    result.outputs = classes;
  else if (classes.size() == 2 && outputs == 1)
    result.outputs = {classes[1]};
  else
    for (std::size_t k = 0; k < outputs; ++k)
      result.outputs.push_back(outputs == 1 ? "value" : fmt::format("value{}", k));
  result.base.assign(shap.base().begin(), shap.base().end());
  result.values = Tensor<double>({rows.rows(), outputs, columns});
  const Tensor<double> encoded = shap.values(rows, arena);
  const std::vector<std::uint32_t> origins = model.encoder().origins();
  for (std::size_t r = 0; r < rows.rows(); ++r)
    for (std::size_t k = 0; k < outputs; ++k)
      for (std::size_t c = 0; c < origins.size(); ++c)
        result.values.data()[(r * outputs + k) * columns + origins[c]] += encoded(r, k * origins.size() + c);
  return result;
}

std::span<const double> Explanation::row(std::size_t row, std::size_t output) const noexcept {
  return {values.data() + (row * outputs.size() + output) * columns.size(), columns.size()};
}

double Explanation::score(std::size_t row, std::size_t output) const noexcept {
  const auto parts = this->row(row, output);
  return std::accumulate(parts.begin(), parts.end(), base[output]);
}

std::vector<double> Explanation::importance(std::size_t output) const {
  std::vector<double> result(columns.size());
  for (std::size_t r = 0; r < rows(); ++r)
    for (std::size_t c = 0; c < columns.size(); ++c)
      result[c] += std::abs(row(r, output)[c]) / static_cast<double>(rows());
  return result;
}

std::vector<std::size_t> Explanation::order(std::size_t row, std::size_t output) const {
  const auto parts = this->row(row, output);
  std::vector<std::size_t> result(columns.size());
  std::iota(result.begin(), result.end(), std::size_t{0});
  std::stable_sort(result.begin(), result.end(),
                   [&](std::size_t a, std::size_t b) { return std::abs(parts[a]) > std::abs(parts[b]); });
  return result;
}

std::string Explanation::text(std::size_t row, std::size_t output, std::size_t top) const {
  const auto parts = this->row(row, output);
  std::string text = fmt::format("{} {:.2f} = base {:.2f}", outputs[output], score(row, output), base[output]);
  const auto add = [&](const std::string& name, double part) {
    text += fmt::format(" {} {} {:.2f}", part < 0 ? '-' : '+', name, std::abs(part));
  };
  const std::vector<std::size_t> largest = order(row, output);
  double rest = 0;
  for (std::size_t i = 0; i < largest.size(); ++i)
    if (i < top)
      add(columns[largest[i]], parts[largest[i]]);
    else
      rest += parts[largest[i]];
  if (largest.size() > top)
    add(fmt::format("{} other{}", largest.size() - top, largest.size() - top > 1 ? "s" : ""), rest);
  return text;
}

Explanation Explainer::explain(const Dataset& data, Arena* arena) const {
  const Tensor<float> rows = state_->model.encoder().apply(data, arena);
  return explain_encoded(rows, arena);
}

Explanation Explainer::explain(MatrixView<const float> raw, Arena* arena) const {
  const Encoder& encoder = state_->model.encoder();
  Tensor<float> rows({raw.rows(), encoder.width()});
  for (std::size_t r = 0; r < raw.rows(); ++r) {
    const errc code = encoder.apply(raw.row(r), rows.row(r));
    if (code == errc::shape_mismatch)
      detail::fail(code,
                   fmt::format("explain: raw rows of {} columns, the model takes {}", raw.cols(), encoder.inputs()));
    if (code != errc::ok) detail::fail(code, "explain: a model with text columns has no raw rows; pass a Dataset");
  }
  return explain_encoded(rows, arena);
}

Explanation explain(const Model& model, const Dataset& data, Arena* arena) {
  return Explainer(model).explain(data, arena);
}

}  // namespace redoubt
