#pragma once
// Grows one regression tree on gradients: the engine of gradient boosting.
#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <vector>

#include "redoubt/trees/binning.hpp"
#include "trees/grown_tree.hpp"
#include "trees/robust_cuts.hpp"
#include "trees/row_list.hpp"
#include "trees/team.hpp"

namespace redoubt::detail {

struct GrowerOptions {
  int max_leaves = 31;
  int max_depth = 0;       ///< 0: unlimited
  bool depthwise = false;  ///< level by level; otherwise always the leaf that gains most
  int min_leaf_rows = 20;
  double min_leaf_hessian = 1e-3;
  double l1 = 0, l2 = 0;
  double min_gain = 0;
  double max_delta_step = 0;  ///< 0: unlimited
  double path_smooth = 0;
  int max_one_hot = 4;
  double category_smoothing = 10, category_l2 = 10;
  int min_category_rows = 10;
  int max_category_side = 32;
  double node_column_fraction = 1;                           ///< columns drawn for each node
  bool random_thresholds = false;                            ///< one random cut per column and node
  std::span<const RobustCuts> robust;                        ///< per column, see robust_cuts; empty: none
  std::span<const std::int8_t> monotone;                     ///< per column -1, 0 or 1; empty: none
  std::span<const std::vector<std::uint32_t>> interactions;  ///< groups of columns allowed together; empty: all
  std::span<const double> weights;                           ///< of rows, for cover; empty: 1 each
  std::uint64_t seed = 0;                                    ///< of drawn columns and cuts
  bool unit_hessian = false;                                 ///< the hessian is the same for every row
  bool keep_gradient = false, keep_hessian = false;          ///< see Grower::grow
};

/// The memory of numbers that are needed no longer, for others of the same size.
template <class To, class From>
std::span<To> as_room_for(std::span<From> memory) noexcept {
  static_assert(sizeof(To) == sizeof(From) && alignof(To) == alignof(From));
  return {::new (static_cast<void*>(memory.data())) To[memory.size()], memory.size()};
}

/// Gradients are rounded to 13 bits with the sign and hessians to 12 bits (at most one of them unused), up or down at
/// random so that sums are unbiased; which way depends on the tree's number and the row only. Up to 2048 rows both have
/// 30 bits, and up to 32768 rows leaf values come from the floats.
/// Not thread-safe; uses several threads itself. Keeps its memory between trees.
class Grower {
 public:
  /// `bins`, `team` and what the spans of `options` show must outlive the grower.
  Grower(const BinnedMatrix& bins, const GrowerOptions& options, Team& team);
  ~Grower();
  Grower(Grower&&) noexcept;

  /// A tree on `rows`, using the columns that are on. `g` and `h` have one float per row of the matrix and are read for
  /// `rows` only; they are quantised here. Unless they are to be kept, their memory is then used for the rows of the
  /// leaves. Leaf values are raw Newton steps, without a learning rate.
  GrownTree grow(RowList rows, std::span<float> g, std::span<float> h, std::uint64_t tree_number,
                 std::span<const std::uint8_t> column_on);
  /// Those of the last `rows` that fell into a leaf; valid until the next grow, or until g and h are
  /// written again.
  std::span<const std::uint32_t> leaf_rows(std::size_t leaf) const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace redoubt::detail
