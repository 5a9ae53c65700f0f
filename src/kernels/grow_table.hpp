#pragma once
// The kernels of growing a tree on bins, as a table per instruction-set level. Translation units below avx2/ and
// avx512/ include this header, so it may hold plain data only (see table.hpp).
//
// Formats. A row's gradient pair is quantised to 32 bits: gradient, signed, in the high half and hessian, unsigned, in
// the low half, |gradient| <= 2^12 and hessian <= 2^12. While up to `grow_block_rows` rows are summed, a bin is one
// 64-bit integer: rows in bits 0-12, hessian in 13-37, gradient, signed, in 38-63; one addition adds all three. A
// node's histogram is two arrays: gradient sums, and (hessian sum << count_bits) + rows.
#include <stddef.h>
#include <stdint.h>

namespace redoubt::kernels::detail {

enum : int { grow_g_bits = 12, grow_h_bits = 12, grow_largest_g = 1 << grow_g_bits, grow_largest_h = 1 << grow_h_bits };
enum : unsigned { grow_h_at = 13, grow_g_at = 38, grow_n_mask = (1 << grow_h_at) - 1 };  // places in a bin
enum : size_t { grow_block_rows = 8064 };  // a multiple of 64; at most grow_n_mask, and times 2^12 below 2^25

struct SplitScan {
  const int64_t* g;  // bins 0 .. bins - 1; readable up to a multiple of 8
  const uint64_t* hn;
  const uint64_t* sums;  // scan: of up to grow_block_rows rows, in the format of a bin, instead of g and hn; or null
  uint32_t bins;
  int64_t missing_g;
  uint64_t missing_hn;  // 0: no row is missing
  int64_t total_g;      // with the missing
  uint64_t total_hn;
  unsigned count_bits;
  uint64_t min_rows;     // of a side, at least 1
  uint64_t min_hessian;  // of a side, in units of hn >> count_bits, at least 1 if l2 is 0
  double l2;             // in the same units
  double floor;          // scan: what scores less by more than a part in 10^9 need not be found
  const uint32_t* ids;   // scan_each: of the bins, below 2^31 or no_bin; readable up to a multiple of 8. null: all 0
};

enum : uint32_t { no_bin = 0xffffffff };  // is not looked at

struct SplitFound {
  double score;  // sum over both sides of g^2 / (h + l2); below 0: no cut is allowed
  uint32_t bin;  // the last one that goes left
  uint32_t missing_left;
};

struct GrowTable {
  unsigned char isa;  // redoubt::Isa

  /// Least and largest of x[rows[i]]; rows null: of x[i]. NaN is not expected. n > 0.
  void (*bounds)(const float* x, const uint32_t* rows, size_t n, float* least, float* largest);
  /// out[i] = the quantised pair of row rows[i] (rows null: row first + i), rounded up or down at random: a function
  /// of key and row. Adds the sums of both to sums[0], sums[1]. scaled values are within the limits above.
  void (*quantise)(const float* g, const float* h, const uint32_t* rows, size_t first, size_t n, float g_scale,
                   float h_scale, uint64_t key, uint32_t* out, int64_t* sums);
  /// out[i] = pair i in the format of a bin.
  void (*expand)(const uint32_t* pairs, size_t n, uint64_t* out);
  /// out[g * out_stride + i] = bytes 8g .. 8g+7 of row rows[i] (rows null: row first + i), g < groups <= 4. With an
  /// order bytes order[8g] .. order[8g+7] instead, each below 32; then 32 bytes of each row are readable.
  void (*gather)(const uint8_t* codes, size_t stride, const uint32_t* rows, size_t first, size_t n, size_t groups,
                 const uint8_t* order, uint64_t* out, size_t out_stride);
  /// bins[c * 256 + byte c of codes[i]] += pairs[i], for c < columns <= 8. Meanwhile asks the memory for the `ahead_n`
  /// places ahead_codes + ahead_rows[i] * stride (ahead_rows null: + i * stride), which a later gather will read;
  /// ahead_n <= n.
  void (*accumulate)(const uint64_t* codes, const uint64_t* pairs, size_t n, size_t columns, uint64_t* bins,
                     const uint8_t* ahead_codes, size_t stride, const uint32_t* ahead_rows, size_t ahead_n);
  /// bins[c * 256 + codes[c][i]] += pairs[i], for c < columns <= 8: of rows that follow one another.
  void (*accumulate_by_column)(const uint8_t* const* codes, const uint64_t* pairs, size_t n, size_t columns,
                               uint64_t* bins);
  /// Adds `count` bins to a histogram, or stores them there, and clears them. Touches up to a multiple of 8.
  void (*flush)(uint64_t* bins, size_t count, unsigned count_bits, bool add, int64_t* g, uint64_t* hn);
  /// out[b] = bins[b], and clears them. Touches up to a multiple of 8.
  void (*take)(uint64_t* bins, size_t count, uint64_t* out);
  /// sums[k] = bins[k * length] + .. + bins[k * length + length - 1] for k < runs. The bins of all runs are added to
  /// the first run, the others are cleared.
  void (*fold)(uint64_t* bins, size_t length, size_t runs, uint64_t* sums);
  /// g -= other_g, hn -= other_hn
  void (*subtract)(int64_t* g, uint64_t* hn, const int64_t* other_g, const uint64_t* other_hn, size_t count);
  /// out = from - less; out may be from.
  void (*difference)(const uint64_t* from, const uint64_t* less, size_t count, uint64_t* out);
  /// Bit i of masks: whether codes[rows[i]] (rows null: codes[first + i]) is in the set. Returns how many are.
  /// May read 3 bytes behind a code.
  size_t (*mark)(const uint8_t* codes, const uint32_t* rows, size_t first, size_t n, const uint32_t* set,
                 uint16_t* masks);
  /// Distributes rows (null: first + i) and pairs by masks, in order. Left ones go to left_rows[0 .. lefts), others to
  /// right_rows[0 .. n - lefts), pairs alike.
  void (*split)(const uint32_t* rows, size_t first, const uint32_t* pairs, const uint16_t* masks, size_t n,
                size_t lefts, uint32_t* left_rows, uint32_t* left_pairs, uint32_t* right_rows, uint32_t* right_pairs);
  /// dst[i] = src[i], past the caches where whole lines are written; other threads see it after they synchronise.
  void (*stream)(const uint32_t* src, size_t n, uint32_t* dst);
  /// The best cut; of equal ones that of the lowest bin, then the one with the missing on the right. The missing alone
  /// are never the left side: that is the cut behind all values with the missing on the right.
  void (*scan)(const SplitScan& in, SplitFound* out);
  /// The best single bin against all others; of equal ones that of the lowest id, then the lowest. There are no missing
  /// ones.
  void (*scan_each)(const SplitScan& in, SplitFound* out);
  /// out[i] = number of cuts below x[i * stride], NaN: count. cuts is ascending, count <= 255; 256 floats are readable
  /// and those from `count` on are +infinity.
  void (*assign)(const float* x, size_t stride, size_t n, const float* cuts, size_t count, uint8_t* out);
};

extern const GrowTable naive_grow_table;
extern const GrowTable avx2_grow_table;
extern const GrowTable avx512_grow_table;

}  // namespace redoubt::kernels::detail
