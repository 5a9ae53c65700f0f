#pragma once
// The kernels of bf16 and int8 products: plain data only, see table.hpp, and what is in an unnamed namespace.
#include <stddef.h>
#include <stdint.h>

namespace redoubt::kernels::detail {

enum : size_t { narrow_panel = 16, narrow_vectors = 3, narrow_rows = 8 };

/// How values of the result are stored.
enum : unsigned char { narrow_to_fp32, narrow_to_bf16, narrow_to_uint8 };

/// One block of vector kernels: rows <= narrow_rows of the left side times up to narrow_vectors panels, or twice as
/// many if it is one row. Tile kernels take any number of rows and columns.
struct NarrowTile {
  const unsigned char* a;
  size_t a_row;                         // bytes from row to row
  size_t segments, segment, a_segment;  // of a row: so many, of so many bytes, so many bytes apart
  const unsigned char* b;               // 4 bytes per column of a panel at a time
  size_t b_panel;                       // bytes from panel to panel
  unsigned char* c;
  size_t c_row;  // bytes
  size_t rows, cols;
  const float *scales, *bias;  // of the columns; scales for int8
  bool relu;
  unsigned char to;     // what c holds
  float inverse, zero;  // of narrow_to_uint8, as of to_uint8
  // Tile kernels only: lines of `rows` rows each, so many bytes apart. `pool`: the largest of 2 x 2 values, in lines
  // and rows; what is left over is dropped.
  size_t lines, a_line, c_line;
  bool pool;
};

namespace {

/// Bytes of a value of c.
inline size_t value_bytes(const NarrowTile& t) { return t.to == narrow_to_fp32 ? 4 : t.to == narrow_to_bf16 ? 2 : 1; }

}  // namespace

struct NarrowTable {
  void (*bf16_tile)(const NarrowTile&);
  void (*int8_tile)(const NarrowTile&);
  /// Rounds to nearest even; numbers below 2^-126 become 0.
  void (*to_bf16)(const float* src, size_t n, unsigned char* dst);
  /// round(src[i] * inverse) + zero, clamped to [0, 255].
  void (*to_uint8)(const float* src, size_t n, float inverse, float zero, unsigned char* dst);
};

extern const NarrowTable avx512_narrow_table;

/// Whole products.
struct AmxTable {
  void (*bf16)(const NarrowTile&);
  void (*int8)(const NarrowTile&);
  /// Of one row, by vectors, with the bits that it has among others in tiles.
  void (*bf16_row)(const NarrowTile&);
};

extern const AmxTable amx_narrow_table;

}  // namespace redoubt::kernels::detail
