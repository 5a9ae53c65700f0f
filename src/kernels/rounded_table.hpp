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

struct RoundedTable {
  void (*tile)(const RoundedTile&);
  /// rows x depth values to rows of pairs, `dst_row` bytes apart; an odd depth is filled up with a zero. Both parts if
  /// `part`, the bytes between them, is not 0.
  void (*rows)(const float* src, size_t src_row, size_t rows, size_t depth, unsigned char* dst, size_t dst_row,
               size_t part);
  /// The same of the transpose: src is depth x rows.
  void (*rows_turned)(const float* src, size_t src_row, size_t rows, size_t depth, unsigned char* dst, size_t dst_row,
                      size_t part);
  /// depth x cols values to one panel, cols <= rounded_panel; columns beyond are left as they are.
  void (*panel)(const float* src, size_t src_row, size_t depth, size_t cols, unsigned char* dst, size_t part);
  /// The same of the transpose: src is cols x depth.
  void (*panel_turned)(const float* src, size_t src_row, size_t depth, size_t cols, unsigned char* dst, size_t part);
};

extern const RoundedTable avx512_rounded_table;

}  // namespace redoubt::kernels::detail
