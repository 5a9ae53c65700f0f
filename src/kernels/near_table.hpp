#pragma once
// The kernel that finds near pairs among two blocks of rows: plain data only, see table.hpp.
#include <stddef.h>
#include <stdint.h>

namespace redoubt::kernels::detail {

enum : size_t { near_panel = 48, near_rows = 8 };

/// Left: 8 * groups rows of `depth` words of 4 bytes; right: `panels` of 48 columns, for each word of the depth those
/// of the 48 columns. A word is a float, or two bf16 (the lower half first). With s = start[j] + a_i b_j, pair (i, j)
/// is near unless s < own[i] and s + reach[j] < base[i]; NaN is near.
struct NearBlocks {
  const float* a;
  size_t a_row, groups;  // a_row: words from row to row
  const float* b;
  size_t panels, depth;
  const float *start, *reach;  // of the columns
  const float *base, *own;     // of the rows
  uint64_t* hits;              // panel by panel: for each row the bits of its near columns
};

using NearKernel = void (*)(const NearBlocks&);

struct NearTable {
  unsigned char isa;
  NearKernel fp32;
  NearKernel bf16;  // null: none; needs the instructions beside the level
};

extern const NearTable avx2_near_table, avx512_near_table;
extern const NearKernel amx_near_tiles;  // bf16; groups by fours, panels by twos, depth as near_depth gives it

}  // namespace redoubt::kernels::detail
