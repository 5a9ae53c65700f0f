#pragma once
// Products of bf16 and int8 by AMX, written against a policy P: the instructions in amx/narrow.cpp, an emulation of
// them in tests/kernels/emulated_tiles.hpp. Everything is in an unnamed namespace, as in body.hpp.
//   P::configure(config), P::release()      LDTILECFG, TILERELEASE
//   P::zero<T>(), P::load<T>(from, stride), P::load_once<T>(from, stride), P::store<T>(to, stride)
//   P::dp<C, A, B>()                         TDPBF16PS or TDPBUSD
//   P::Row<C> row(t, col)                    what makes results of rows of C tiles of sums that lie side by side:
//   row.finish(sums, to)                     of one, row.pool(upper, lower, to): the largest of two by two
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

enum : size_t {
  tile_side = 16,
  tile_bytes = 64,
  whole_tile_bytes = tile_side * tile_bytes,
  block_bytes = 4 * whole_tile_bytes,  // of the sums of a block
  amx_left = 32 * 1024,                // of the left side at a time, in an L1 of 48 KB
  amx_blocks = 16                      // of columns, whose sums are kept while the depth is gone through in parts
};

/// job() with all eight tiles whole.
template <class P, class Job>
void in_tiles(Job job) {
  TileConfig config;
  for (size_t tile = 0; tile < 8; ++tile) config.rows[tile] = tile_side, config.row_bytes[tile] = tile_bytes;
  P::configure(config);
  job();
  P::release();  // else the operating system saves 8 KB at every switch of this thread
}

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

/// Blocks of R tiles of rows, which lie `a_tile` bytes apart in the left side and `c_tile` in c, times up to 4 / R
/// tiles of columns: sums in tiles 0 to 3, the left side from 4 on, then the right. The sums of a block leave the tiles
/// in the first step of the next one, whose other steps they are finished beside: vector instructions run while tiles
/// are multiplied, and stores of tiles to lines that lie apart would stall (measured: 80 ns for a block's sums to
/// memory close by, 250 ns to rows of c).
template <class P, int R>
class AmxBlocks {
 public:
  static constexpr size_t width = 4 / R;
  /// Where a block is in the left side and in c.
  struct Place {
    const unsigned char* a;
    unsigned char* c;
  };

  AmxBlocks(const NarrowTile& tile, size_t first_height, size_t last_height, size_t a_tile, size_t c_tile)
      : t(tile),
        step_(amx_step(tile.segment)),
        each_((tile.segment + step_ - 1) / step_),
        a_tile_(a_tile),
        c_tile_(c_tile) {
    height_[0] = first_height, height_[R - 1] = last_height;
    TileConfig config;
    const auto shape = [&](size_t i, size_t rows, size_t bytes) {
      config.rows[i] = static_cast<unsigned char>(rows);
      config.row_bytes[i] = static_cast<unsigned short>(bytes);
    };
    for (size_t i = 0; i < R; ++i) {
      for (size_t j = 0; j < width; ++j) shape(i * width + j, height_[i], tile_bytes);
      shape(4 + i, height_[i], step_);
    }
    for (size_t i = 4 + R; i < 8; ++i) shape(i, step_ / 4, tile_bytes);
    P::configure(config);
  }

  size_t steps() const { return each_ * t.segments; }
  size_t rows() const { return R == 1 ? height_[0] : height_[0] + height_[1]; }

  /// Adds steps [first, last) of the depth of the block at `place`, columns from `col` on, whose sums go to `sums` and,
  /// unless it is the first part, come from there. The block before it had as many columns.
  template <int C>
  void run(const Place& place, size_t col, size_t first, size_t last, unsigned char* sums) {
    const size_t step = step_, each = each_, rest = t.segment - (each - 1) * step, a_row = t.a_row, b_panel = t.b_panel,
                 next_segment = t.a_segment - (each - 1) * step;
    size_t part = first % each;
    const unsigned char* a = place.a + first / each * t.a_segment + part * step;
    const unsigned char* b = t.b + col / tile_side * b_panel + (first / each * t.segment + part * step) * tile_side;
    multiply<C, true>(a, a_row, a_tile_, b, b_panel, first > 0 ? sums : nullptr);
    Results<C> results(*this);
    const size_t count = last - first, pace = count > 1 ? (results.left + count - 2) / (count - 1) : 0;
    for (size_t i = 1; i < count; ++i) {
      b += (part + 1 < each ? step : rest) * tile_side;
      if (++part < each)
        a += step;
      else
        a += next_segment, part = 0;
      if (part + 1 == each && rest < step)
        multiply_rest<C>(a, rest, b);
      else
        multiply<C, false>(a, a_row, a_tile_, b, b_panel, nullptr);
      results.make(pace);
    }
    results.make(results.left);
    in_tiles_ = sums, place_ = place, col_ = col, done_ = last == steps();
  }

  /// What is left of the last block.
  template <int C>
  void flush() {
    if (!in_tiles_) return;
    store_all<C, 0>();
    Results<C> results(*this);
    results.make(results.left);
    in_tiles_ = nullptr;
  }

 private:
  /// Makes results of the sums that have left the tiles, row by row.
  template <int C>
  struct Results {
    explicit Results(const AmxBlocks& blocks)
        : row(blocks.t, blocks.col_),
          sums(blocks.in_tiles_),
          to(blocks.place_.c + blocks.col_ * value_bytes(blocks.t)),
          c_row(blocks.t.c_row),
          c_turn(blocks.c_tile_ - blocks.height_[0] * c_row),
          sums_turn(width * whole_tile_bytes - blocks.height_[0] * tile_bytes),
          height(blocks.height_[0]),
          pool(blocks.t.pool) {
      if (!blocks.in_tiles_ || !blocks.done_) return;
      left = pool ? height / 2 : blocks.rows();
    }
    void make(size_t rows) {
      if (rows > left) rows = left;
      left -= rows;
      for (; rows > 0; --rows) {
        if (pool) {
          row.pool(sums, sums + width * whole_tile_bytes, to);
          sums += 2 * tile_bytes, to += c_row;
          continue;
        }
        row.finish(sums, to);
        sums += tile_bytes, to += c_row;
        if (--height == 0) sums += sums_turn, to += c_turn;
      }
    }
    typename P::template Row<C> row;
    const unsigned char* sums;
    unsigned char* to;
    size_t c_row, c_turn, sums_turn;  // from the last row of the first tile to the second tile
    size_t height, left = 0;
    bool pool;
  };

  template <int T>
  void turn(const unsigned char* before) const {
    if (in_tiles_) P::template store<T>(in_tiles_ + T * whole_tile_bytes, tile_bytes);
    if (before)
      P::template load<T>(before + T * whole_tile_bytes, tile_bytes);
    else
      P::template zero<T>();
  }

  template <int C, int J, bool First>
  void column(const unsigned char* b, size_t b_panel, const unsigned char* before) const {
    if constexpr (J < C) {
      constexpr int right = 4 + R + J % (4 - R);
      P::template load_once<right>(b, tile_bytes);
      if constexpr (First) turn<J>(before);
      P::template dp<J, 4, right>();
      if constexpr (R == 2) {
        if constexpr (First) turn<width + J>(before);
        P::template dp<width + J, 5, right>();
      }
      column<C, J + 1, First>(b + b_panel, b_panel, before);
    }
  }

  template <int C, bool First>
  void multiply(const unsigned char* a, size_t a_row, size_t a_tile, const unsigned char* b, size_t b_panel,
                const unsigned char* before) const {
    P::template load<4>(a, a_row);
    if constexpr (R == 2) P::template load<5>(a + a_tile, a_row);
    column<C, 0, First>(b, b_panel, before);
  }

  /// The last `bytes` of a segment, filled up.
  template <int C>
  void multiply_rest(const unsigned char* a, size_t bytes, const unsigned char* b) const {
    alignas(64) unsigned char left[R * tile_side][tile_bytes], right[C][tile_side][tile_bytes];
    for (size_t i = 0; i < R; ++i) {
      for (size_t r = 0; r < height_[i]; ++r) {
        unsigned char* const to = left[i * tile_side + r];
        __builtin_memcpy(to, a + i * a_tile_ + r * t.a_row, bytes);
        __builtin_memset(to + bytes, 0, tile_bytes - bytes);
      }
    }
    for (size_t j = 0; j < C; ++j) {
      __builtin_memcpy(right[j], b + j * t.b_panel, bytes * tile_side);
      __builtin_memset(right[j][0] + bytes * tile_side, 0, (tile_bytes - bytes) * tile_side);
    }
    multiply<C, false>(left[0], tile_bytes, whole_tile_bytes, right[0][0], whole_tile_bytes, nullptr);
  }

  template <int C, int J>
  void store_all() const {
    if constexpr (J < C) {
      P::template store<J>(in_tiles_ + J * whole_tile_bytes, tile_bytes);
      if constexpr (R == 2) P::template store<width + J>(in_tiles_ + (width + J) * whole_tile_bytes, tile_bytes);
      store_all<C, J + 1>();
    }
  }

  const NarrowTile& t;
  size_t step_, each_;  // bytes of a step; steps in a segment
  size_t a_tile_, c_tile_;
  size_t height_[2];
  unsigned char* in_tiles_ = nullptr;  // where the sums that are in tiles go
  Place place_{};                      // theirs
  size_t col_ = 0;
  bool done_ = false;
};

/// All columns of the blocks at place(0) to place(count - 1). The left side of a block stays in the nearest cache, part
/// of the depth by part, while the right side comes from the next one, as much of it as stays there. Measured on a
/// processor of the Sapphire Rapids class, 128 x 512 x 512 in bf16: 37 us; with the right side in the nearest cache and
/// rows of the left side from the next one, 1024 bytes apart, 46 us without making results.
template <class P, int R, class At>
void amx_columns(AmxBlocks<P, R>& blocks, const NarrowTile& t, size_t count, const At& place) {
  constexpr size_t width = AmxBlocks<P, R>::width, block_cols = width * tile_side;
  alignas(64) unsigned char sums[amx_blocks][block_bytes];
  const size_t steps = blocks.steps(), parts = (steps * blocks.rows() * tile_bytes + amx_left - 1) / amx_left;
  const auto columns = [&]<int C>(size_t col, size_t many) {
    for (size_t i = 0; i < count; ++i) {
      const auto at = place(i);
      for (size_t p = 0; p < parts; ++p)
        for (size_t j = 0; j < many; ++j)
          blocks.template run<C>(at, col + j * block_cols, p * steps / parts, (p + 1) * steps / parts,
                                 sums[parts > 1 ? j : 0]);
    }
    blocks.template flush<C>();
  };
  size_t col = 0, whole = (t.cols + tile_side - 1) / block_cols;
  for (; whole > 0;) {
    const size_t many = whole < amx_blocks ? whole : size_t(amx_blocks);
    columns.template operator()<width>(col, many);
    whole -= many, col += many * block_cols;
  }
  if (col >= t.cols) return;
  const size_t left = (t.cols - col + tile_side - 1) / tile_side;
  if constexpr (width > 2) {
    if (left == 3) columns.template operator()<3>(col, 1);
    if (left == 2) columns.template operator()<2>(col, 1);
  }
  if (left == 1) columns.template operator()<1>(col, 1);
}

/// `lines` lines of patches: blocks of two lines, of as many tiles in each as cover it; the last ones may overlap those
/// before them, so that all have one shape.
template <class P>
void amx_lines(const NarrowTile& t) {
  const size_t unit = t.pool ? 2 : 1, rows = t.rows / unit * unit, lines = t.lines / unit * unit;
  const size_t across = (rows + tile_side - 1) / tile_side, height = (rows / unit + across - 1) / across * unit;
  AmxBlocks<P, 2> blocks(t, height, height, t.a_line, t.c_line);
  amx_columns<P, 2>(blocks, t, (lines + 1) / 2 * across, [&](size_t i) {
    const size_t pair = i / across, x = i % across * height;
    const size_t line = 2 * pair + 2 > lines ? lines - 2 : 2 * pair, row = x + height > rows ? rows - height : x;
    return typename AmxBlocks<P, 2>::Place{t.a + line * t.a_line + row * t.a_row,
                                           t.c + line / unit * t.c_line + row / unit * t.c_row};
  });
}

/// `count` blocks of rows of one line, from `row` on.
template <class P, int R>
void amx_rows(const NarrowTile& t, size_t row, size_t first_height, size_t last_height, size_t count) {
  AmxBlocks<P, R> blocks(t, first_height, last_height, tile_side * t.a_row, tile_side * t.c_row);
  amx_columns<P, R>(blocks, t, count, [&](size_t i) {
    const size_t at = row + i * R * tile_side;
    return typename AmxBlocks<P, R>::Place{t.a + at * t.a_row, t.c + at * t.c_row};
  });
}

/// The whole product that `t` describes.
template <class P>
void amx_product(const NarrowTile& t) {
  if (t.lines > 1) {
    amx_lines<P>(t);
  } else {
    const size_t blocks = t.rows / (2 * tile_side), row = blocks * 2 * tile_side, left = t.rows - row;
    if (blocks) amx_rows<P, 2>(t, 0, tile_side, tile_side, blocks);
    if (left > tile_side)
      amx_rows<P, 2>(t, row, tile_side, left - tile_side, 1);
    else if (left)
      amx_rows<P, 1>(t, row, left, left, 1);
  }
  P::release();  // else the operating system saves 8 KB at every switch of this thread
}

}  // namespace
}  // namespace redoubt::kernels::detail
