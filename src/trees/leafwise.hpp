#pragma once
// Grows one regression tree on gradients, always splitting the leaf that gains most.
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/trees/gradient_boosting.hpp"
#include "trees/grown_tree.hpp"
#include "trees/histogram.hpp"

namespace redoubt::detail {

/// Gradients of all rows of a matrix as integers; value = integer / scale, and the scales are powers of two.
struct Gradients {
  std::vector<GradientPair> rows;
  double g_scale = 1, h_scale = 1;
};

class LeafwiseGrower {
 public:
  LeafwiseGrower(const BinnedMatrix& bins, const GradientBoostingOptions& options, std::span<const double> weights)
      : bins_(bins), options_(options), weights_(weights) {}

  /// A tree on `rows`, using the columns that are on. Leaf values are the Newton steps times the learning rate.
  /// Afterwards `rows` is ordered by leaf, and leaf i holds rows [leaf_begin(i), leaf_end(i)).
  GrownTree grow(std::vector<std::uint32_t>& rows, const Gradients& gradients, std::span<const std::uint8_t> column_on);
  std::size_t leaf_begin(std::size_t leaf) const noexcept { return leaves_[leaf].begin; }
  std::size_t leaf_end(std::size_t leaf) const noexcept { return leaves_[leaf].end; }

 private:
  struct Split {
    double gain = 0;  ///< 0: none
    std::uint32_t column = 0, last_bin = 0;
    BinSet left_bins;
    GradientSum left;
  };
  struct Leaf {
    std::size_t begin = 0, end = 0;
    GradientSum total;
    int depth = 0;
    std::int32_t parent = -1;  ///< node, -1 at the root
    bool is_left = false;
    int histogram = -1;  ///< slot, -1: none
    Split best;
  };

  bool splittable(const Leaf& leaf) const noexcept;
  double score(const GradientSum& sum, double l2) const noexcept;
  double hessian(const GradientSum& sum) const noexcept { return static_cast<double>(sum.h) / h_scale_; }
  bool allowed(const GradientSum& child) const noexcept;
  void consider(Split& best, const Leaf& leaf, const GradientSum& left, double l2, double leaf_score,
                bool& better) const;
  Split best_numeric(const Leaf& leaf, std::uint32_t column, const GradientSum* bins) const;
  Split best_categorical(const Leaf& leaf, std::uint32_t column, const GradientSum* bins) const;
  void find_splits(Leaf* small, Leaf* large, std::span<const std::uint8_t> column_on);
  std::size_t partition(std::vector<std::uint32_t>& rows, const Leaf& leaf, const Split& split);
  float cover(std::span<const std::uint32_t> rows) const;
  int take_slot();

  const BinnedMatrix& bins_;
  const GradientBoostingOptions& options_;
  std::span<const double> weights_;
  double g_scale_ = 1, h_scale_ = 1;
  std::vector<Leaf> leaves_;
  std::vector<Histogram> slots_;
  std::vector<int> free_slots_;
  std::vector<GradientPair> ordered_;
  std::vector<std::uint32_t> right_rows_;
};

}  // namespace redoubt::detail
