#pragma once
// CROWN-IBP margins of many rows, and their gradients, for training (Zhang et al., arXiv:1906.06316).
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"
#include "robustness/certify/interval_pass.hpp"

namespace redoubt::detail {

/// Takes every margin back to the inputs as a linear function, between lines around each ReLU and leaky ReLU whose box
/// is that of an IntervalPass; other ops that are not affine end it at their box. Works on rows x scores functions at
/// once. Not thread-safe; parallel inside. Allocates in the constructor and little in each call.
class CrownPass {
 public:
  CrownPass(const Graph& graph, IntervalPass& boxes, std::size_t rows);

  /// After boxes.forward of the same rows. worst(r, k) as in IntervalPass.
  void forward(MatrixView<const float> lower, MatrixView<const float> upper, std::span<const std::size_t> labels,
               Arena* arena);
  MatrixView<float> worst(std::size_t rows) { return {worst_.data(), rows, scores_}; }
  MatrixView<float> seeds(std::size_t rows) { return {seeds_.data(), rows, scores_}; }
  /// Adds the gradient by the parameters that act here, and that by the boxes to the gradients of `boxes`, which then
  /// takes them back: IntervalPass::backward calls it.
  void backward(MatrixView<const float> lower, MatrixView<const float> upper, std::span<const std::size_t> labels,
                std::span<float> gradient, Arena* arena);

 private:
  enum class Kind : std::uint8_t { weighted, affine, relu, box };
  struct Line {
    float slope, offset, by_lower, by_upper, offset_by_lower, offset_by_upper;
  };
  static Line line(float low, float high, float alpha, bool above);
  Kind kind(std::size_t node) const;
  void functions_back(std::size_t node, std::size_t rows, Arena* arena);
  void gradients_forward(std::size_t node, std::size_t rows, std::span<float> gradient, Arena* arena);

  const Graph& graph_;
  IntervalPass& boxes_;
  std::size_t scores_;
  std::uint32_t start_;                                       // tensor at which the functions start
  std::vector<std::vector<float>> slopes_, slope_gradients_;  // per tensor: rows * scores functions of its values
  std::vector<bool> used_;
  std::vector<std::vector<float>> constants_;  // per node: its output for inputs of zero
  std::vector<float> weights_;                 // the parameters, biases 0
  std::vector<float> zeros_, scratch_, scaled_, worst_, seeds_;
};

}  // namespace redoubt::detail
