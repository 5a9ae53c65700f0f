#pragma once
// The attack on tree ensembles that walks from leaf tuple to leaf tuple.
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/random.hpp"
#include "redoubt/robustness/evasion/attack.hpp"
#include "redoubt/trees/forest.hpp"

namespace redoubt::detail {

/// A row ends in one leaf of each tree; the rows that end in the same leaves fill a box. A walk goes from box to box
/// among those that differ in one leaf, or along one column (trees may share a threshold), each time to the best of
/// all of them, found by going through every tree and every column.
/// First inside the radius, from the row, to the largest score of another class. Then as LT-Attack (Zhang, Zhang &
/// Hsieh, NeurIPS 2020) from a row of another class, which it does not leave, to the box nearest to the attacked row;
/// both until no neighbour is better. Not thread-safe.
class LeafWalk {
 public:
  /// Error(unsupported) naming the form if it is no forest. `rows`: where walks may start. Both must outlive it.
  LeafWalk(const Predictor& model, const AttackOptions& options, MatrixView<const float> rows);
  /// Both walks for row `at`; true, and the row in `found`, if one breaks it. At most `options.steps` moves each.
  bool run(std::size_t at, std::size_t label, int restart, std::uint64_t stream, std::span<float> found);
  std::size_t queries() const noexcept { return queries_; }

 private:
  /// Values of a column, both ends included.
  struct Range {
    float lo, hi;
  };
  struct Limit {
    std::uint32_t column;
    Range range;
  };
  /// The two tightest ends of a column and the trees that set them (-1: the rules).
  struct Ends {
    float first, second;
    std::int32_t tree;
  };
  struct Size {
    double largest = 0, excess = 0, squares = 0;  // excess: above the radius, summed over the columns
  };

  struct Piece {
    std::int32_t child;
    Range range;
  };
  /// From this value of a column on, a tree ends in this leaf.
  struct Event {
    float from;
    std::uint32_t tree, leaf;
  };

  bool walk(std::span<float> found);
  void start_inside(int restart, Random& random);
  bool start_outside(std::size_t at, int restart, Random& random);
  void shrink();
  bool fooled(std::span<const float> x);
  void enter();
  void intersect();
  bool step();
  void explore(std::size_t tree, std::int32_t node);
  void narrow(std::size_t tree, std::int32_t child, std::uint32_t column, Range range);
  void consider(std::size_t tree, std::uint32_t leaf);
  std::array<Piece, 5> pieces_of(std::size_t node) const noexcept;
  void line(std::size_t tree, std::int32_t node, std::uint32_t column, Range range);
  void sweep(std::uint32_t column);
  bool better(const Size& size, std::span<const std::int64_t> sums) noexcept;
  void extend(Size& size, double change) const noexcept;
  bool less(const Size& a, const Size& b) const noexcept;
  double size_of(const Size& s) const noexcept;
  float nearest(std::uint32_t column, Range range) const noexcept;
  double change(std::uint32_t column, Range range) const noexcept;
  bool possible(std::uint32_t column, Range& range) const noexcept;
  Range between(std::uint32_t column, float lo, float hi) const noexcept;
  double margin(std::span<const std::int64_t> sums) const noexcept;
  void add(std::size_t tree, std::uint32_t leaf, std::int64_t sign, std::span<std::int64_t> sums) const noexcept;

  const Predictor& model_;
  const AttackOptions& options_;
  const Forest& forest_;
  MatrixView<const float> rows_;
  std::vector<std::int64_t> leaves_;      // fixed point
  std::vector<std::vector<float>> cuts_;  // per column, rising; empty: no tree tests it, or as categories
  std::vector<std::uint8_t> categorical_;

  // Of one walk.
  std::size_t label_ = 0, queries_ = 0;
  std::vector<float> origin_, x_, out_, scratch_;
  std::vector<std::uint32_t> moving_;         // columns
  std::vector<Range> allowed_, box_;          // per column
  std::vector<Ends> lower_, upper_;           // per column
  std::vector<std::vector<Limit>> limits_;    // per tree: the box of its leaf
  std::vector<std::uint32_t> leaf_;           // per tree
  std::vector<std::int64_t> sums_, changed_;  // per score
  std::vector<double> change_;                // per column: of the nearest point of the box
  std::vector<std::uint32_t> order_;          // columns that change, the largest change first
  std::vector<std::uint32_t> touched_;        // columns that the tree in question may change
  std::vector<std::uint8_t> is_touched_;      // per column
  std::vector<Limit> path_, best_limits_;
  bool inside_ = false, improved_ = false;
  Size best_;
  double best_margin_ = 0;
  std::size_t best_tree_ = 0;
  std::uint32_t best_leaf_ = 0;
  std::int64_t best_column_ = -1;  // else the best neighbour is along this column
  float best_value_ = 0;
  std::vector<Event> events_;
  std::vector<std::uint32_t> swept_leaf_;
};

}  // namespace redoubt::detail
