#include "linear/linear_problem.hpp"

#include <algorithm>
#include <cmath>

#include "redoubt/core/parallel.hpp"

namespace redoubt::detail {
namespace {

constexpr double sparse_below = 0.25;   // share of non-zero entries
constexpr std::size_t max_blocks = 64;  // bounds the memory of the per-block gradients
constexpr std::size_t smallest_block = 256;

std::size_t block_size(std::size_t rows) { return std::max(smallest_block, (rows + max_blocks - 1) / max_blocks); }

}  // namespace

LinearProblem::LinearProblem(const Tensor<float>& inputs, std::span<const double> weights,
                             std::span<const double> targets, std::size_t scores, LinearLoss loss, double l2,
                             Arena* arena)
    : inputs_(inputs),
      weights_(weights),
      targets_(targets),
      rows_(inputs.rows()),
      cols_(inputs.cols()),
      scores_(scores),
      loss_(loss),
      l2_(l2),
      arena_(arena) {
  const auto flat = inputs_.flat();
  const auto filled = static_cast<std::size_t>(std::count_if(flat.begin(), flat.end(), [](float v) { return v != 0; }));
  sparse_ = static_cast<double>(filled) < sparse_below * static_cast<double>(flat.size());
  if (sparse_) {
    columns_.reserve(filled);
    values_.reserve(filled);
    row_starts_.reserve(rows_ + 1);
    row_starts_.push_back(0);
    for (std::size_t r = 0; r < rows_; ++r) {
      const auto row = inputs_.row(r);
      for (std::size_t c = 0; c < cols_; ++c) {
        if (row[c] == 0) continue;
        columns_.push_back(static_cast<std::uint32_t>(c));
        values_.push_back(row[c]);
      }
      row_starts_.push_back(values_.size());
    }
  }
  measure_columns();
}

void LinearProblem::measure_columns() {
  means_.assign(cols_, 0.0);
  std::vector<double> squares(cols_, 0.0);
  double total = 0;
  for (std::size_t r = 0; r < rows_; ++r) {
    const auto row = inputs_.row(r);
    for (std::size_t c = 0; c < cols_; ++c) means_[c] += weights_[r] * row[c];
    total += weights_[r];
  }
  for (double& mean : means_) mean /= total;
  for (std::size_t r = 0; r < rows_; ++r) {
    const auto row = inputs_.row(r);
    for (std::size_t c = 0; c < cols_; ++c) {
      const double centred = row[c] - means_[c];
      squares[c] += weights_[r] * centred * centred;
    }
  }
  // Largest curvature of the loss in a score.
  const double curvature = loss_ == LinearLoss::squared ? 1.0 : 0.25;
  scales_.resize(cols_);
  for (std::size_t c = 0; c < cols_; ++c) {
    const double second = curvature * squares[c] + l2_;
    scales_[c] = second > 0 ? 1.0 / std::sqrt(second) : 1.0;
  }
  bias_scale_ = 1.0 / std::sqrt(curvature * total);
}

/// Loss of one row; its scores are replaced by the gradient of the loss in them.
double LinearProblem::row_loss(std::size_t row, std::span<double> scores) const {
  const double weight = weights_[row];
  if (loss_ == LinearLoss::squared) {
    const double residual = scores[0] - targets_[row];
    scores[0] = weight * residual;
    return 0.5 * weight * residual * residual;
  }
  if (loss_ == LinearLoss::logistic) {
    const double sign = targets_[row] > 0.5 ? -1.0 : 1.0;
    const double wrong = sign * scores[0];
    const double small = std::exp(-std::abs(wrong));
    scores[0] = weight * sign * (wrong > 0 ? 1.0 : small) / (1.0 + small);
    return weight * (std::max(wrong, 0.0) + std::log1p(small));
  }
  const auto label = static_cast<std::size_t>(targets_[row]);
  const double top = *std::max_element(scores.begin(), scores.end());
  const double own = scores[label];
  double sum = 0;
  for (double& s : scores) {
    s = std::exp(s - top);
    sum += s;
  }
  for (double& s : scores) s *= weight / sum;
  scores[label] -= weight;
  return weight * (top + std::log(sum) - own);
}

/// `scaled`: weights (cols x scores), then the bias of the uncentred columns. `sums` (same layout) receives
/// sum over rows of x_j * dloss/dscore_k, then of dloss/dscore_k.
double LinearProblem::block_loss(std::size_t begin, std::size_t end, std::span<const double> scaled,
                                 std::span<double> sums) const {
  const double* bias = scaled.data() + cols_ * scores_;
  double* bias_sums = sums.data() + cols_ * scores_;
  std::vector<double> scores(scores_);
  double loss = 0;
  for (std::size_t r = begin; r < end; ++r) {
    const auto dense = inputs_.row(r);
    const std::size_t first = sparse_ ? row_starts_[r] : 0, last = sparse_ ? row_starts_[r + 1] : cols_;
    std::copy_n(bias, scores_, scores.begin());
    if (scores_ == 1) {
      double lanes[4] = {scores[0], 0, 0, 0};  // independent sums keep the adder busy
      if (sparse_) {
        for (std::size_t i = first; i < last; ++i) lanes[i & 3] += values_[i] * scaled[columns_[i]];
      } else {
        std::size_t i = 0;
        for (; i + 4 <= last; i += 4) {
          for (std::size_t l = 0; l < 4; ++l) lanes[l] += dense[i + l] * scaled[i + l];
        }
        for (; i < last; ++i) lanes[0] += dense[i] * scaled[i];
      }
      scores[0] = (lanes[0] + lanes[1]) + (lanes[2] + lanes[3]);
    } else {
      for (std::size_t i = first; i < last; ++i) {
        const double x = sparse_ ? values_[i] : dense[i];
        const double* w = scaled.data() + (sparse_ ? columns_[i] : i) * scores_;
        for (std::size_t k = 0; k < scores_; ++k) scores[k] += x * w[k];
      }
    }
    loss += row_loss(r, scores);
    for (std::size_t i = first; i < last; ++i) {
      const double x = sparse_ ? values_[i] : dense[i];
      double* sum = sums.data() + (sparse_ ? columns_[i] : i) * scores_;
      for (std::size_t k = 0; k < scores_; ++k) sum[k] += x * scores[k];
    }
    for (std::size_t k = 0; k < scores_; ++k) bias_sums[k] += scores[k];
  }
  return loss;
}

double LinearProblem::evaluate(std::span<const double> point, std::span<double> gradient) const {
  const std::size_t size = point.size(), bias = cols_ * scores_;
  std::vector<double> scaled(size);
  double penalty = 0;
  for (std::size_t k = 0; k < scores_; ++k) scaled[bias + k] = bias_scale_ * point[bias + k];
  for (std::size_t c = 0; c < cols_; ++c) {
    for (std::size_t k = 0; k < scores_; ++k) {
      const double w = scales_[c] * point[c * scores_ + k];
      scaled[c * scores_ + k] = w;
      scaled[bias + k] -= means_[c] * w;
      penalty += w * w;
    }
  }

  const std::size_t grain = block_size(rows_), blocks = (rows_ + grain - 1) / grain;
  std::vector<double> sums(blocks * size), losses(blocks);
  parallel_for(
      rows_, grain,
      [&](std::size_t begin, std::size_t end) {
        const std::size_t b = begin / grain;
        losses[b] = block_loss(begin, end, scaled, std::span(sums).subspan(b * size, size));
      },
      arena_);

  double value = 0.5 * l2_ * penalty;
  for (const double loss : losses) value += loss;
  std::fill(gradient.begin(), gradient.end(), 0.0);
  for (std::size_t b = 0; b < blocks; ++b) {
    for (std::size_t i = 0; i < size; ++i) gradient[i] += sums[b * size + i];
  }
  for (std::size_t c = 0; c < cols_; ++c) {
    for (std::size_t k = 0; k < scores_; ++k) {
      const std::size_t i = c * scores_ + k;
      gradient[i] = scales_[c] * (gradient[i] - means_[c] * gradient[bias + k] + l2_ * scaled[i]);
    }
  }
  for (std::size_t k = 0; k < scores_; ++k) gradient[bias + k] *= bias_scale_;
  return value;
}

LinearSolution LinearProblem::solve(const LbfgsOptions& options) const {
  const std::size_t bias = cols_ * scores_;
  std::vector<double> point(bias + scores_, 0.0);
  LinearSolution solution;
  solution.lbfgs = lbfgs_minimise(
      point, [&](std::span<const double> x, std::span<double> gradient) { return evaluate(x, gradient); }, options);
  solution.weights = Tensor<double>{cols_, scores_};
  solution.bias.resize(scores_);
  for (std::size_t k = 0; k < scores_; ++k) solution.bias[k] = bias_scale_ * point[bias + k];
  for (std::size_t c = 0; c < cols_; ++c) {
    for (std::size_t k = 0; k < scores_; ++k) {
      const double w = scales_[c] * point[c * scores_ + k];
      solution.weights(c, k) = w;
      solution.bias[k] -= means_[c] * w;
    }
  }
  return solution;
}

}  // namespace redoubt::detail
