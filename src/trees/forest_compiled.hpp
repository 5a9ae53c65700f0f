#pragma once
// The compiled form of a forest: made once, immutable, shared by all threads.
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <vector>

#include "kernels/forest_table.hpp"
#include "redoubt/trees/forest.hpp"

namespace redoubt::detail {

/// 64-byte aligned elements for a std::vector.
template <class T>
struct CacheLines {
  using value_type = T;
  CacheLines() = default;
  template <class U>
  CacheLines(const CacheLines<U>&) noexcept {}  // NOLINT: implicit by design
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64})); }
  void deallocate(T* p, std::size_t n) noexcept { ::operator delete(p, n * sizeof(T), std::align_val_t{64}); }
  bool operator==(const CacheLines&) const noexcept { return true; }
};
template <class T>
using AlignedVector = std::vector<T, CacheLines<T>>;

/// Leaf values as integers; see Forest.
struct FixedLeaves {
  double inverse = 1;                     ///< value = integer * inverse
  bool wide = false;                      ///< then `wide_values`, else `values`
  std::vector<std::int32_t> values;       ///< leaves x leaf_width
  std::vector<std::int64_t> wide_values;  ///< the same
};
FixedLeaves fixed_leaves(const ForestShape& shape, const ForestArrays& arrays);

/// One distinct test of a category set: a column of codes 0 (left) and 1 (right).
struct SetTest {
  std::uint32_t input;
  std::uint32_t first, words;  ///< in category_bits
  std::uint8_t flags;
};

/// Buffers for blocks of rows, kept from call to call: as many as ever were in use at once.
class ScratchList {
 public:
  using Buffer = AlignedVector<unsigned char>;
  Buffer take(std::size_t bytes);
  void give_back(Buffer&& buffer) noexcept;

 private:
  std::mutex mutex_;
  std::vector<Buffer> free_;
};

struct CompiledForest {
  FixedLeaves leaves;

  // Columns: numeric ones, then one per set test.
  std::vector<unsigned> column_input;
  AlignedVector<float> column_thresholds;
  kernels::detail::ForestColumns numeric{};  ///< points into these two
  std::vector<SetTest> sets;
  std::vector<std::uint32_t> set_bits;  ///< copy of ForestArrays::category_bits
  std::size_t numeric_columns = 0;
  std::size_t columns() const noexcept { return numeric_columns + sets.size(); }

  // Sweep: groups of 64 trees.
  const kernels::detail::ForestTable* row_table = nullptr;
  AlignedVector<unsigned char> sweep_nodes;
  std::vector<kernels::detail::ForestGroup> groups;
  std::vector<std::vector<std::uint16_t>>
      group_columns;                       ///< per group: which columns it reads; empty: all, as they are
  std::vector<std::size_t> group_leaves;   ///< per group: first of 64 * (slots + 1) values
  std::vector<std::int32_t> sweep_values;  ///< x leaf_width
  std::vector<std::uint32_t> lane_output;  ///< 64 per group; empty if there is one
  std::vector<std::uint32_t> row_walk;     ///< trees that are not swept

  // Slices: trees that share their masks.
  struct Slice {
    std::vector<kernels::detail::ForestTests> tests;
    std::vector<std::uint32_t> set_slots;  ///< pairs of set test and slot
    std::vector<kernels::detail::ForestSliceTree> trees;
  };
  const kernels::detail::ForestTable* wide_table = nullptr;    ///< for full blocks
  const kernels::detail::ForestTable* narrow_table = nullptr;  ///< 64 rows
  std::vector<Slice> slices;
  std::vector<unsigned char> test_thresholds;
  std::vector<kernels::detail::ForestSelect> selects;
  AlignedVector<unsigned char> slice_tables;
  double slice_cost = 0;                  ///< estimate, cycles per 512 rows
  std::size_t slice_slots = 0;            ///< most slots of a slice
  std::vector<std::uint32_t> constants;   ///< per output: what the tables of the slices leave out
  std::vector<std::uint32_t> batch_walk;  ///< trees that are not sliced

  // The choice. Costs are estimates in cycles.
  std::vector<std::uint32_t> all_trees;                 ///< 0, 1, ...
  bool batch_sweeps = false;                            ///< rows of a batch that is not sliced are swept, else walked
  double row_cost = 0, wide_cost = 0, narrow_cost = 0;  ///< per row, per block of wide_table, of narrow_table
  bool slices_forced = false;
  /// How to take the next of `rows` rows of a batch; null: row by row.
  const kernels::detail::ForestTable* table_for(std::size_t rows) const noexcept;

  ForestEngine description;
  mutable ScratchList scratch;
};

Shared<const CompiledForest> compile_forest(const ForestShape& shape, const ForestArrays& arrays,
                                            const ForestTuning& tuning);

/// Pieces of the compiler.
struct TreeNodes;
void compile_sweep(CompiledForest& out, const ForestShape& shape, const std::vector<TreeNodes>& trees);
void compile_slices(CompiledForest& out, const ForestShape& shape, const std::vector<TreeNodes>& trees);

/// A tree as the engines see it, in pre-order.
struct TreeNodes {
  std::uint32_t tree = 0, output = 0;
  struct Node {
    std::uint32_t column;
    std::uint8_t threshold;    ///< code > threshold goes right
    std::int32_t left, right;  ///< node of this tree, or ~leaf of the forest
  };
  std::vector<Node> nodes;
};

/// Whether category code x is in the set's left side.
bool set_goes_left(const SetTest& test, const std::uint32_t* bits, float x) noexcept;

}  // namespace redoubt::detail
