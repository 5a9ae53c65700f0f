#pragma once
// Near pairs of rows of bf16 by AMX, written against a policy P as amx_body.hpp is: the instructions in amx/near.cpp,
// an emulation in tests/kernels/emulated_tiles.hpp.
//   P::configure(config), P::release(), P::load<T>, P::store<T>, P::dp<C, A, B>()
//   typename P::Near near(t, col)   of columns [col, col + 16)
//   near.bits(sums, row)            which of them are near a row, of which these are the sums
#include "kernels/amx_body.hpp"
#include "kernels/near_table.hpp"

namespace redoubt::kernels::detail {
namespace {

/// Blocks of 2 x 2 tiles: sums in 0 to 3, the left side in 4 and 5, the right in 6 and 7. While those of a block are
/// multiplied, the sums of the one before are compared.
template <class P>
class NearTiles {
 public:
  explicit NearTiles(const NearBlocks& blocks)
      : t_(blocks), steps_((t_.depth + tile_side - 1) / tile_side), words_(t_.depth / steps_) {
    TileConfig config;
    for (size_t tile = 0; tile < 8; ++tile) {
      config.rows[tile] = static_cast<unsigned char>(tile < 6 ? size_t(tile_side) : words_);
      config.row_bytes[tile] = static_cast<unsigned short>(tile < 4 || tile > 5 ? size_t(tile_bytes) : 4 * words_);
    }
    P::configure(config);
    for (size_t col = 0; col < t_.panels * near_panel; col += 2 * tile_side)
      for (size_t row = 0; row < near_rows * t_.groups; row += 2 * tile_side) block(row, col);
    compare();
    P::release();
  }

 private:
  const float* column(size_t col) const { return t_.b + col / near_panel * near_panel * t_.depth + col % near_panel; }
  void block(size_t row, size_t col) {
    P::template load<0>(t_.start + col, 0);  // the same in all rows
    P::template load<1>(t_.start + col + tile_side, 0);
    P::template load<2>(t_.start + col, 0);
    P::template load<3>(t_.start + col + tile_side, 0);
    const float *a = t_.a + row * t_.a_row, *left = column(col), *right = column(col + tile_side);
    const size_t a_row = t_.a_row * sizeof(float), b_row = near_panel * sizeof(float), deep = words_ * near_panel;
    for (size_t k = 0; k < steps_; ++k, a += words_, left += deep, right += deep) {
      P::template load<4>(a, a_row);
      P::template load<6>(left, b_row);
      P::template dp<0, 4, 6>();
      P::template load<7>(right, b_row);
      P::template dp<1, 4, 7>();
      P::template load<5>(a + tile_side * t_.a_row, a_row);
      P::template dp<2, 5, 6>();
      P::template dp<3, 5, 7>();
    }
    compare();
    P::template store<0>(sums_[0], tile_bytes);
    P::template store<1>(sums_[1], tile_bytes);
    P::template store<2>(sums_[2], tile_bytes);
    P::template store<3>(sums_[3], tile_bytes);
    row_ = row, col_ = col, waiting_ = true;
  }
  void compare() {
    if (!waiting_) return;
    for (size_t j = 0; j < 2; ++j) {
      const size_t col = col_ + j * tile_side;
      const typename P::Near near(t_, col);
      // The places of 16 columns in the 64 bits of a row; the last ones also clear what belongs to no column.
      unsigned char* const to =
          (unsigned char*)(t_.hits + col / near_panel * near_rows * t_.groups + row_) + col % near_panel / 8;
      const bool last = col % near_panel + tile_side == near_panel;
      for (size_t i = 0; i < 2 * tile_side; ++i) {
        const unsigned bits = near.bits(sums_[2 * (i / tile_side) + j] + i % tile_side * tile_side, row_ + i);
        __builtin_memcpy(to + i * sizeof(uint64_t), &bits, last ? 4 : 2);
      }
    }
  }

  const NearBlocks& t_;
  size_t steps_, words_;
  size_t row_ = 0, col_ = 0;
  bool waiting_ = false;
  alignas(64) float sums_[4][tile_side * tile_side];
};

template <class P>
void near_tiles(const NearBlocks& t) {
  NearTiles<P> all(t);
}

}  // namespace
}  // namespace redoubt::kernels::detail
