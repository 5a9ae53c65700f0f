#pragma once
#include <span>
#include <vector>

#include "redoubt/fwd.hpp"
#include "redoubt/nn/graph.hpp"

namespace redoubt::detail {

/// Adam (Kingma & Ba, arXiv:1412.6980) over the flat parameters of a graph, with an l2 penalty on its weights.
class Adam {
 public:
  Adam(const Graph& graph, double learning_rate, double l2);
  /// One step. Every value is updated alone, so the result does not depend on the number of threads.
  void step(std::span<float> parameters, std::span<const float> gradient, Arena* arena);

 private:
  double learning_rate_;
  std::vector<float> penalty_;  // per parameter: l2 or 0
  std::vector<float> first_, second_;
  double power1_ = 1, power2_ = 1;  // beta^t
};

}  // namespace redoubt::detail
