#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/fwd.hpp"
#include "redoubt/nn/graph.hpp"
#include "redoubt/nn/optimizer.hpp"

namespace redoubt::detail {

/// Parameters [offset, offset + size) of a graph that move, with or without decay.
struct Range {
  std::size_t offset = 0, size = 0;
  bool decay = false;
};

/// Moments of an optimizer over the flat parameters of a graph. Every value is updated alone, so the result does not
/// depend on the number of threads.
class OptimizerState {
 public:
  OptimizerState(const Graph& graph, const Optimizer& optimizer);
  /// Starts step number `step` (from 1) at `rate`; then `move` is called for every range of it.
  void begin(std::uint64_t step, double rate);
  /// Allocates nothing. `gradient`, of the range, is multiplied by `factor` first, and zero afterwards: cleared while
  /// it is in cache. Ranges that do not overlap may be moved by several threads.
  void move(const Range& range, std::span<float> parameters, std::span<float> gradient, float factor, Arena* arena);

  AlignedVector<float> first, second;  ///< moments; empty if the kind has none

 private:
  template <class Update>
  void each(const Range& range, float* w, float* g, float factor, Arena* arena, Update update);

  Optimizer optimizer_;
  std::vector<float> none_;
  float rate_ = 0, scaled_rate_ = 0, scaled_epsilon_ = 0;
};

}  // namespace redoubt::detail
