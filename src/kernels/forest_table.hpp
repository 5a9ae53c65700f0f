#pragma once
// Kernels of the compiled forest (src/trees/forest_compiled.hpp), per instruction-set level. Plain data only: see
// table.hpp.
#include <stddef.h>
#include <stdint.h>

namespace redoubt::kernels::detail {

/// Numeric columns: each turns one input into the number of its thresholds that are below it, at most 255.
/// Four kinds, one after the other: kind = 1 (missing is above all thresholds, not below) + 2 (zeros are missing).
struct ForestColumns {
  size_t count[4];
  const unsigned* input;    // per column
  const float* thresholds;  // per column 16 + 272: every 16th of the 255 for a first look, then all, ascending; +inf
};

constexpr size_t forest_column_floats = 288;

/// Up to 64 trees of at most 255 nodes, one per lane, their nodes in pre-order. Leaf 0 is the leftmost one, leaf i + 1
/// the one that is reached by going right at node i and left ever after. `nodes` holds per slot three vectors of 64
/// bytes: column, threshold (code > threshold goes right), first leaf of the subtree (never met in unused slots).
struct ForestGroup {
  size_t slots;
  size_t vectors;  // 64-byte vectors of codes that the group reads: 1 to 4
  const unsigned char* nodes;
};

/// v[result] = v[condition] ? v[right] : v[left], bit by bit. Trees that follow each other have results in different
/// slots, so that they may go in step.
struct ForestSelect {
  uint16_t condition, left, right, result;
};

constexpr size_t forest_code_bits = 10;

/// A tree of a slice. Its code for a row has `bits` bits, bit j in the mask at slot planes[j]. Let size be
/// 2^max(bits, 6). tables[(k * bytes + b) * size + code] is byte b of the k-th leaf value; on AVX2, which gathers,
/// 32-bit word k * size + code is the value, and there are at most 8 bits.
struct ForestSliceTree {
  const ForestSelect* selects;
  const unsigned char* tables;
  uint32_t select_count;
  uint32_t output;
  uint16_t planes[forest_code_bits];
  uint8_t bits, bytes;
};

/// Masks [slot, slot + count) say which rows have a code of `column` above thresholds[0 .. count).
struct ForestTests {
  uint32_t column, slot, count;
  const unsigned char* thresholds;
};

/// Where the sum of row r of a block of 64 stands: the order in which vectors of bytes unpack to 32 bits.
#define REDOUBT_FOREST_POSITION(r) ((((r) >> 2 & 3) << 4) + ((r) >> 4 << 2) + ((r)&3))

struct ForestTable {
  unsigned char isa;

  /// dst[c * dst_col + r] = code of column c (kinds in order) of row r.
  void (*code)(const ForestColumns&, const float* src, size_t src_row, size_t rows, unsigned char* dst, size_t dst_col);

  /// leaves[64 g + lane]; codes[g]: 64 * vectors bytes, 64-byte aligned. Null: the level has no such kernel.
  void (*sweep)(const ForestGroup* groups, size_t count, const unsigned char* const* codes, unsigned char* leaves);
  /// The same for four rows: codes[count * row + g], leaves[64 * (count * row + g) + lane].
  void (*sweep_4)(const ForestGroup* groups, size_t count, const unsigned char* const* codes, unsigned char* leaves);

  /// The two steps of a slice over a block of `words` * 64 rows; masks have `words` 64-bit words each, aligned so.
  /// codes[c * 64 * words + r]. sums: per output 64 * words integers, in REDOUBT_FOREST_POSITION order.
  size_t words;
  void (*tests)(const ForestTests*, size_t count, const unsigned char* codes, uint64_t* masks);
  void (*slice)(const ForestSliceTree*, size_t count, size_t leaf_width, uint64_t* masks, unsigned char* leaf_codes,
                uint32_t* sums);
};

constexpr size_t forest_trees_at_once = 8;
/// Room for leaf codes, per tree at once and 64 rows: a byte per row, then the masks of bits 8 and 9.
constexpr size_t forest_code_bytes = 64 + 64;

extern const ForestTable forest_avx2_table;
extern const ForestTable forest_avx512_table;
extern const ForestTable forest_avx512_narrow_table;  // one word: 64 rows

}  // namespace redoubt::kernels::detail
