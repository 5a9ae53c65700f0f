#pragma once
// The function table of one instruction-set level. Translation units below avx2/ and avx512/ include this header, so
// it may hold plain data only: an inline function here would be compiled with AVX-512 flags too, and the linker keeps
// any one copy of it, also for a CPU without AVX-512.
#include <stddef.h>

namespace redoubt::kernels::detail {

/// One block of a product: c = activation(start + a * b), where start = bias (or 0), plus c if `add_c`.
struct Tile {
  const float* a;
  size_t a_row, a_col;         // element (i, s * depth + k) of a is a[i * a_row + s * a_segment + k * a_col]
  size_t segments, a_segment;  // s < segments; b goes on from one to the next
  const float* b;
  size_t b_row;   // element (k,j) of b is b[k * b_row + j]
  bool b_padded;  // b may be read up to a whole number of vectors
  float* c;
  size_t c_row;
  size_t rows, cols, depth;  // rows <= Table::tile_rows, cols <= Table::tile_cols
  const float* bias;         // null = none
  bool add_c;
  const float* next_c;       // fetched early; null = not
  unsigned char activation;  // kernels::Activation
};

/// One row of places of a depthwise convolution whose windows lie inside the image:
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

/// kernels::AdamStep
struct AdamConstants {
  float factor, coupled, keep, first_keep, first_add, second_keep, second_add, rate, epsilon, negligible;
};

/// kernels::Moments: the mean is high + low.
struct Centre {
  float high, low, factor;
};

struct Table {
  unsigned char isa;  // redoubt::Isa

  size_t tile_rows, tile_cols;
  void (*tile)(const Tile&);
  /// dst[p][k][tile_cols], zero-padded: columns of b(depth x cols), where (k,j) is b[k * row + j].
  void (*pack_b)(const float* b, size_t row, size_t depth, size_t cols, float* dst);
  /// The same, where (k,j) is b[j * row + k].
  void (*pack_b_transposed)(const float* b, size_t row, size_t depth, size_t cols, float* dst);
  /// dst[p][k][tile_rows], zero-padded: rows of a(rows x depth), where (i,k) is a[k * row + i].
  void (*pack_a_transposed)(const float* a, size_t row, size_t depth, size_t rows, float* dst);
  /// dst[j * dst_row + i] = src[i * src_row + j] for i < rows, j < cols.
  void (*transpose)(const float* src, size_t src_row, size_t rows, size_t cols, float* dst, size_t dst_row);
  void (*matvec)(const float* x, size_t depth, const float* w, size_t w_row, size_t cols, const float* bias,
                 unsigned char activation, float* out);
  /// Numbers of the x that are not 0 (NaN is not) in ascending order, and how many; n, unlisted, if few of the first
  /// are 0. `list` has room for 16 more than n.
  size_t (*nonzero)(const float* x, size_t n, unsigned* list);
  /// As `matvec` with weights from `pack_b`, whose columns begin at `panels`; with `list`, only its `count` x are not
  /// zero.
  void (*packed_row)(const float* x, size_t depth, const unsigned* list, size_t count, const float* panels, size_t cols,
                     const float* bias, unsigned char activation, float* out);
  void (*max_pool)(const float* src, size_t src_row, size_t step, size_t height, size_t width, size_t channels,
                   size_t places, float* dst);
  void (*max_pool_backward)(const float* src, const float* best, const float* slopes, size_t src_row, size_t step,
                            size_t height, size_t width, size_t channels, size_t places, bool relu, bool add,
                            float* dst);
  void (*depthwise)(const DepthwiseRow&);
  /// One line of `tiles` tiles of 4 x 4 pixels, each 2 right of the one before: dst[point * plane + tile * channels +
  /// c].
  void (*winograd_source)(const float* src, size_t row, size_t channels, size_t tiles, float* dst, size_t plane);
  /// src[point * plane + tile * filters + f] to two lines of `columns` pixels; second: null if there is none.
  void (*winograd_output)(const float* src, size_t plane, size_t filters, size_t columns, const float* bias, bool relu,
                          float* first, float* second);

  float (*dot)(const float* x, const float* y, size_t n);
  void (*axpy)(float alpha, const float* x, float* y, size_t n);
  /// sums[j] += src[i * src_row + j] for i < rows, j < cols
  void (*add_rows)(const float* src, size_t src_row, size_t rows, size_t cols, float* sums);
  void (*scale)(float alpha, float* x, size_t n);
  double (*sum)(const float* x, size_t n);
  float (*min)(const float* x, size_t n);
  float (*max)(const float* x, size_t n);
  float (*squared_distance)(const float* x, const float* y, size_t n);

  /// dst = e^(src - shift)
  void (*exp)(const float* src, float shift, float* dst, size_t n);
  /// x = e^(factor * (x - shift)); returns their sum
  float (*exp_sum)(float factor, float shift, float* x, size_t n);
  /// Of every row, x[i * row], ...: x = e^x / sum of e^x
  void (*softmax)(float* x, size_t row, size_t rows, size_t n);
  /// from = factor * y * (from - sum of y * from)
  void (*softmax_gradient)(const float* y, float factor, float* from, size_t n);
  void (*tanh)(const float* src, float* dst, size_t n);
  void (*sigmoid)(const float* src, float* dst, size_t n);
  void (*relu)(const float* src, float* dst, size_t n);
  void (*erf)(const float* src, float* dst, size_t n);
  void (*gelu)(const float* src, float* dst, size_t n);
  /// to = y > 0 ? from : 0
  void (*relu_gradient)(const float* y, const float* from, float* to, size_t n);
  /// to = gelu'(x) * from, plus to if `add`
  void (*gelu_gradient)(const float* x, const float* from, bool add, float* to, size_t n);

  /// Of normalisation, z = factor * (x - mean): sum of (x - mean)^2
  double (*square_sum)(const Centre& centre, const float* x, size_t n);
  /// dst = scale * z + shift
  void (*normalise)(const Centre& centre, const float* x, const float* scale, const float* shift, float* dst, size_t n);
  /// dst = factor * (g - mean of g - z * mean of g z) with g = scale * from, plus dst if `add`
  void (*normalise_gradient)(const Centre& centre, const float* x, const float* scale, const float* from, bool add,
                             float* dst, size_t n);
  /// scales += from * z, shifts += from, unless they are null
  void (*normalise_sums)(const Centre& centre, const float* x, const float* from, float* scales, float* shifts,
                         size_t n);

  void (*adam)(const AdamConstants& step, float* w, const float* g, float* m, float* v, size_t n);

  void (*affine_bounds)(const float* lower, const float* upper, size_t depth, const float* w, size_t w_row, size_t cols,
                        const float* bias, float* dst_lower, float* dst_upper);
};

extern const Table avx2_table;
extern const Table avx512_table;

}  // namespace redoubt::kernels::detail
