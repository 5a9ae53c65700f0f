#include "redoubt/linear/ridge.hpp"

#include <fmt/format.h>

#include <Eigen/Cholesky>
#include <Eigen/QR>
#include <algorithm>
#include <cmath>

#include "linear/linear_problem.hpp"
#include "linear/training_rows.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/version.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/linear/linear_form.hpp"
#include "redoubt/model/parts.hpp"

namespace redoubt {
namespace {

constexpr std::size_t widest_gram = 1024;
constexpr std::size_t gram_rows = 1024;  // rows that are centred and multiplied at once

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic>;
using Vector = Eigen::VectorXd;

struct Coefficients {
  std::vector<double> weights;
  double bias = 0;
};

/// Solves (Xc' W Xc + l2 I) w = Xc' W yc for centred columns that are scaled to unit norm.
Coefficients solve_gram(const Tensor<float>& inputs, std::span<const double> weights, std::span<const double> targets,
                        double l2, Arena* arena) {
  const std::size_t rows = inputs.rows(), cols = inputs.cols();
  const auto width = static_cast<Eigen::Index>(cols);
  Vector mean = Vector::Zero(width);
  double total = 0, target_mean = 0;
  for (std::size_t r = 0; r < rows; ++r) {
    const auto row = inputs.row(r);
    for (std::size_t c = 0; c < cols; ++c) mean[static_cast<Eigen::Index>(c)] += weights[r] * row[c];
    target_mean += weights[r] * targets[r];
    total += weights[r];
  }
  mean /= total;
  target_mean /= total;

  // Column strips of the Gram matrix are independent: parallel over them, in fixed order over the rows.
  Matrix gram = Matrix::Zero(width, width);
  Vector right = Vector::Zero(width);
  Matrix block(static_cast<Eigen::Index>(gram_rows), width);
  Vector residual(static_cast<Eigen::Index>(gram_rows));
  for (std::size_t first = 0; first < rows; first += gram_rows) {
    const std::size_t count = std::min(gram_rows, rows - first);
    const auto n = static_cast<Eigen::Index>(count);
    for (std::size_t r = 0; r < count; ++r) {
      const auto row = inputs.row(first + r);
      const double root = std::sqrt(weights[first + r]);
      const auto at = static_cast<Eigen::Index>(r);
      for (Eigen::Index c = 0; c < width; ++c) block(at, c) = root * (row[static_cast<std::size_t>(c)] - mean[c]);
      residual[at] = root * (targets[first + r] - target_mean);
    }
    parallel_for(
        cols, 64,
        [&](std::size_t begin, std::size_t end) {
          const auto b = static_cast<Eigen::Index>(begin), e = static_cast<Eigen::Index>(end);
          gram.block(0, b, e, e - b).noalias() += block.topLeftCorner(n, e).transpose() * block.block(0, b, n, e - b);
        },
        arena);
    right.noalias() += block.topRows(n).transpose() * residual.head(n);
  }
  const Matrix full = gram.selfadjointView<Eigen::Upper>();
  Vector scale(width);
  for (Eigen::Index c = 0; c < width; ++c) {
    const double norm = full(c, c) + l2;
    scale[c] = norm > 0 ? 1.0 / std::sqrt(norm) : 0.0;
  }
  Matrix system = scale.asDiagonal() * full * scale.asDiagonal();
  system.diagonal() += l2 * scale.cwiseAbs2();
  const Vector scaled_right = scale.cwiseProduct(right);
  const Eigen::LLT<Matrix> cholesky(system);
  // Nearly collinear columns pass the factorisation with pivots that are only rounding.
  const bool regular = cholesky.info() == Eigen::Success && cholesky.matrixLLT().diagonal().minCoeff() > 1e-6;
  const Vector solution =
      scale.cwiseProduct(regular ? Vector(cholesky.solve(scaled_right))
                                 : Vector(Eigen::CompleteOrthogonalDecomposition<Matrix>(system).solve(scaled_right)));
  return {{solution.data(), solution.data() + width}, target_mean - mean.dot(solution)};
}

}  // namespace

Model Ridge::fit(const Dataset& data) const {
  data.require_trainable();
  detail::require_penalty(options.l2, "ridge");
  const auto targets = data.targets();
  EncoderOptions encoder = options.encoder;
  encoder.seed = options.seed;
  const detail::TrainingRows rows = detail::training_rows(data, encoder, "ridge");

  Coefficients found;
  if (rows.inputs.cols() <= widest_gram) {
    found = solve_gram(rows.inputs, rows.weights, targets, options.l2, options.arena);
  } else {
    // Targets of unit weighted norm make the tolerance independent of their unit.
    double total = 0, mean = 0, square = 0;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      total += rows.weights[i];
      mean += rows.weights[i] * targets[i];
    }
    mean /= total;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      square += rows.weights[i] * (targets[i] - mean) * (targets[i] - mean);
    }
    const double norm = square > 0 ? std::sqrt(square) : 1.0;
    std::vector<double> scaled(targets.size());
    for (std::size_t i = 0; i < targets.size(); ++i) scaled[i] = (targets[i] - mean) / norm;
    const detail::LinearProblem problem(rows.inputs, rows.weights, scaled, 1, detail::LinearLoss::squared, options.l2,
                                        options.arena);
    detail::LinearSolution solution = problem.solve({.history = 30, .max_iterations = 5000, .tolerance = 1e-9});
    for (double& w : solution.weights.flat()) w *= norm;
    solution.bias[0] = norm * solution.bias[0] + mean;
    found.weights.assign(solution.weights.flat().begin(), solution.weights.flat().end());
    found.bias = solution.bias[0];
  }

  std::vector<float> weights(found.weights.begin(), found.weights.end());
  Model::Parts parts;
  parts.info.algorithm = "ridge";
  parts.info.options = fmt::format("l2={}", options.l2);
  parts.info.seed = options.seed;
  parts.info.data_hash = data.hash();
  parts.info.train_rows = data.rows();
  parts.info.library_version = version();
  parts.info.isa = to_string(active_isa());
  parts.task = Task::regression;
  parts.encoder = rows.encoder;
  parts.predictor = Shared<const LinearForm>::make(
      std::move(weights), std::vector<float>{static_cast<float>(found.bias)}, LinearLink::identity);
  return Model(std::move(parts), data);
}

}  // namespace redoubt
