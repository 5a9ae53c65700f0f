#pragma once
// Kernels of bagged trees of two classes (src/trees/bagging_split.cpp), per instruction-set level. Plain data only: see
// table.hpp. Every level gives the same bits.
//
// A sum of rows is one number: (weight << 32) + weight of class 1. A cut of a node (weight W, W1 of it of class 1)
// whose left side is (w, w1) scores (w1 W - W1 w)^2 / (w (W - w)): Gini impurity falls by twice that over W. Equal
// scores: the lower bin, then missing values on the right.
#include <stddef.h>
#include <stdint.h>

namespace redoubt::kernels::detail {

struct TwoClassCut {
  double score;   // negative: all rows are on one side of every cut
  uint64_t left;  // sum of the bins up to `bin`
  uint32_t bin;   // the last on the left
  uint32_t missing_left;
};

/// 64 rows of weights below 8. Bit i of weight[k] is bit k of the weight of row i, that of one[k] of its weight of
/// class 1; zero beyond the last row.
struct TwoClassPlanes {
  uint64_t weight[3], one[3];
};

/// At most 64 rows.
struct TwoClassRows {
  const uint64_t* rows;
  size_t count;
  uint64_t total;
  TwoClassPlanes planes;
};

struct BaggingTable {
  unsigned char isa;
  /// The best cut of the bins 0 .. count - 1; the rows of sum `missing` are in none of them. `total`: all rows.
  void (*cut)(const uint64_t* bins, size_t count, uint64_t missing, uint64_t total, TwoClassCut* found);
  /// The same from codes[0 .. 63], of which those beyond the rows may be anything. `missing`: the highest code.
  void (*cut_rows)(const TwoClassRows& rows, const unsigned char* codes, unsigned missing, TwoClassCut* found);

  /// One element of `out` per 64 rows. Returns the bitwise or of all rows: are the weights below 8?
  uint64_t (*planes)(const uint64_t* rows, size_t count, TwoClassPlanes* out);
  /// The least and the highest code but `missing`; least above highest if there is no other. Returns whether one is.
  bool (*bounds)(const unsigned char* codes, size_t count, unsigned missing, unsigned char* least,
                 unsigned char* highest);
  /// The sum of the rows whose code is at most `last`.
  uint64_t (*sum_to)(const TwoClassPlanes* planes, const unsigned char* codes, size_t count, unsigned last);
};

extern const BaggingTable bagging_avx512_table;

}  // namespace redoubt::kernels::detail
