#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"

namespace redoubt::detail {

/// Rows by their main directions, in an order in which near rows are mostly near each other: halved again and again
/// at the median of the direction in which they spread most, down to `block` rows.
struct Locality {
  std::vector<std::uint32_t> order;  ///< rows
  Tensor<float> coordinates;         ///< by row; no columns if the rows are all the same, or too large to tell
  /// Distances in coordinates do not exceed those of rows by more than this times the sum of the rows' norms, after
  /// one part in a thousand is taken off.
  double error = 0;
};

Locality order_by_nearness(MatrixView<const float> x, const std::vector<float>& centre, std::size_t block,
                           Arena* arena);

}  // namespace redoubt::detail
