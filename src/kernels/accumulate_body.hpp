#pragma once
// Sums of bins, plain C++ that is compiled with the flags of each level. Everything is in an unnamed namespace, as in
// body.hpp.
#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

namespace redoubt::kernels::detail {
namespace {

template <size_t columns>
void accumulate_columns(const uint64_t* codes, const uint64_t* pairs, size_t n, uint64_t* bins,
                        const uint8_t* ahead_codes, size_t stride, const uint32_t* ahead_rows, size_t ahead_n) {
  const auto add = [&](uint64_t row, uint64_t pair) {
#pragma GCC unroll 8
    for (size_t c = 0; c < columns; ++c) bins[c * 256 + (row >> (8 * c) & 255)] += pair;
  };
  size_t i = 0, k = 0;
  // Four rows for one place ahead.
  for (; i + 4 <= n && k < ahead_n; i += 4, ++k) {
    _mm_prefetch((const char*)(ahead_codes + (ahead_rows ? ahead_rows[k] : k) * stride), _MM_HINT_T1);
    for (size_t j = 0; j < 4; ++j) add(codes[i + j], pairs[i + j]);
  }
  for (; k < ahead_n; ++k)
    _mm_prefetch((const char*)(ahead_codes + (ahead_rows ? ahead_rows[k] : k) * stride), _MM_HINT_T1);
  for (; i + 2 <= n; i += 2) {
    add(codes[i], pairs[i]);
    add(codes[i + 1], pairs[i + 1]);
  }
  if (i < n) add(codes[i], pairs[i]);
}

template <size_t columns>
void add_by_column(const uint8_t* const* codes, const uint64_t* pairs, size_t n, uint64_t* bins) {
  const uint8_t* of[columns];
  for (size_t c = 0; c < columns; ++c) of[c] = codes[c];
#pragma GCC unroll 2
  for (size_t i = 0; i < n; ++i) {
    const uint64_t pair = pairs[i];
#pragma GCC unroll 8
    for (size_t c = 0; c < columns; ++c) bins[c * 256 + of[c][i]] += pair;
  }
}

/// run.operator()<columns>() for 1 to 8 columns, known when it is compiled.
template <class Run>
void with_columns(size_t columns, Run run) {
  switch (columns) {
    case 1: return run.template operator()<1>();
    case 2: return run.template operator()<2>();
    case 3: return run.template operator()<3>();
    case 4: return run.template operator()<4>();
    case 5: return run.template operator()<5>();
    case 6: return run.template operator()<6>();
    case 7: return run.template operator()<7>();
    case 8: return run.template operator()<8>();
  }
}

void accumulate(const uint64_t* codes, const uint64_t* pairs, size_t n, size_t columns, uint64_t* bins,
                const uint8_t* ahead_codes, size_t stride, const uint32_t* ahead_rows, size_t ahead_n) {
  with_columns(columns, [=]<size_t count>() {
    accumulate_columns<count>(codes, pairs, n, bins, ahead_codes, stride, ahead_rows, ahead_n);
  });
}

void accumulate_by_column(const uint8_t* const* codes, const uint64_t* pairs, size_t n, size_t columns,
                          uint64_t* bins) {
  with_columns(columns, [=]<size_t count>() { add_by_column<count>(codes, pairs, n, bins); });
}

}  // namespace
}  // namespace redoubt::kernels::detail
