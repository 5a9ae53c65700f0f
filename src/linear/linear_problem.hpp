#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/tensor.hpp"
#include "redoubt/fwd.hpp"
#include "redoubt/kernels/lbfgs.hpp"

namespace redoubt::detail {

enum class LinearLoss : std::uint8_t {
  squared,   ///< weight * (y - s)^2 / 2
  logistic,  ///< -log of the probability of class 0 or 1, one score
  softmax    ///< -log of the class probability, one score per class
};

struct LinearSolution {
  Tensor<double> weights;  ///< inputs x scores
  std::vector<double> bias;
  LbfgsResult lbfgs;
};

/// The objective of a linear model, sum of weighted losses + l2/2 |w|^2, over rows that are kept dense or, when
/// fewer than a quarter of the entries are non-zero, as compressed sparse rows. Columns are centred without being
/// touched (the intercept absorbs it) and scaled by the root of the objective's curvature, so that L-BFGS
/// converges fast on inputs of any unit. Row blocks and the order of their sums depend on sizes only.
class LinearProblem {
 public:
  /// `targets` holds values (squared) or class codes below `scores` (softmax) or 2 (logistic). The arguments must
  /// outlive the problem.
  LinearProblem(const Tensor<float>& inputs, std::span<const double> weights, std::span<const double> targets,
                std::size_t scores, LinearLoss loss, double l2, Arena* arena);

  LinearSolution solve(const LbfgsOptions& options) const;

 private:
  void measure_columns();
  double evaluate(std::span<const double> point, std::span<double> gradient) const;
  double block_loss(std::size_t begin, std::size_t end, std::span<const double> scaled, std::span<double> sums) const;
  double row_loss(std::size_t row, std::span<double> scores) const;

  const Tensor<float>& inputs_;
  std::span<const double> weights_, targets_;
  std::size_t rows_, cols_, scores_;
  LinearLoss loss_;
  double l2_;
  Arena* arena_;
  bool sparse_ = false;
  std::vector<std::size_t> row_starts_;  // sparse form
  std::vector<std::uint32_t> columns_;
  std::vector<float> values_;
  std::vector<double> means_, scales_;  // weight of column j = scales_[j] * variable j
  double bias_scale_ = 1;
};

}  // namespace redoubt::detail
