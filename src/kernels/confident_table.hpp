#pragma once
// The kernel of confident learning: plain data only, see table.hpp.
#include <stddef.h>
#include <stdint.h>

namespace redoubt::kernels::detail {

/// Of one row of probabilities.
struct ConfidentRow {
  double best;     // the largest value that is at least its class's threshold; -1: none
  double most;     // the largest value
  uint32_t guess;  // the first class with `best`
  uint32_t sound;  // 0 if a value is NaN, or below -1e-6
};

/// Rows of `classes` values, `stride` from row to row. A threshold that is NaN is never reached.
struct ConfidentTable {
  unsigned char isa;
  void (*fp64)(const double* p, size_t stride, size_t rows, size_t classes, const double* least, ConfidentRow* out);
  void (*fp32)(const float* p, size_t stride, size_t rows, size_t classes, const float* least, ConfidentRow* out);
};

extern const ConfidentTable avx2_confident_table, avx512_confident_table;

}  // namespace redoubt::kernels::detail
