#include "redoubt/linear/logistic_regression.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "linear/linear_problem.hpp"
#include "linear/training_rows.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/linear/linear_form.hpp"
#include "redoubt/model/parts.hpp"

namespace redoubt {

Model LogisticRegression::fit(const Dataset& data) const {
  data.require_trainable();
  detail::require_penalty(options.l2, "logistic regression");
  const std::vector<double> codes(data.labels().begin(), data.labels().end());
  const std::size_t classes = data.classes().size();
  const bool binary = classes == 2;
  const std::size_t scores = binary ? 1 : classes;

  EncoderOptions encoder = options.encoder;
  encoder.seed = options.seed;
  const detail::TrainingRows rows = detail::training_rows(data, encoder, "logistic regression");
  const detail::LinearProblem problem(rows.inputs, rows.weights, codes, scores,
                                      binary ? detail::LinearLoss::logistic : detail::LinearLoss::softmax, options.l2,
                                      options.arena);
  const detail::LinearSolution solution = problem.solve(
      {.max_iterations = options.max_iterations, .tolerance = options.tolerance, .progress = options.progress});

  std::vector<float> weights(solution.weights.flat().begin(), solution.weights.flat().end());

  Model::Parts parts;
  parts.info.algorithm = "logistic_regression";
  parts.info.options =
      fmt::format("l2={} max_iterations={} tolerance={} iterations={} converged={}", options.l2, options.max_iterations,
                  options.tolerance, solution.lbfgs.iterations, solution.lbfgs.converged);
  parts.info.seed = options.seed;
  parts.info.data_hash = data.hash();
  parts.info.train_rows = data.rows();
  parts.info.library_version = version();
  parts.info.isa = to_string(active_isa());
  parts.task = Task::classification;
  parts.classes.assign(data.classes().begin(), data.classes().end());
  parts.encoder = rows.encoder;
  parts.predictor =
      Shared<const LinearForm>::make(std::move(weights), std::vector<float>(solution.bias.begin(), solution.bias.end()),
                                     binary ? LinearLink::sigmoid : LinearLink::softmax);
  return Model(std::move(parts), data);
}

}  // namespace redoubt
