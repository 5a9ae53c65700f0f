#pragma once
// Products of operands in tiles, bf16 in one part or two, by AMX: the products of training. Written against a policy P
// as amx_body.hpp is: the instructions in amx/rounded.cpp, an emulation in tests/kernels/emulated_tiles.hpp.
//   P::configure(config), P::release(), P::zero<T>(), P::load<T>, P::load_once<T>, P::store<T>, P::dp<C, A, B>()
//   P::start(bias, c, n, to)      to[0, 16) = bias + c of n columns, both may be null, then zeros
//   P::finish(sums, n, relu, c)   one row of at most 16 columns
//   P::own(line)                  PREFETCHW: fetches a line to be written
//
// Measured on AMX hardware (Sapphire Rapids class), bf16: a core does 2.35 to 2.7 TFLOP/s, by clock, with operands in
// registers and as much with both sides in L1; 2.2 with the left side from L2 past L1 and the right in L1; 1.75 with
// both from L2 through L1. Hence the panels of rounded_tiles.cpp. Sums that are stored cost about 45 ns a block of
// 2 x 2 tiles, most of it waiting for the last product; rows of c in L2 cost no more than a block in L1 does, and
// storing the rows by vector instructions beside the next block's products was slower. With two parts 8 loads feed 12
// instructions. Useful at most: 16 times the multiply-adds of fp32 in bf16, 5 times in two parts.
#include "kernels/amx_body.hpp"
#include "kernels/rounded_table.hpp"

namespace redoubt::kernels::detail {
namespace {

/// Which side is not wanted soon again: its tiles go past the nearest cache.
enum class Passing { none, left, right };

/// R x C tiles of sums in 0 to 3. Of the operands, the side with fewer tiles is held in one or two more, the other
/// takes turns in what is left.
template <class P, int R, int C, int Parts, Passing passing>
struct RoundedBlock {
  static_assert(R * C <= 4 && (R <= 2 || C == 1));
  static constexpr bool left_held = R <= C;
  static constexpr int held = left_held ? R : C, spare = 4 - held;
  static constexpr bool others_fit = (left_held ? C : R) <= spare;

  const TiledProduct& t;
  size_t row, col;

  template <int I>
  static void load_left(const unsigned char* a) {
    constexpr int tile = left_held ? 4 + I : 4 + held + I % spare;
    if constexpr (passing == Passing::left)
      P::template load_once<tile>(a, tile_bytes);
    else
      P::template load<tile>(a, tile_bytes);
  }
  template <int J>
  static void load_right(const unsigned char* b) {
    constexpr int tile = left_held ? 4 + held + J % spare : 4 + J;
    if constexpr (passing == Passing::right)
      P::template load_once<tile>(b, tile_bytes);
    else
      P::template load<tile>(b, tile_bytes);
  }
  template <int I, int J>
  static void multiply() {
    constexpr int a = left_held ? 4 + I : 4 + held + I % spare, b = left_held ? 4 + held + J % spare : 4 + J;
    P::template dp<I * C + J, a, b>();
  }
  /// The tiles of the held side, then each of the others with all of them.
  template <int H, bool Load>
  void hold(const unsigned char* a, const unsigned char* b) const {
    if constexpr (H < held && Load) {
      if constexpr (left_held)
        load_left<H>(a + H * t.a_group);
      else
        load_right<H>(b + H * t.b_group);
      hold<H + 1, Load>(a, b);
    }
  }
  template <int O, int H>
  void with_held() const {
    if constexpr (H < held) {
      if constexpr (left_held)
        multiply<H, O>();
      else
        multiply<O, H>();
      with_held<O, H + 1>();
    }
  }
  template <int O, bool Load>
  void others(const unsigned char* a, const unsigned char* b) const {
    if constexpr (O < (left_held ? C : R)) {
      if constexpr (Load || !others_fit) {
        if constexpr (left_held)
          load_right<O>(b + O * t.b_group);
        else
          load_left<O>(a + O * t.a_group);
      }
      with_held<O, 0>();
      others<O + 1, Load>(a, b);
    }
  }
  template <bool NewLeft, bool NewRight>
  void add(const unsigned char* a, const unsigned char* b) const {
    hold<0, left_held ? NewLeft : NewRight>(a, b);
    others<0, left_held ? NewRight : NewLeft>(a, b);
  }

  size_t rows_of(size_t i) const {
    const size_t left = t.rows - row - i * tile_side;
    return left < tile_side ? left : size_t(tile_side);
  }
  size_t cols_of(size_t j) const {
    const size_t left = t.cols - col - j * tile_side;
    return left < tile_side ? left : size_t(tile_side);
  }
  float* place(size_t i, size_t j) const { return t.c + (row + i * tile_side) * t.c_row + col + j * tile_side; }

  template <int T>
  void start() const {
    if constexpr (T < R * C) {
      constexpr size_t i = T / C, j = T % C;
      const size_t height = rows_of(i), width = cols_of(j);
      const float *const c = place(i, j), *const bias = t.bias ? t.bias + col + j * tile_side : nullptr;
      if (!t.add_c && !bias) {
        P::template zero<T>();
      } else if (!bias && height == tile_side && width == tile_side) {
        P::template load<T>(c, t.c_row * sizeof(float));
      } else if (!t.add_c && width == tile_side) {
        P::template load<T>(bias, 0);  // the same in all rows
      } else {
        alignas(64) float sums[tile_side][tile_side];
        for (size_t r = 0; r < tile_side; ++r)
          P::start(bias, t.add_c && r < height ? c + r * t.c_row : nullptr, width, sums[r]);
        P::template load<T>(sums, tile_bytes);
      }
      start<T + 1>();
    }
  }
  template <int T>
  void finish() const {
    if constexpr (T < R * C) {
      constexpr size_t i = T / C, j = T % C;
      const size_t height = rows_of(i), width = cols_of(j);
      float* const c = place(i, j);
      if (!t.relu && height == tile_side && width == tile_side) {
        P::template store<T>(c, t.c_row * sizeof(float));
      } else {
        alignas(64) float sums[tile_side][tile_side];
        P::template store<T>(sums, tile_bytes);
        for (size_t r = 0; r < height; ++r) P::finish(sums[r], width, t.relu, c + r * t.c_row);
      }
      finish<T + 1>();
    }
  }

  /// Rows of c of the block below, which its stores would wait for one after the other, beside the products:
  /// measured where c is not in L2, 10 to 25 % less.
  struct RowsAhead {
    size_t each, left;
    const float* at;
    RowsAhead(const TiledProduct& t, size_t row, size_t col)
        : each((R * tile_side + t.tiles - 1) / (t.tiles > 0 ? t.tiles : 1)),
          left(row + 2 * R * tile_side <= t.rows ? R * tile_side : 0),
          at(t.c + (row + R * tile_side) * t.c_row + col) {}
    void fetch(size_t c_row) {
      for (size_t i = 0; i < each && left > 0; ++i, --left, at += c_row)
        for (int j = 0; j < C; ++j) P::own(at + j * tile_side);
    }
  };

  void run() const {
    start<0>();
    RowsAhead below(t, row, col);
    const unsigned char* a = t.a + row / tile_side * t.a_group;
    const unsigned char* b = t.b + col / tile_side * t.b_group;
    for (size_t k = 0; k < t.tiles; ++k, a += whole_tile_bytes, b += whole_tile_bytes) {
      below.fetch(t.c_row);
      if constexpr (Parts == 1) {
        add<true, true>(a, b);
      } else {  // small products first
        add<true, true>(a + t.a_part, b);
        add<true, false>(a, b);
        add<false, true>(a, b + t.b_part);
      }
    }
    finish<0>();
  }
};

/// All rows and columns in blocks, whose shape changes no bit: an element is a sum over tiles in depth, in order.
/// Columns inside: the caller gives as many as the nearest cache holds.
template <class P, int Parts>
void tiled_blocks(const TiledProduct& t) {
  const auto one = [&]<int R, int C, Passing passing = Passing::none>(size_t row, size_t col) {
    RoundedBlock<P, R, C, Parts, passing>{t, row, col}.run();
  };
  constexpr size_t side = tile_side;
  if (t.cols <= side) {  // four sums hide the 52 cycles that each takes
    size_t row = 0;
    for (; row + 3 * side < t.rows; row += 4 * side) one.template operator()<4, 1>(row, 0);
    for (; row < t.rows; row += 2 * side)
      t.rows - row > side ? one.template operator()<2, 1>(row, 0) : one.template operator()<1, 1>(row, 0);
    return;
  }
  const Passing passing = t.cols <= 2 * side && t.rows > 2 * side   ? Passing::left
                          : t.cols > 2 * side && t.rows <= 2 * side ? Passing::right
                                                                    : Passing::none;
  for (size_t row = 0; row < t.rows; row += 2 * side) {
    const bool two = t.rows - row > side;
    size_t col = 0;
    if (!two)
      for (; col + 3 * side < t.cols; col += 4 * side) one.template operator()<1, 4>(row, col);
    for (; col < t.cols; col += 2 * side) {
      const bool wide = t.cols - col > side;
      if (two && wide) switch (passing) {
          case Passing::left: one.template operator()<2, 2, Passing::left>(row, col); break;
          case Passing::right: one.template operator()<2, 2, Passing::right>(row, col); break;
          case Passing::none: one.template operator()<2, 2>(row, col);
        }
      else if (two)
        one.template operator()<2, 1>(row, col);
      else if (wide)
        one.template operator()<1, 2>(row, col);
      else
        one.template operator()<1, 1>(row, col);
    }
  }
}

template <class P>
void amx_tiled_product(const TiledProduct& t) {
  in_tiles<P>([&] { t.a_part > 0 ? tiled_blocks<P, 2>(t) : tiled_blocks<P, 1>(t); });
}

}  // namespace
}  // namespace redoubt::kernels::detail
