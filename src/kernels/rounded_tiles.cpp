#include <algorithm>
#include <atomic>
#include <cstring>

#include "kernels/bf16.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/rounded.hpp"
#include "kernels/rounded_table.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/parallel.hpp"

namespace redoubt::kernels::detail {
namespace {

constexpr std::size_t side = 16, deep = 32, tile_bytes = 1024;  // of a tile: rows or columns, depth
// By what tile_body.hpp measured.
constexpr std::size_t depth_tiles = 16;  // at a time: 32 columns of them are 32 KiB, of an L1 of 48
constexpr std::size_t chunk_rows = 256, chunk_bytes = 512 * 1024;  // of the left side at most, and its rows
constexpr std::size_t cache_bytes = 1024 * 1024;                   // of an L2 of 2 MB
constexpr std::size_t sunk_cols = 512;   // of a block for a sink, which reads long rows faster than short ones
constexpr double flops_per_value = 128;  // in the time that rounds one
constexpr double flops_per_sunk = 1000;  // in the time that a value takes in a sink, which moves a weight
constexpr double serial_flops = 5e7;     // below, about 20 us, waking a thread costs more than it brings

std::atomic<const TileKernels*> replaced{nullptr};

/// How the right side lies: in panels of whole tiles.
struct TiledRight {
  std::size_t n, k, parts;
  std::size_t tiles = groups_of(k, deep), group = tiles * tile_bytes;  // in depth; from 16 columns to the next
  std::size_t panel_cols, part = panel_cols / side * group;

  /// As many columns as an L1 holds beside the rest, so that shallow products go along the rows of c.
  TiledRight(const Sizes& sizes, ProductPrecision precision, bool sunk)
      : n(sizes.n),
        k(sizes.k),
        parts(parts_of(precision)),
        panel_cols(
            std::min(sunk ? sunk_cols
                          : 2 * side * std::max<std::size_t>(1, depth_tiles / std::max<std::size_t>(1, tiles * parts)),
                     round_up(n, 2 * side))) {}
  std::size_t panels() const { return groups_of(n, panel_cols); }
  std::size_t panel_bytes() const { return part * parts; }
  void prepare(const TileKernels& kernels, Form form, MatrixView<const float> b, std::size_t panel,
               unsigned char* to) const {
    const std::size_t col = panel * panel_cols, cols = std::min(panel_cols, n - col);
    pack_right(*kernels.packs, form, b, col, col + cols, to, {64, tile_bytes, group, parts == 2 ? part : 0});
    const std::size_t filled = (k + 1) / 2 * 64;
    for (std::size_t p = 0; p < parts; ++p)
      for (std::size_t g = 0; g < groups_of(cols, side); ++g)
        std::memset(to + p * part + g * group + filled, 0, group - filled);
  }
};

struct Tiled {
  const TileKernels& kernels;
  Form form;
  MatrixView<const float> a, b;
  MatrixView<float> c;
  const MatmulOptions& options;
  Sizes sizes;
  const TiledRight& shape;
  const unsigned char* prepared;  // all of the right side, or null
  unsigned char *left = nullptr, *right = nullptr;
  std::size_t first_row = 0, left_rows = 0, first_panel = 0;  // at left, right

  std::size_t left_part(std::size_t rows) const { return groups_of(rows, side) * shape.group; }
  std::size_t left_bytes(std::size_t rows) const { return left_part(rows) * shape.parts; }
  std::size_t right_bytes(std::size_t panels) const { return prepared ? 0 : panels * shape.panel_bytes(); }
  Tiled on(unsigned char* left_room, std::size_t row, std::size_t rows, unsigned char* right_room,
           std::size_t panel) const {
    Tiled other = *this;
    other.left = left_room, other.first_row = row, other.left_rows = rows;
    other.right = right_room, other.first_panel = panel;
    return other;
  }
  std::size_t a_part() const { return shape.parts == 2 ? left_part(left_rows) : 0; }
  unsigned char* rows(std::size_t row) const { return left + (row - first_row) / side * shape.group; }
  const unsigned char* panel(std::size_t index) const {
    return prepared ? prepared + index * shape.panel_bytes() : right + (index - first_panel) * shape.panel_bytes();
  }
  void prepare_rows(std::size_t first, std::size_t last) const {
    pack_left(*kernels.packs, form, a, first, last, rows(first), {64, tile_bytes, shape.group, a_part()});
  }
  void prepare_panel(std::size_t index) const {
    if (!prepared) shape.prepare(kernels, form, b, index, right + (index - first_panel) * shape.panel_bytes());
  }
  void multiply(std::size_t row_begin, std::size_t row_end, std::size_t index) const {
    const std::size_t col = index * shape.panel_cols, cols = std::min(shape.panel_cols, sizes.n - col);
    if (!options.sink)
      return multiply_into({c.data() + row_begin * c.stride() + col, row_end - row_begin, cols, c.stride()}, row_begin,
                           index);
    alignas(64) float block[2 * side * (sunk_cols + side)];
    // Not a multiple of 512 bytes from row to row: the rows of a tile would share a few places of the nearest cache.
    const std::size_t stride = cols % 128 == 0 ? cols + side : cols;
    for (std::size_t row = row_begin; row < row_end; row += 2 * side) {
      const MatrixView<float> to(block, std::min(2 * side, row_end - row), cols, stride);
      multiply_into(to, row, index);
      (*options.sink)(row, col, to);
    }
  }
  /// Rows of a panel from `row` on.
  void multiply_into(MatrixView<float> to, std::size_t row, std::size_t index) const {
    const std::size_t col = index * shape.panel_cols, tiles = shape.tiles;
    const Activation activation = options.epilogue.activation;
    TiledProduct t{.a = nullptr,
                   .b = nullptr,
                   .tiles = 0,
                   .a_group = shape.group,
                   .b_group = shape.group,
                   .a_part = a_part(),
                   .b_part = shape.parts == 2 ? shape.part : 0,
                   .c = to.data(),
                   .c_row = to.stride(),
                   .rows = to.rows(),
                   .cols = to.cols(),
                   .bias = options.epilogue.bias ? options.epilogue.bias + col : nullptr,
                   .add_c = options.accumulate && !options.sink,
                   .relu = false};
    // Sums go through c from part to part of the depth, which changes no bit. Few rows read each side once.
    const std::size_t blocks = sizes.m > 2 * side ? std::max<std::size_t>(1, groups_of(tiles, depth_tiles)) : 1;
    for (std::size_t i = 0; i < blocks; ++i) {
      const std::size_t first = i * tiles / blocks;
      t.tiles = (i + 1) * tiles / blocks - first;
      t.a = rows(row) + first * tile_bytes;
      t.b = panel(index) + first * tile_bytes;
      t.relu = activation == Activation::relu && i + 1 == blocks;
      kernels.product(t);
      t.bias = nullptr, t.add_c = true;
    }
    finish_activation(activation, {t.c, t.rows, t.cols, t.c_row});
  }
};

/// The reference of the packs, one value at a time.
template <bool Left, bool Turned>
void naive_pack(const float* src, std::size_t src_row, std::size_t count, std::size_t depth, unsigned char* dst,
                const PairPlaces& to) {
  const std::size_t filled = Left ? groups_of(depth, deep) * deep : groups_of(depth, 2) * 2;
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t k = 0; k < filled; ++k) {
      const bool by_depth = Left == Turned;  // neighbours in memory are neighbours in i
      const float x = k >= depth ? 0 : by_depth ? src[k * src_row + i] : src[i * src_row + k];
      const std::uint16_t lead = bf16_of(x), rest = bf16_of(x - float_of(lead));
      unsigned char* const at =
          dst + i / side * to.group + k / deep * to.block +
          (Left ? i % side * to.row + k % deep * 2 : k % deep / 2 * to.row + i % side * 4 + k % 2 * 2);
      std::memcpy(at, &lead, 2);
      if (to.part > 0) std::memcpy(at + to.part, &rest, 2);
    }
  }
}

}  // namespace

const PairPacks naive_pair_packs = {naive_pack<true, false>, naive_pack<true, true>, naive_pack<false, false>,
                                    naive_pack<false, true>};

const TileKernels* replace_tile_kernels(const TileKernels* kernels) noexcept { return replaced.exchange(kernels); }

const TileKernels* tile_kernels() noexcept {
  if (const TileKernels* const other = replaced.load(std::memory_order_acquire)) return other;
#if defined(REDOUBT_HAS_X86_KERNELS)
  static const TileKernels own{&avx512_rounded_table.packs, amx_tile_product, &avx512_conv_packs, &amx_conv_kernels};
  static const bool usable = table() && active_isa() >= Isa::amx && cpu_features().avx512bf16;
  if (usable) return &own;
#endif
  return nullptr;
}

std::size_t tiled_right_bytes(const Sizes& sizes, ProductPrecision precision) noexcept {
  const TiledRight shape(sizes, precision, false);
  return shape.panels() * shape.panel_bytes();
}

void prepare_tiled_right(const TileKernels& kernels, MatrixView<const float> b, ProductPrecision precision,
                         unsigned char* to) noexcept {
  const TiledRight shape({0, b.cols(), b.rows()}, precision, false);
  for (std::size_t i = 0; i < shape.panels(); ++i) shape.prepare(kernels, Form::nn, b, i, to + i * shape.panel_bytes());
}

void tiled_product(const TileKernels& kernels, Form form, MatrixView<const float> a, MatrixView<const float> b,
                   MatrixView<float> c, const MatmulOptions& options, const Sizes& sizes,
                   const unsigned char* prepared) {
  const TiledRight shape(sizes, options.precision, options.sink);
  const double work = 2.0 * double(sizes.m) * double(sizes.n) * double(sizes.k) * (shape.parts == 2 ? 3 : 1) +
                      flops_per_value * double(sizes.k) * double(sizes.m + sizes.n) +
                      (options.sink ? flops_per_sunk * double(sizes.m) * double(sizes.n) : 0.0);
  const int threads = work < serial_flops ? 1 : (options.arena ? *options.arena : Arena::default_arena()).threads();
  const Tiled job{.kernels = kernels,
                  .form = form,
                  .a = a,
                  .b = b,
                  .c = c,
                  .options = options,
                  .sizes = sizes,
                  .shape = shape,
                  .prepared = prepared};
  const std::size_t deep_rows = chunk_bytes / (2 * std::max(shape.group, tile_bytes) * shape.parts) * 2 * side;
  multiply_divided(job, {sizes.m, shape.panels(), std::clamp(deep_rows, 2 * side, chunk_rows), 2 * side, cache_bytes,
                         threads, options.arena});
}

}  // namespace redoubt::kernels::detail
