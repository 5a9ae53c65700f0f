#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/kernels/packed.hpp"
#include "redoubt/kernels/rounded_weights.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt::detail {

/// Scores of a graph and their gradients with respect to the rows, never the weights: what attacks ask for, thousands
/// of times. Products with weights packed once for both directions, ReLU in the epilogue of the product before it, ops
/// that only move a name (reshape, dropout) gone, few enough rows at a time that their tensors stay in cache.
/// Immutable, so thread-safe; the graph must outlive it and not change.
class GradientPlan {
 public:
  /// `precision`: of the products of dense layers; that of attacks where it outruns fp32, by default.
  explicit GradientPlan(const Graph& graph, kernels::ProductPrecision precision = fastest_precision());
  /// fp32x3 or fp32: gradients in 16 bits lead attacks as well as in 24, and what they find is checked. A row that the
  /// model's own scores break by less than the rounding may be passed by.
  static kernels::ProductPrecision fastest_precision() noexcept;
  const Graph& graph() const noexcept { return graph_; }
  std::size_t rows() const noexcept { return rows_; }  ///< of one pass, at most

 private:
  friend class GradientPass;
  enum class Kind : std::uint8_t { dense, conv, max_pool, op };
  struct Step {
    Kind kind = Kind::op;
    std::uint32_t node = 0, from = 0, to = 0;
    bool relu = false;     // dense, conv: `to` is the output of a ReLU
    bool scatter = false;  // conv: backward makes patches of slopes and adds them into place
    bool adds = false;     // others use `from`, too: backward adds to its gradient
    kernels::PackedWeights weights, back;
    kernels::RoundedWeights rounded, rounded_back;  // dense, in place of the former, unless the precision is fp32
    std::size_t height = 0, width = 0, channels = 0, kernel_height = 0, kernel_width = 0, stride = 1, pad = 0;
    std::size_t out_height = 0, out_width = 0, filters = 0;
  };
  void conv(const Graph& graph, Step& step);

  const Graph& graph_;
  kernels::ProductPrecision precision_;
  std::vector<const Op*> ops_;  // per node
  std::vector<Step> steps_;
  std::vector<std::uint32_t> same_;                               // per tensor: the one whose values it shares
  std::vector<std::size_t> place_, size_;                         // per tensor: offset and values of a row
  std::vector<std::vector<OpShape>> shapes_;                      // per node: of its inputs
  std::vector<std::vector<MatrixView<const float>>> parameters_;  // per node
  std::vector<std::uint32_t> cleared_;                            // tensors whose gradient is a sum, perhaps of nothing
  std::size_t total_ = 0, local_ = 0, sum_ = 0, op_scratch_ = 0, rows_ = 1;
};

/// Tensors of one pass; one per thread. Allocates in the constructor only.
class GradientPass {
 public:
  explicit GradientPass(const GradientPlan& plan);
  /// At most plan.rows() rows of graph.inputs() values, which follow each other, into rows x graph.score_count().
  void scores(MatrixView<const float> rows, MatrixView<float> dst);
  /// After scores() of the same rows: gradient of sum_k upstream[r,k] * score[r,k] with respect to each row.
  void backward(MatrixView<const float> rows, MatrixView<const float> upstream, MatrixView<float> dst);

 private:
  using Step = GradientPlan::Step;
  MatrixView<float> value(std::uint32_t tensor, std::size_t rows) noexcept;
  MatrixView<float> gradient(std::uint32_t tensor, MatrixView<float> dst) noexcept;
  void dense(const kernels::PackedWeights& packed, const kernels::RoundedWeights& rounded, MatrixView<const float> from,
             MatrixView<float> to, const kernels::Epilogue& epilogue);
  void conv(const Step& step, const float* src, float* dst);
  void conv_back(const Step& step, const float* slopes, const float* output, float* dst);
  void max_pool_back(const Step& step, const float* src, const float* output, const float* slopes, float* dst);
  void op_back(const Step& step, MatrixView<const float> rows, MatrixView<float> dst);

  const GradientPlan& plan_;
  AlignedVector<float> values_, gradients_, local_, sums_, op_scratch_;
};

}  // namespace redoubt::detail
