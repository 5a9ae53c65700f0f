#pragma once
// The compiled form of a forest: made once, immutable, shared by all threads.
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/forest_block_table.hpp"
#include "kernels/forest_table.hpp"
#include "redoubt/trees/forest.hpp"

namespace redoubt::detail {

/// Room for the large arrays of a form, one after the other. From half a megabyte on it stands in huge pages where the
/// system grants them: a row touches a line or two per tree, all over it, and where these are not in a cache, their
/// addresses would not be known either.
class FormMemory {
 public:
  FormMemory() = default;
  FormMemory(const FormMemory&) = delete;
  FormMemory& operator=(const FormMemory&) = delete;
  ~FormMemory();
  /// Once, before `take`.
  void reserve(std::size_t bytes);
  const unsigned char* first() const noexcept { return first_; }
  void* take(std::size_t bytes) noexcept;

 private:
  unsigned char* first_ = nullptr;
  std::size_t used_ = 0, bytes_ = 0;
};

/// 64-byte aligned elements for a std::vector; in a FormMemory if there is one, to which nothing is given back.
template <class T>
struct CacheLines {
  using value_type = T;
  using propagate_on_container_move_assignment = std::true_type;
  FormMemory* memory = nullptr;
  CacheLines() = default;
  explicit CacheLines(FormMemory* where) noexcept : memory(where) {}
  template <class U>
  CacheLines(const CacheLines<U>& other) noexcept : memory(other.memory) {}  // NOLINT: implicit by design
  T* allocate(std::size_t n) {
    if (memory) return static_cast<T*>(memory->take(n * sizeof(T)));
    return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64}));
  }
  void deallocate(T* p, std::size_t) noexcept {
    if (!memory) ::operator delete(p, std::align_val_t{64});
  }
  bool operator==(const CacheLines&) const noexcept = default;
};
template <class T>
using FormVector = std::vector<T, CacheLines<T>>;

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
  using Buffer = FormVector<unsigned char>;
  Buffer take(std::size_t bytes);
  void give_back(Buffer&& buffer) noexcept;

 private:
  std::mutex mutex_;
  std::vector<Buffer> free_;
};

/// The block engine: groups of 64 trees, whose upper nodes are swept, and blocks of the other nodes.
struct BlockForm {
  const kernels::detail::ForestBlockTable* table = nullptr;
  FormVector<kernels::detail::ForestBlock> blocks;  ///< [0] has no nodes and leads to 0
  FormVector<unsigned char> nodes;                  ///< of the groups
  FormVector<kernels::detail::ForestBlockGroup> groups;
  std::vector<std::vector<std::uint16_t>> columns;  ///< as in CompiledForest::group_columns
  std::vector<std::uint32_t> lane_output;           ///< 64 per group; empty if there is one
  std::vector<std::uint32_t> lane_tree;             ///< 64 per group
  std::vector<std::uint32_t> first_exit;            ///< per block: of its exits in
  std::vector<std::uint32_t> exit_leaf;             ///< leaf of the forest, where it leads to one
  double more = 0;                                  ///< expected number of blocks per row beyond one per tree
};

/// What takes a single row; trees that it cannot take are walked.
enum class RowEngine : std::uint8_t { walk, sweep, blocks };

constexpr std::uint32_t no_tree = 0xffffffffu;

struct CompiledForest {
  FormMemory memory;  ///< in the end, of all AlignedVectors
  FixedLeaves leaves;

  // Columns: numeric ones, then one per set test.
  FormVector<unsigned> column_input;
  FormVector<float> column_thresholds;
  kernels::detail::ForestColumns numeric{};  ///< points into these two
  std::vector<SetTest> sets;
  std::vector<std::uint32_t> set_bits;  ///< copy of ForestArrays::category_bits
  std::size_t numeric_columns = 0;
  std::size_t columns() const noexcept { return numeric_columns + sets.size(); }

  // Sweep: groups of 64 trees.
  const kernels::detail::ForestTable* row_table = nullptr;
  FormVector<unsigned char> sweep_nodes;
  FormVector<kernels::detail::ForestGroup> groups;
  std::vector<std::vector<std::uint16_t>>
      group_columns;                       ///< per group: which columns it reads; empty: all, as they are
  FormVector<std::size_t> group_leaves;    ///< per group: first of 64 * (slots + 1) values
  FormVector<std::int32_t> sweep_values;   ///< x leaf_width
  std::vector<std::uint32_t> sweep_leaf;   ///< leaf of the forest, as sweep_values are indexed
  std::vector<std::uint32_t> lane_tree;    ///< 64 per group, or no_tree
  std::vector<std::uint32_t> lane_output;  ///< 64 per group; empty if there is one
  std::vector<std::uint32_t> row_walk;     ///< trees that are not swept

  BlockForm blocks;
  RowEngine row = RowEngine::walk;
  bool one_sum = false;  ///< `row` takes all trees, for one output, and all groups read the columns as they are

  // Slices: trees that share their masks.
  struct Slice {
    std::vector<kernels::detail::ForestTests> tests;
    std::vector<std::uint32_t> set_slots;  ///< pairs of set test and slot
    std::vector<kernels::detail::ForestSliceTree> trees;
  };
  const kernels::detail::ForestTable* wide_table = nullptr;    ///< for full blocks
  const kernels::detail::ForestTable* narrow_table = nullptr;  ///< 64 rows
  std::vector<Slice> slices;
  FormVector<unsigned char> test_thresholds;
  FormVector<kernels::detail::ForestSelect> selects;
  FormVector<unsigned char> slice_tables;
  double slice_cost = 0;                  ///< estimate, cycles per 512 rows
  std::size_t slice_slots = 0;            ///< most slots of a slice
  std::vector<std::uint32_t> constants;   ///< per output: what the tables of the slices leave out
  std::vector<std::uint32_t> batch_walk;  ///< trees that are not sliced

  // The choice. Costs are estimates in cycles.
  std::vector<std::uint32_t> all_trees;                 ///< 0, 1, ...
  bool batch_by_row = false;                            ///< rows of a batch that is not sliced: by `row`, else walked
  double row_cost = 0, wide_cost = 0, narrow_cost = 0;  ///< per row, per block of wide_table, of narrow_table
  bool slices_forced = false;
  /// How to take the next of `rows` rows of a batch; null: row by row.
  const kernels::detail::ForestTable* table_for(std::size_t rows) const noexcept;

  /// leaves[t] for the trees t that `row` takes, all but row_walk; needs an engine other than the walk.
  void leaf_ids(const float* values, std::uint32_t* leaves) const noexcept;

  ForestEngine description;
  mutable ScratchList scratch;
};

Shared<const CompiledForest> compile_forest(const ForestShape& shape, const ForestArrays& arrays,
                                            const ForestTuning& tuning);

/// Pieces of the compiler.
struct TreeNodes;
constexpr std::size_t max_columns = 4096;         // codes of a row live on the stack
constexpr std::size_t max_swept_nodes = 255;      // of a tree: its leaves are counted in a byte
constexpr std::size_t addressable_columns = 256;  // that a byte names
/// Fills in the columns; the trees that engines may take, at most max_columns columns. Else there are none.
std::vector<TreeNodes> code_trees(const ForestShape& shape, const ForestArrays& arrays, CompiledForest& out);
void compile_sweep(CompiledForest& out, const ForestShape& shape, const std::vector<const TreeNodes*>& trees);
void compile_blocks(CompiledForest& out, const ForestShape& shape, const std::vector<const TreeNodes*>& trees);
void compile_slices(CompiledForest& out, const ForestShape& shape, const std::vector<const TreeNodes*>& trees);

/// A tree as the engines see it, in pre-order.
struct TreeNodes {
  std::uint32_t tree = 0, output = 0;
  struct Node {
    std::uint32_t column;
    std::uint8_t threshold;    ///< code > threshold goes right
    std::int32_t left, right;  ///< node of this tree, or ~leaf of the forest
    float cover;
  };
  std::vector<Node> nodes;
};

/// Up to 64 trees that go in step.
struct RowGroup {
  std::vector<const TreeNodes*> trees;
  std::vector<std::uint16_t> columns;  ///< that they read, sorted; empty: all, as they are
};
constexpr std::size_t sweep_slot_bytes = 3 * 64;

/// Trees of like size together, because a group costs as many slots as its largest tree. A tree reads at most 256 of
/// the columns.
std::vector<RowGroup> make_groups(const std::vector<const TreeNodes*>& trees, std::size_t columns);
/// Place of a column in the list of a group.
std::uint8_t sweep_column(const std::vector<std::uint16_t>& columns, std::uint32_t column);
/// ForestGroup::vectors for so many columns.
std::size_t sweep_vectors(std::size_t columns);
/// Writes a tree into the slots of a group. put(i, child) is told which child of the tree leaf i is.
template <class Put>
void put_sweep_lane(unsigned char* nodes, std::size_t lane, const TreeNodes& tree,
                    const std::vector<std::uint16_t>& columns, const Put& put) {
  std::vector<std::uint8_t> first(tree.nodes.size(), 0);
  for (std::size_t i = 0; i < tree.nodes.size(); ++i) {
    const auto& node = tree.nodes[i];
    unsigned char* const slot = nodes + i * sweep_slot_bytes + lane;
    slot[0] = sweep_column(columns, node.column);
    slot[64] = node.threshold;
    slot[128] = first[i];
    if (node.left >= 0)
      first[static_cast<std::size_t>(node.left)] = first[i];
    else
      put(first[i], node.left);
    if (node.right >= 0)
      first[static_cast<std::size_t>(node.right)] = static_cast<std::uint8_t>(i + 1);
    else
      put(i + 1, node.right);
  }
}

/// Whether category code x is in the set's left side.
bool set_goes_left(const SetTest& test, const std::uint32_t* bits, float x) noexcept;

}  // namespace redoubt::detail
