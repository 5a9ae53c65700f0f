#include "redoubt/trees/gradient_boosting.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "redoubt/data/dataset.hpp"
#include "redoubt/data/sparse.hpp"
#include "redoubt/trees/binning.hpp"
#include "redoubt/trees/forest.hpp"
#include "trees/booster.hpp"
#include "trees/grown_tree.hpp"

namespace redoubt {
namespace {

using detail::fail;

BinningOptions binning_of(const GradientBoostingOptions& options) {
  BinningOptions binning;
  binning.max_bins = options.max_bins;
  binning.seed = options.seed;
  binning.arena = options.arena;
  return binning;
}

void check_queries(const TreeTarget& y, std::size_t rows) {
  if (!y.queries.empty() && y.queries.size() != rows)
    fail(errc::shape_mismatch, fmt::format("{} query numbers for {} rows", y.queries.size(), rows));
}

void check_inputs(const BoostingInputs& inputs, const TreeTarget& y, std::size_t cols) {
  if (inputs.validation.rows() == 0) return;
  if (inputs.validation.cols() != cols)
    fail(errc::shape_mismatch,
         fmt::format("validation rows have {} columns, training rows {}", inputs.validation.cols(), cols));
  const TreeTarget& v = inputs.validation_target;
  detail::check_target(v, inputs.validation.rows());
  check_queries(v, inputs.validation.rows());
  if (v.task != y.task || v.classes != y.classes)
    fail(errc::invalid_argument, "the targets of validation and training data are of different kinds");
}

/// What Booster::fit takes. All rows need no list.
std::vector<std::uint32_t> rows_to_fit(const TreeTarget& y, std::size_t count, std::span<const std::uint32_t> rows) {
  if (rows.empty() && count > 0 && detail::all_usable(y, count)) return {};
  std::vector<std::uint32_t> listed = detail::usable_rows(y, count, rows);
  if (listed.size() == count) return {};
  return listed;
}

Shared<const Forest> boost(const GradientBoostingOptions& options, MatrixView<const float> x,
                           std::span<const std::uint32_t> category_counts, const TreeTarget& y,
                           const detail::ColumnRules& rules, const BoostingInputs& inputs) {
  detail::check_target(y, x.rows());
  check_queries(y, x.rows());
  check_inputs(inputs, y, x.cols());
  const BinnedMatrix bins(x, category_counts, binning_of(options));
  return detail::Booster(options, bins, y, rules, inputs, x).fit(rows_to_fit(y, x.rows(), {}));
}

/// Target of a dataset, with the storage that the views need.
struct OwnedTarget {
  TreeTarget y;
  std::vector<std::uint32_t> queries;
  std::vector<std::int32_t> labels;
};

OwnedTarget target_of(const GradientBoostingOptions& options, const Dataset& data) {
  OwnedTarget target;
  target.y = TreeTarget::of(data);
  const bool by_query = options.loss == Loss::lambdarank ||
                        (options.objective && data.schema().find(options.query_column) != Schema::npos);
  if (!by_query) return target;
  const Column& column = data.column(options.query_column);
  if (column.spec.role == ColumnRole::feature)
    fail(errc::invalid_argument,
         fmt::format("GradientBoosting: query column '{}' is a feature; give it the role ignore", column.spec.name));
  if (column.spec.type == ColumnType::categorical) {
    target.queries.assign(column.codes.begin(), column.codes.end());
  } else if (column.spec.type == ColumnType::numeric) {
    std::vector<double> ids = column.numbers;
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    for (const double id : column.numbers)
      target.queries.push_back(static_cast<std::uint32_t>(std::lower_bound(ids.begin(), ids.end(), id) - ids.begin()));
  } else {
    fail(errc::type_mismatch,
         fmt::format("GradientBoosting: query column '{}' must be numeric or categorical", column.spec.name));
  }
  target.y.queries = target.queries;
  return target;
}

/// Labels of validation data in the codes of the training classes.
OwnedTarget validation_target_of(const GradientBoostingOptions& options, const Dataset& data,
                                 std::span<const std::string> classes, Task task) {
  if (data.task() != task)
    fail(errc::type_mismatch, fmt::format("the validation data is for {}, the training data for {}",
                                          to_string(data.task()), to_string(task)));
  OwnedTarget target = target_of(options, data);
  if (task != Task::classification) return target;
  std::vector<std::int32_t> code;
  for (const std::string& name : data.classes()) {
    const auto at = std::find(classes.begin(), classes.end(), name);
    if (at == classes.end())
      fail(errc::invalid_argument, fmt::format("class '{}' of the validation data is not in the training data", name));
    code.push_back(static_cast<std::int32_t>(at - classes.begin()));
  }
  for (const auto label : target.y.labels)
    target.labels.push_back(label < 0 ? -1 : code[static_cast<std::size_t>(label)]);
  target.y.labels = target.labels;
  target.y.classes = classes.size();
  return target;
}

const Forest& forest_of(const Model& model) {
  const auto* forest = dynamic_cast<const Forest*>(&model.predictor());
  if (!forest)
    fail(errc::unsupported,
         fmt::format("GradientBoosting: a model of form '{}' has no trees", model.predictor().form()));
  return *forest;
}

/// `data` in the terms of `model`. Error(invalid_argument) if its classes are others.
OwnedTarget target_for(const GradientBoostingOptions& options, const Model& model, const Dataset& data) {
  return validation_target_of(options, data, model.classes(), model.task());
}

Model fit_any(const GradientBoostingOptions& options, const Dataset& data, const Dataset* validation,
              const Model* model) {
  data.require_trainable();
  detail::check_boosting(options);
  const OwnedTarget target = model ? target_for(options, *model, data) : target_of(options, data);
  detail::check_target(target.y, data.rows());
  Tensor<float> encoded, validation_encoded;
  Encoder encoder = model ? model->encoder() : Encoder::fit_apply(data, options.encoder, encoded);
  if (model) encoded = encoder.apply(data, options.arena);
  BoostingInputs inputs;
  OwnedTarget validation_target;
  if (validation) {
    if (validation->rows() == 0) fail(errc::invalid_argument, "GradientBoosting: the validation data has no rows");
    const std::span<const std::string> classes = data.task() != Task::classification ? std::span<const std::string>{}
                                                 : model ? std::span<const std::string>(model->classes())
                                                         : data.classes();
    validation_target = validation_target_of(options, *validation, classes, data.task());
    validation_encoded = encoder.apply(*validation, options.arena);
    inputs.validation = validation_encoded;
    inputs.validation_target = validation_target.y;
  }
  if (model) inputs.start = &forest_of(*model);
  const detail::ColumnRules rules = detail::rules_for(options, encoder);
  auto forest = boost(options, encoded, encoder.category_counts(), target.y, rules, inputs);
  std::string described = detail::describe_boosting(options);
  if (model) described += fmt::format(" after {} trees", inputs.start->trees());
  return detail::make_tree_model("gradient_boosting", std::move(described), options.seed, data, data.task(),
                                 std::move(encoder), std::move(forest));
}

}  // namespace

Shared<const Forest> GradientBoosting::fit_binned(const BinnedMatrix& x, const TreeTarget& y,
                                                  std::span<const std::uint32_t> rows) const {
  detail::check_boosting(options);
  detail::check_target(y, x.rows());
  check_queries(y, x.rows());
  std::vector<std::uint32_t> category_counts;
  for (std::size_t c = 0; c < x.cols(); ++c) category_counts.push_back(x.column(c).categories);
  const detail::ColumnRules rules = detail::rules_for(options, category_counts, x.cols());
  const BoostingInputs none;
  return detail::Booster(options, x, y, rules, none, {}).fit(rows_to_fit(y, x.rows(), rows));
}

Shared<const Forest> GradientBoosting::fit_encoded(MatrixView<const float> x,
                                                   std::span<const std::uint32_t> category_counts, const TreeTarget& y,
                                                   const BoostingInputs& inputs) const {
  detail::check_boosting(options);
  return boost(options, x, category_counts, y, detail::rules_for(options, category_counts, x.cols()), inputs);
}

Shared<const Forest> GradientBoosting::fit_sparse(const CsrView& x, std::span<const std::uint32_t> category_counts,
                                                  const TreeTarget& y) const {
  detail::check_boosting(options);
  return fit_binned(BinnedMatrix(x, category_counts, binning_of(options)), y);
}

Model GradientBoosting::fit(const Dataset& data) const { return fit_any(options, data, nullptr, nullptr); }
Model GradientBoosting::fit(const Dataset& data, const Dataset& validation) const {
  return fit_any(options, data, &validation, nullptr);
}
Model GradientBoosting::fit_more(const Model& model, const Dataset& data) const {
  return fit_any(options, data, nullptr, &model);
}
Model GradientBoosting::fit_more(const Model& model, const Dataset& data, const Dataset& validation) const {
  return fit_any(options, data, &validation, &model);
}

Model GradientBoosting::refit(const Model& model, const Dataset& data) const {
  data.require_trainable();
  detail::check_boosting(options);
  const OwnedTarget target = target_for(options, model, data);
  const Tensor<float> encoded = model.encoder().apply(data, options.arena);
  auto forest = refit_encoded(forest_of(model), encoded, target.y);
  return detail::make_tree_model("gradient_boosting",
                                 fmt::format("{} refit_decay={}", model.info().options, options.refit_decay),
                                 model.info().seed, data, model.task(), model.encoder(), std::move(forest));
}

Shared<const Forest> GradientBoosting::refit_encoded(const Forest& forest, MatrixView<const float> x,
                                                     const TreeTarget& y) const {
  detail::check_boosting(options);
  detail::check_target(y, x.rows());
  check_queries(y, x.rows());
  if (x.cols() != forest.inputs())
    fail(errc::shape_mismatch, fmt::format("rows of {} columns for a forest of {}", x.cols(), forest.inputs()));
  const auto rows = detail::usable_rows(y, x.rows(), {});
  detail::Team team(options.arena);
  const detail::BoostingData training(options, y, x.rows(), rows, team);
  const auto objective = detail::make_objective(options, training);
  detail::require_continuable(forest, x.cols(), *objective);
  const std::size_t n = x.rows(), trees = forest.trees(), outputs = objective->outputs();
  ForestArrays arrays = forest.arrays();
  std::vector<std::uint32_t> leaves(n * trees);
  parallel_for(
      n, 256,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r)
          forest.leaf_ids(x.row(r), std::span(leaves).subspan(r * trees, trees));
      },
      options.arena);
  std::vector<float> scores(n * outputs), g(scores.size()), h(scores.size());
  for (std::size_t k = 0; k < outputs; ++k)
    std::fill_n(scores.begin() + static_cast<std::ptrdiff_t>(k * n), n, forest.shape().base[k]);
  std::vector<double> sum_g(arrays.leaf_values.size()), sum_h(sum_g.size());
  std::vector<std::vector<std::uint32_t>> rows_of(objective->renews() ? sum_g.size() : 0);
  for (std::size_t first = 0; first < trees; first += outputs) {
    objective->gradients(scores.data(), g.data(), h.data());
    for (std::size_t t = first; t < std::min(first + outputs, trees); ++t) {
      const std::size_t k = arrays.outputs_of[t];
      for (const auto r : rows) {
        const std::uint32_t leaf = leaves[r * trees + t];
        sum_g[leaf] += g[k * n + r];
        sum_h[leaf] += h[k * n + r];
        if (objective->renews()) rows_of[leaf].push_back(r);
      }
      std::vector<std::uint8_t> done(sum_g.size());
      std::vector<std::pair<double, double>> scratch;
      for (const auto r : rows) {
        const std::uint32_t leaf = leaves[r * trees + t];
        if (std::exchange(done[leaf], 1)) continue;
        double step = 0;
        if (objective->renews()) {
          step = objective->leaf_value(rows_of[leaf], scores.data() + k * n, scratch);
        } else if (const double curvature = sum_h[leaf] + options.l2; curvature > 0) {
          const double pull = std::max(std::abs(sum_g[leaf]) - options.l1, 0.0);
          step = -std::copysign(pull, sum_g[leaf]) / curvature;
          if (options.max_delta_step > 0) step = std::clamp(step, -options.max_delta_step, options.max_delta_step);
        }
        arrays.leaf_values[leaf] = static_cast<float>(options.refit_decay * arrays.leaf_values[leaf] +
                                                      (1 - options.refit_decay) * options.learning_rate * step);
      }
    }
    for (std::size_t t = first; t < std::min(first + outputs, trees); ++t)
      for (std::size_t r = 0; r < n; ++r)
        scores[arrays.outputs_of[t] * n + r] += arrays.leaf_values[leaves[r * trees + t]];
  }
  return Shared<const Forest>::make(forest.shape(), std::move(arrays));
}

}  // namespace redoubt
