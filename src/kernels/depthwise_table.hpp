#pragma once
// The kernel of depthwise convolutions: plain data only, see table.hpp.
#include <stddef.h>

namespace redoubt::kernels::detail {

/// One row of places whose windows lie inside the image:
/// dst[p][c] = bias[c] + sum of src[p * step + y * src_row + x * tap + c] * weight[y * weight_row + x * channels + c].
struct DepthwiseRow {
  const float* src;
  size_t src_row, tap, step;
  size_t height, width;  // of the window; a sum of none is the bias
  size_t channels, places;
  const float* weight;
  size_t weight_row;
  const float* bias;
  float* dst;
  bool relu;
};

using DepthwiseKernel = void (*)(const DepthwiseRow&);

extern const DepthwiseKernel avx2_depthwise, avx512_depthwise;

}  // namespace redoubt::kernels::detail
