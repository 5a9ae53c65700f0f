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
constexpr std::size_t depth_tiles = 16;           // at a time: 32 columns of them are 32 KiB, of an L1 of 48
constexpr std::size_t chunk_bytes = 1024 * 1024;  // of the left side, in an L2 of 2 MB
constexpr std::size_t sunk_cols = 512;            // of a block for a sink, which reads long rows faster than short ones
constexpr double flops_per_value = 128;           // in the time that rounds one
constexpr double serial_flops = 5e7;              // below, about 20 us, waking a thread costs more than it brings

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
  std::size_t a_part, panel_stride;
  bool prepared;  // the right side
  unsigned char* left;
  unsigned char* right;

  unsigned char* panel(std::size_t index) const { return right + index * panel_stride; }
  void prepare_rows(std::size_t first, std::size_t last) const {
    pack_left(*kernels.packs, form, a, first, last, left + first / side * shape.group,
              {64, tile_bytes, shape.group, shape.parts == 2 ? a_part : 0});
  }
  void prepare_panel(std::size_t index) const {
    if (!prepared) shape.prepare(kernels, form, b, index, panel(index));
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
                   .a_part = shape.parts == 2 ? a_part : 0,
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
      t.a = left + row / side * shape.group + first * tile_bytes;
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
  const std::size_t group = shape.group, parts = shape.parts, row_groups = groups_of(sizes.m, side);
  const std::size_t left_bytes = row_groups * group * parts;
  const std::size_t chunk =
      2 * side * std::max<std::size_t>(1, chunk_bytes / (2 * std::max(group, tile_bytes) * parts));
  const double work = 2.0 * double(sizes.m) * double(sizes.n) * double(sizes.k) * (parts == 2 ? 3 : 1) +
                      flops_per_value * double(sizes.k) * double(sizes.m + sizes.n);
  const int threads = work < serial_flops ? 1 : (options.arena ? *options.arena : Arena::default_arena()).threads();
  const bool once = threads == 1 && sizes.m <= chunk;  // every panel is read in one go: the same memory for all
  const std::size_t right_bytes = prepared ? 0 : (once ? 1 : shape.panels()) * shape.panel_bytes();
  const RoundedMemory memory(left_bytes + right_bytes + tile_bytes);
  // Prepared panels are only read.
  unsigned char* const right = prepared ? const_cast<unsigned char*>(prepared) : memory.data() + left_bytes;
  const Tiled job{.kernels = kernels,
                  .form = form,
                  .a = a,
                  .b = b,
                  .c = c,
                  .options = options,
                  .sizes = sizes,
                  .shape = shape,
                  .a_part = row_groups * group,
                  .panel_stride = once && !prepared ? 0 : shape.panel_bytes(),
                  .prepared = prepared != nullptr,
                  .left = memory.data(),
                  .right = right};
  multiply_in_chunks(job, {sizes.m, shape.panels(), chunk, 2 * side, threads, options.arena});
}

}  // namespace redoubt::kernels::detail
