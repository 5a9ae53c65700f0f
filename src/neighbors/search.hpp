#pragma once
// What the two ways of searching share: the distance that ranks, and the k best so far.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

#include "redoubt/core/tensor.hpp"
#include "redoubt/neighbors/nearest_neighbors.hpp"

namespace redoubt::detail {

/// Four sums in a fixed order: the same bits wherever it runs.
inline double squared_distance(const float* a, const float* b, std::size_t cols) noexcept {
  double sums[4] = {0, 0, 0, 0};
  std::size_t c = 0;
  for (; c + 4 <= cols; c += 4)
    for (std::size_t i = 0; i < 4; ++i) {
      const double d = static_cast<double>(a[c + i]) - b[c + i];
      sums[i] += d * d;
    }
  for (std::size_t i = 0; c < cols; ++c, ++i) {
    const double d = static_cast<double>(a[c]) - b[c];
    sums[i] += d * d;
  }
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// The k nearest so far: a heap with the worst on top.
class Best {
 public:
  struct Entry {
    double distance;
    std::uint32_t row;
    bool operator<(const Entry& other) const noexcept {
      return distance != other.distance ? distance < other.distance : row < other.row;
    }
  };

  explicit Best(std::size_t k) : k_(k) { heap_.reserve(k); }
  void clear() noexcept { heap_.clear(); }
  /// Squared distance beyond which nothing enters.
  double worst() const noexcept {
    return heap_.size() < k_ ? std::numeric_limits<double>::infinity() : heap_.front().distance;
  }
  void offer(double distance, std::uint32_t row) {
    const Entry entry{distance, row};
    if (heap_.size() < k_) {
      heap_.push_back(entry);
      std::push_heap(heap_.begin(), heap_.end());
    } else if (entry < heap_.front()) {
      // In the place of the worst, and down from there.
      std::size_t at = 0;
      for (std::size_t child = 1; child < k_; child = 2 * at + 1) {
        if (child + 1 < k_ && heap_[child] < heap_[child + 1]) ++child;
        if (!(entry < heap_[child])) break;
        heap_[at] = heap_[child];
        at = child;
      }
      heap_[at] = entry;
    }
  }
  /// Sorts, writes row `r` of the result, and clears.
  void write(Neighbors& out, std::size_t r);

 private:
  std::size_t k_;
  std::vector<Entry> heap_;
};

inline constexpr std::uint32_t no_point = 0xffffffffu;

/// kd-tree over points that outlive it.
class PointTree {
 public:
  PointTree(MatrixView<const float> points, Arena* arena);
  /// others: the queries are the points, which do not find themselves.
  void find(MatrixView<const float> queries, std::size_t k, bool others, Neighbors& out, Arena* arena) const;

 private:
  struct Node {
    float cut = 0;
    std::uint32_t column = 0;
    std::uint32_t right = 0;           ///< left child is the next node; 0: a leaf
    std::uint32_t begin = 0, end = 0;  ///< of a leaf, in order_
  };
  struct Walk;
  void split(std::uint32_t begin, std::uint32_t end);
  void visit(Walk& walk, std::uint32_t node, double bound) const;

  MatrixView<const float> points_;
  std::vector<std::uint32_t> order_;
  std::vector<Node> nodes_;
  std::vector<float> blocks_;  ///< per leaf: column by column, `block` points each
};

void brute_find(MatrixView<const float> points, MatrixView<const float> queries, std::size_t k, bool others,
                Neighbors& out, Arena* arena);

/// Nearest others of the points among themselves.
void self_join(MatrixView<const float> points, std::size_t k, Neighbors& out, Arena* arena);

}  // namespace redoubt::detail
