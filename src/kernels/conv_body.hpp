#pragma once
// Convolutions of images that are rounded to bf16, in one part or two, by AMX. A tile of the left side is read in
// place: 16 neighbouring places of an image, 32 values of the patch of each. Written against a policy P as
// tile_body.hpp is: the instructions in amx/conv.cpp, an emulation in tests/kernels/emulated_tiles.hpp.
//   P::configure(config), P::release(), P::zero<T>(), P::load<T>, P::store<T>, P::dp<C, A, B>()
//   P::place(sums, bias, add, n, relu, c)   one row of at most 16 columns
#include "kernels/amx_body.hpp"
#include "kernels/conv_table.hpp"

namespace redoubt::kernels::detail {
namespace {

enum : size_t { tile_floats = tile_side * tile_side };

/// R x C tiles of sums in 0 to 3; the right side is held in the tiles from 4 on, the left takes turns in the others.
template <class P, int R, int C, int Parts>
struct ConvBlock {
  static_assert(R * C <= 4 && C <= 2);
  static constexpr int spare = 4 - C;
  size_t a_row, a_tile, a_part;  // bytes from row to row, from 16 rows to the next, to the second part
  size_t b_row, b_tile, b_part;

  template <int J>
  void load_right(const unsigned char* b) const {
    if constexpr (J < C) {
      P::template load<4 + J>(b + J * b_tile, b_row);
      load_right<J + 1>(b);
    }
  }
  template <int I, int J>
  static void multiply() {
    if constexpr (J < C) {
      P::template dp<I * C + J, 4 + C + I % spare, 4 + J>();
      multiply<I, J + 1>();
    }
  }
  template <int I, bool Load>
  void left(const unsigned char* a) const {
    if constexpr (I < R) {
      if constexpr (Load) P::template load<4 + C + I % spare>(a + I * a_tile, a_row);
      multiply<I, 0>();
      left<I + 1, Load>(a);
    }
  }
  void add(const unsigned char* a, const unsigned char* b) const {
    load_right<0>(b);
    if constexpr (Parts == 2) left<0, true>(a + a_part);
    left<0, true>(a);
    if constexpr (Parts == 2) {
      load_right<0>(b + b_part);
      left<0, (R > spare)>(a);
    }
  }
  template <int T, class Place>
  static void start(bool load, Place place) {
    if constexpr (T < R * C) {
      if (load)
        P::template load<T>(place(T / C, T % C), tile_bytes);
      else
        P::template zero<T>();
      start<T + 1>(load, place);
    }
  }
  template <int T, class Place>
  static void store(Place place) {
    if constexpr (T < R * C) {
      P::template store<T>(place(T / C, T % C), tile_bytes);
      store<T + 1>(place);
    }
  }
};

/// Sums of R x C tiles to their places: (y, x) is that of the first row.
template <class P, int R, int C>
void put_places(const ConvPlaces& t, const float* sums, size_t image, size_t y, size_t x, size_t col) {
  float* const c = t.c + image * t.c_image + col;
  for (size_t r = 0; r < R * tile_side; ++r, ++x) {
    if (x == t.pitch) x = 0, ++y;
    if (x >= t.width || y >= t.height) continue;
    float* const to = c + y * t.c_line + x * t.c_place;
    const float* const from = sums + r / tile_side * (C * tile_floats) + r % tile_side * tile_side;
    for (size_t j = 0; j < C; ++j) {
      const size_t at = j * tile_side, left = t.cols - col - at;
      P::place(from + j * tile_floats, t.bias ? t.bias + col + at : nullptr, t.add_c,
               left < tile_side ? left : size_t(tile_side), t.relu, to + at);
    }
  }
}

template <class P, int R, int C, int Parts>
void conv_block(const ConvPlaces& t, size_t image, size_t y, size_t x, size_t col) {
  const ConvBlock<P, R, C, Parts> block{t.a_row, tile_side * t.a_row, t.a_part, tile_bytes, t.b_group, t.b_part};
  alignas(64) float sums[R * C * tile_floats];
  const auto place = [&](size_t i, size_t j) { return sums + (i * C + j) * tile_floats; };
  block.template start<0>(false, place);
  const unsigned char* const a = t.a + image * t.a_image + (y * t.pitch + x) * t.a_row;
  const unsigned char* b = t.b + col / tile_side * t.b_group;
  for (size_t s = 0; s < t.segment_count; ++s) {
    const unsigned char* at = a + t.segments[s];
    for (size_t k = 0; k < t.segment_tiles; ++k, at += tile_bytes, b += tile_side * tile_bytes) block.add(at, b);
  }
  block.template store<0>(place);
  put_places<P, R, C>(t, sums, image, y, x, col);
}

/// All places of the images times C tiles of columns.
template <class P, int C, int Parts>
void conv_columns(const ConvPlaces& t, size_t col) {
  constexpr size_t step = 4 / C * tile_side;
  const size_t places = (t.height - 1) * t.pitch + t.width;
  for (size_t image = 0; image < t.images; ++image) {
    size_t y = 0, x = 0;
    const auto move = [&](size_t rows) {
      for (x += rows; x >= t.pitch; x -= t.pitch) ++y;
    };
    size_t place = 0;
    for (; place + step - tile_side < places; place += step, move(step))
      conv_block<P, 4 / C, C, Parts>(t, image, y, x, col);
    for (; place < places; place += tile_side, move(tile_side)) conv_block<P, 1, C, Parts>(t, image, y, x, col);
  }
}

template <class P, int Parts>
void conv_places(const ConvPlaces& t) {
  size_t col = 0;  // outside, so that the right side stays in the nearest cache
  for (; col + tile_side < t.cols; col += 2 * tile_side) conv_columns<P, 2, Parts>(t, col);
  if (col < t.cols) conv_columns<P, 1, Parts>(t, col);
}

template <class P, int R, int C, int Parts>
void sum_block(const ConvSums& t, size_t filter, size_t column) {
  // Columns need not be evenly spaced: two of them are, where a segment holds both, or the second gets its own
  // distance.
  const size_t b_tile = C == 2 ? t.columns[column + 1] - t.columns[column] : 0;
  const ConvBlock<P, R, C, Parts> block{tile_bytes, t.a_group, t.a_part, t.b_row, b_tile, t.b_part};
  const auto place = [&](size_t i, size_t j) {
    return t.sums + ((filter + i) * t.column_tiles + column + j) * tile_floats;
  };
  block.template start<0>(t.add, place);
  for (size_t image = 0; image < t.images; ++image) {
    const unsigned char* a = t.a + image * t.a_image + filter * t.a_group;
    const unsigned char* b = t.b + image * t.b_image + t.columns[column];
    for (size_t k = 0; k < t.depth_tiles; ++k, a += tile_side * tile_bytes, b += tile_side * t.b_row) block.add(a, b);
  }
  block.template store<0>(place);
}

template <class P, int R, int Parts>
void sum_filters(const ConvSums& t, size_t filter) {
  size_t column = 0;
  for (; column + 1 < t.column_tiles; column += 2) sum_block<P, R, 2, Parts>(t, filter, column);
  if (column < t.column_tiles) sum_block<P, R, 1, Parts>(t, filter, column);
}

template <class P, int Parts>
void conv_sums(const ConvSums& t) {
  size_t filter = 0;
  for (; filter + 1 < t.filter_tiles; filter += 2) sum_filters<P, 2, Parts>(t, filter);
  if (filter < t.filter_tiles) sum_filters<P, 1, Parts>(t, filter);
}

template <class P>
void amx_conv_places(const ConvPlaces& t) {
  in_tiles<P>([&] { t.a_part > 0 ? conv_places<P, 2>(t) : conv_places<P, 1>(t); });
}

template <class P>
void amx_conv_sums(const ConvSums& t) {
  in_tiles<P>([&] { t.a_part > 0 ? conv_sums<P, 2>(t) : conv_sums<P, 1>(t); });
}

}  // namespace
}  // namespace redoubt::kernels::detail
