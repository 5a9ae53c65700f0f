#pragma once
// The kernels of products whose operands are rounded to bf16: plain data only, see table.hpp.
#include <stddef.h>

namespace redoubt::kernels::detail {

enum : size_t { rounded_panel = 48, rounded_rows = 8 };

/// One block: rows <= rounded_rows of the left side times up to one panel of the right side. Both sides are made of
/// pairs of bf16 that are neighbours in depth.
struct RoundedTile {
  const unsigned char* a;  // rows of pairs
  size_t a_row;            // bytes from row to row
  const unsigned char* b;  // rounded_panel pairs for each pair of a row
  size_t pairs;
  size_t a_part, b_part;  // bytes from the leading to the second part of each side; 0: there is one part
  float* c;
  size_t c_row;
  size_t rows, cols;
  const float* bias;  // of the columns, or null
  bool add_c, relu;
};

/// Where pairs go, in bytes: from row to row, from 32 in depth to the next, from 16 rows to the next (of a right side:
/// from pair to pair, from 16 pairs to the next, from 16 columns to the next), and from the leading to the second part;
/// part 0: there is one.
struct PairPlaces {
  size_t row, block, group, part;
};

/// Fills `count` rows or columns of `depth`. An odd depth is filled up with a zero, and a left side with zeros to a
/// multiple of 32; what else lies in the last blocks stays as it is.
using PairPack = void(const float* src, size_t src_row, size_t count, size_t depth, unsigned char* dst,
                      const PairPlaces& to);

struct PairPacks {
  PairPack* rows;          // a left side from count x depth values
  PairPack* rows_turned;   // a left side from depth x count values
  PairPack* panel;         // a right side from depth x count values
  PairPack* panel_turned;  // a right side from count x depth values
};

struct RoundedTable {
  void (*tile)(const RoundedTile&);
  PairPacks packs;
};

/// A product, or a part of its depth, of operands in tiles of 1 KiB: 16 rows times 32 deep on the left, 16 pairs times
/// 16 columns on the right; those of the same rows (columns) follow one another in depth. Rows and columns that fill up
/// the last tiles may hold anything, depth that does holds zeros.
struct TiledProduct {
  const unsigned char *a, *b;
  size_t tiles;             // in depth
  size_t a_group, b_group;  // bytes from 16 rows or columns to the next
  size_t a_part, b_part;    // bytes from the leading to the second part of each side; 0: there is one part
  float* c;
  size_t c_row;
  size_t rows, cols;
  const float* bias;  // of the columns, or null
  bool add_c, relu;
};

using TileKernel = void (*)(const TiledProduct&);

extern const RoundedTable avx512_rounded_table;
extern const TileKernel amx_tile_product;

}  // namespace redoubt::kernels::detail
