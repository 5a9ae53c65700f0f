#pragma once
#include <cstddef>
#include <cstdint>

#include "redoubt/core/shared.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

enum class NeighborSearch : std::uint8_t {
  automatic,  ///< tree up to 16 columns, brute above
  tree,       ///< kd-tree (Friedman, Bentley, Finkel 1977) whose leaves are scanned as blocks
  brute       ///< all distances in blocks, by matrix products
};

struct NearestNeighborsOptions {
  NeighborSearch search = NeighborSearch::automatic;
  Arena* arena = nullptr;  ///< threads to use, here and when finding; null = default
};

/// queries x k, nearest first; equal distances by lower row.
struct Neighbors {
  Tensor<std::uint32_t> rows;
  Tensor<float> distances;  ///< Euclidean

  bool operator==(const Neighbors&) const = default;
};

/// Exact nearest neighbours by Euclidean distance. Both ways of searching find candidates in fp32 with a proven error
/// bound and rank them by the distance in double precision, so they give the same rows and distances: those of a loop
/// over all points. Same results at any thread count and instruction-set level.
/// Holds a copy of the points (the tree twice); find_others by products another and k candidates per point, at most
/// 1 GB of them. Immutable and cheap to copy; thread-safe.
class NearestNeighbors {
 public:
  /// Error(invalid_argument) names the first row and column that is NaN or infinite; Error(unsupported) for 2^32 - 1
  /// points or more.
  explicit NearestNeighbors(MatrixView<const float> points, const NearestNeighborsOptions& options = {});

  std::size_t rows() const noexcept;
  std::size_t cols() const noexcept;
  NeighborSearch search() const noexcept;  ///< tree or brute

  /// The k points nearest to each query. Error(shape_mismatch) names both column counts, Error(invalid_argument) a k
  /// outside [1, rows()], or the first row and column of the queries that is NaN or infinite.
  Neighbors find(MatrixView<const float> queries, std::size_t k) const;
  /// The k other points nearest to each point: a copy of a point counts, the point itself does not. k in
  /// [1, rows() - 1].
  Neighbors find_others(std::size_t k) const;

  struct Impl;

 private:
  Shared<const Impl> impl_;
};

}  // namespace redoubt
