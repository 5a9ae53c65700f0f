#pragma once
// Kernels of the block engine (src/trees/forest_blocks.cpp): one row through many trees. Plain data only: see
// table.hpp.
#include <stddef.h>
#include <stdint.h>

#include "kernels/forest_table.hpp"

namespace redoubt::kernels::detail {

/// Up to 15 nodes of a tree, connected, of any shape, and their exits from left to right: two cache lines. All nodes
/// are tested at once; a node that goes right forbids the exits of its left subtree, and the first exit that is left
/// is the one that a walk would take. `slots`: what the exit leads to: at least -2^30, the result (a leaf value or a
/// number >= 0); else block slot - INT32_MIN.
/// A block of zeros has one exit, which leads to the result 0.
struct ForestBlock {
  uint16_t forbidden[16];  // bit e: exit e; [15] is 0
  uint8_t column[16];      // [15] is 0
  uint8_t threshold[16];   // code > threshold goes right
  int32_t slots[16];
};

constexpr int32_t forest_block_results = -(1 << 30);
constexpr size_t forest_block_nodes = 15;

/// 64 trees, their upper nodes as a group to sweep. Exit e of it of lane l leads to block first + l * stride + e.
struct ForestBlockGroup {
  ForestGroup top;
  uint32_t first, stride;
  size_t lanes;    // those beyond are not used
  size_t columns;  // of the codes that it reads
};

/// Where the results are: place = 32 * block + 16 + exit, counted in words of 4 bytes.
struct ForestBlockTable {
  unsigned char isa;
  /// places[64 g + lane] of the used lanes; codes[g]: 64 * top.vectors bytes, 64-byte aligned.
  void (*find)(const ForestBlockGroup* groups, size_t count, const unsigned char* const* codes,
               const ForestBlock* blocks, uint32_t* places);
  /// Sum of the results, modulo 2^32.
  uint32_t (*sum)(const ForestBlockGroup* groups, size_t count, const unsigned char* const* codes,
                  const ForestBlock* blocks);
};

constexpr size_t forest_block_groups_at_once = 8;

extern const ForestBlockTable forest_block_avx2_table;
extern const ForestBlockTable forest_block_avx512_table;

}  // namespace redoubt::kernels::detail
