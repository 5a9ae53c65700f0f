#pragma once
// The kernels of bf16 and int8 products: plain data only, see table.hpp.
#include <stddef.h>
#include <stdint.h>

namespace redoubt::kernels::detail {

enum : size_t { narrow_panel = 48, narrow_rows = 8 };

/// One block: rows <= narrow_rows of the left side times up to one panel, or two panels if it is one row.
struct NarrowTile {
  const unsigned char* a;
  size_t a_row;                         // bytes from row to row
  size_t segments, segment, a_segment;  // of a row: so many, of so many bytes, so many bytes apart
  const unsigned char* b;               // 4 bytes per column of a panel at a time
  size_t b_panel;                       // bytes from panel to panel
  float* c;
  size_t c_row;
  size_t rows, cols;
  const float *scales, *bias;  // of the columns; scales for int8
  bool relu;
};

struct NarrowTable {
  void (*bf16_tile)(const NarrowTile&);
  void (*int8_tile)(const NarrowTile&);
  /// Rounds to nearest even; numbers below 2^-126 become 0.
  void (*to_bf16)(const float* src, size_t n, unsigned char* dst);
  /// round(src[i] * inverse) + zero, clamped to [0, 255].
  void (*to_uint8)(const float* src, size_t n, float inverse, float zero, unsigned char* dst);
};

extern const NarrowTable avx512_narrow_table;

/// Whole products: any number of rows and columns in one NarrowTile.
struct AmxTable {
  void (*bf16)(const NarrowTile&);
  void (*int8)(const NarrowTile&);
};

extern const AmxTable amx_narrow_table;

}  // namespace redoubt::kernels::detail
