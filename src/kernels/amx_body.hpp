#pragma once
// Products of bf16 and int8 by AMX, written against a policy P: the instructions in amx/narrow.cpp, an emulation of
// them in tests/kernels/narrow_test.cpp. Everything is in an unnamed namespace, as in body.hpp.
//   P::configure(config), P::release()      LDTILECFG, TILERELEASE
//   P::zero<T>(), P::load<T>(from, stride), P::load_once<T>(from, stride), P::store<T>(to, stride)
//   P::dp<C, A, B>()                         TDPBF16PS or TDPBUSD
//   P::finish(sums, scales, bias, n, relu, c)  one row of at most 16 columns
#include "kernels/narrow_table.hpp"

namespace redoubt::kernels::detail {
namespace {

/// What LDTILECFG reads.
struct alignas(64) TileConfig {
  unsigned char palette = 1, start_row = 0, reserved[14] = {};
  unsigned short row_bytes[8] = {}, reserved_bytes[8] = {};
  unsigned char rows[8] = {}, reserved_rows[8] = {};
};
static_assert(sizeof(TileConfig) == 64);

enum : size_t { tile_side = 16, tile_bytes = 64 };

/// Bytes of a row of the left side that one instruction takes. Shapes cannot change while sums are in tiles, so they
/// are equal parts of a segment where that costs at most 15 % more instructions; otherwise 64, and what is left over is
/// copied and filled up with zeros. Depends on the segment only, so that a row has the same bits among others.
inline size_t amx_step(size_t segment) {
  if (segment == 0) return tile_bytes;
  const size_t least = (segment + tile_bytes - 1) / tile_bytes;
  for (size_t parts = least; parts * 20 <= least * 23; ++parts)
    if (segment % (4 * parts) == 0) return segment / parts;
  return tile_bytes;
}

/// R tiles of rows times C tiles of columns, R * C <= 4: sums in tiles 0 to 3, the left side from 4 on, then the right.
template <class P, int R, int C>
struct AmxBlock {
  const NarrowTile& t;
  size_t step, rows;

  size_t rows_of(size_t i) const { return i + 1 < R ? size_t(tile_side) : rows - (R - 1) * tile_side; }

  TileConfig config() const {
    TileConfig result;
    const auto shape = [&](size_t tile, size_t tile_rows, size_t bytes) {
      result.rows[tile] = static_cast<unsigned char>(tile_rows);
      result.row_bytes[tile] = static_cast<unsigned short>(bytes);
    };
    for (size_t i = 0; i < R; ++i) {
      for (size_t j = 0; j < C; ++j) shape(i * C + j, rows_of(i), tile_bytes);
      shape(4 + i, rows_of(i), step);
    }
    for (size_t tile = 4 + R; tile < 8; ++tile) shape(tile, step / 4, tile_bytes);
    return result;
  }

  template <int J>
  void column(const unsigned char* const (&b)[C], size_t b_row) const {
    if constexpr (J < C) {
      constexpr int right = 4 + R + J % (4 - R);
      P::template load<right>(b[J], b_row);
      P::template dp<J, 4, right>();
      if constexpr (R == 2) P::template dp<C + J, 5, right>();
      column<J + 1>(b, b_row);
    }
  }

  void multiply(const unsigned char* a, size_t a_row, size_t a_block, const unsigned char* const (&b)[C],
                size_t b_row) const {
    P::template load_once<4>(a, a_row);
    if constexpr (R == 2) P::template load_once<5>(a + a_block, a_row);
    column<0>(b, b_row);
  }

  /// The last `bytes` of a segment, filled up.
  void multiply_rest(const unsigned char* a, size_t bytes, const unsigned char* const (&b)[C]) const {
    alignas(64) unsigned char left[R * tile_side][tile_bytes], right[C][tile_side][tile_bytes];
    for (size_t i = 0; i < rows; ++i) {
      __builtin_memcpy(left[i], a + i * t.a_row, bytes);
      __builtin_memset(left[i] + bytes, 0, tile_bytes - bytes);
    }
    const unsigned char* from[C];
    for (size_t j = 0; j < C; ++j) {
      for (size_t g = 0; g < tile_side; ++g) {
        if (4 * g < bytes)
          __builtin_memcpy(right[j][g], b[j] + g * 4 * narrow_panel, tile_bytes);
        else
          __builtin_memset(right[j][g], 0, tile_bytes);
      }
      from[j] = right[j][0];
    }
    multiply(left[0], tile_bytes, tile_side * tile_bytes, from, tile_bytes);
  }

  template <int T>
  void zero_all() const {
    if constexpr (T < R * C) {
      P::template zero<T>();
      zero_all<T + 1>();
    }
  }

  template <int T>
  void store_all(unsigned char* to) const {
    if constexpr (T < R * C) {
      P::template store<T>(to + T * tile_side * tile_bytes, tile_bytes);
      store_all<T + 1>(to);
    }
  }

  /// Rows from `row` on, columns from `col`, a multiple of 16.
  void run(size_t row, size_t col) const {
    const unsigned char* b[C];
    for (size_t j = 0; j < C; ++j) {
      const size_t at = col + j * tile_side;
      b[j] = t.b + at / narrow_panel * t.b_panel + at % narrow_panel * 4;
    }
    zero_all<0>();
    const auto advance = [&](size_t bytes) {
      for (size_t j = 0; j < C; ++j) b[j] += bytes * narrow_panel;
    };
    for (size_t s = 0; s < t.segments; ++s) {
      const unsigned char* const a = t.a + row * t.a_row + s * t.a_segment;
      size_t k = 0;
      for (; k + step <= t.segment; k += step) {
        multiply(a + k, t.a_row, tile_side * t.a_row, b, 4 * narrow_panel);
        advance(step);
      }
      if (k < t.segment) {
        multiply_rest(a + k, t.segment - k, b);
        advance(t.segment - k);
      }
    }
    alignas(64) unsigned char sums[R * C][tile_side][tile_bytes];
    store_all<0>(sums[0][0]);
    for (size_t i = 0; i < R; ++i) {
      for (size_t r = 0; r < rows_of(i); ++r) {
        float* const c = t.c + (row + i * tile_side + r) * t.c_row;
        for (size_t j = 0, at = col; j < C; ++j, at += tile_side) {
          const size_t n = t.cols - at < tile_side ? t.cols - at : size_t(tile_side);
          P::finish(sums[i * C + j][r], t.scales ? t.scales + at : nullptr, t.bias + at, n, t.relu, c + at);
        }
      }
    }
  }
};

/// `rows` rows from `row` on, of one shape of block, times all columns: those outside, so that they stay in the nearest
/// cache; the left side comes from the next.
template <class P, int R, int C>
void amx_rows(const NarrowTile& t, size_t step, size_t row, size_t rows, size_t blocks) {
  constexpr size_t width = C * tile_side;
  const AmxBlock<P, R, C> block{t, step, rows};
  if (C == 1 || t.cols > width - tile_side) P::configure(block.config());
  size_t col = 0;
  for (; col < t.cols && (C == 1 || t.cols - col > width - tile_side); col += width)
    for (size_t i = 0; i < blocks; ++i) block.run(row + i * rows, col);
  if constexpr (C > 1) {
    if (col >= t.cols) return;
    // Fewer tiles of columns; the left and right tiles keep their shapes.
    const size_t left = (t.cols - col + tile_side - 1) / tile_side;
    const auto narrower = [&](auto other) {
      P::configure(other.config());
      for (size_t i = 0; i < blocks; ++i) other.run(row + i * rows, col);
    };
    if constexpr (C > 3) {
      if (left == 3) return narrower(AmxBlock<P, R, 3>{t, step, rows});
    }
    if constexpr (C > 2) {
      if (left == 2) return narrower(AmxBlock<P, R, 2>{t, step, rows});
    }
    narrower(AmxBlock<P, R, 1>{t, step, rows});
  }
}

/// The whole product that `t` describes: any number of rows and columns.
template <class P>
void amx_product(const NarrowTile& t) {
  const size_t step = amx_step(t.segment);
  const size_t blocks = t.rows / (2 * tile_side), row = blocks * 2 * tile_side, left = t.rows - row;
  if (blocks) amx_rows<P, 2, 2>(t, step, 0, 2 * tile_side, blocks);
  if (left > tile_side)
    amx_rows<P, 2, 2>(t, step, row, left, 1);
  else if (left)
    amx_rows<P, 1, 4>(t, step, row, left, 1);
  P::release();  // else the operating system saves 8 KB at every switch of this thread
}

}  // namespace
}  // namespace redoubt::kernels::detail
