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

struct Tiled {
  const TileKernels& kernels;
  Form form;
  MatrixView<const float> a, b;
  MatrixView<float> c;
  const MatmulOptions& options;
  Sizes sizes;
  std::size_t parts, tiles, panel_cols, group, a_part, b_part, panel_stride;
  unsigned char *left = nullptr, *right = nullptr;

  unsigned char* panel(std::size_t index) const { return right + index * panel_stride; }
  PairPlaces places(std::size_t part) const { return {64, tile_bytes, group, parts == 2 ? part : 0}; }
  void prepare_rows(std::size_t first, std::size_t last) const {
    pack_left(*kernels.packs, form, a, first, last, left + first / side * group, places(a_part));
  }
  void prepare_panel(std::size_t index) const {
    const std::size_t col = index * panel_cols, cols = std::min(panel_cols, sizes.n - col);
    unsigned char* const to = panel(index);
    pack_right(*kernels.packs, form, b, col, col + cols, to, places(b_part));
    const std::size_t filled = (sizes.k + 1) / 2 * 64;
    for (std::size_t part = 0; part < parts; ++part)
      for (std::size_t g = 0; g < groups_of(cols, side); ++g)
        std::memset(to + part * b_part + g * group + filled, 0, group - filled);
  }
  void multiply(std::size_t row_begin, std::size_t row_end, std::size_t index) const {
    const std::size_t col = index * panel_cols, cols = std::min(panel_cols, sizes.n - col);
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
    const std::size_t col = index * panel_cols;
    const Activation activation = options.epilogue.activation;
    TiledProduct t{.a = nullptr,
                   .b = nullptr,
                   .tiles = 0,
                   .a_group = group,
                   .b_group = group,
                   .a_part = parts == 2 ? a_part : 0,
                   .b_part = parts == 2 ? b_part : 0,
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
      t.a = left + row / side * group + first * tile_bytes;
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

void tiled_product(const TileKernels& kernels, Form form, MatrixView<const float> a, MatrixView<const float> b,
                   MatrixView<float> c, const MatmulOptions& options, const Sizes& sizes) {
  const std::size_t parts = options.precision == ProductPrecision::bf16 ? 1 : 2, tiles = groups_of(sizes.k, deep);
  const std::size_t group = tiles * tile_bytes, row_groups = groups_of(sizes.m, side);
  // As many columns as an L1 holds beside the rest, so that shallow products go along the rows of c.
  const std::size_t panel_cols = std::min(
      options.sink ? sunk_cols
                   : 2 * side * std::max<std::size_t>(1, depth_tiles / std::max<std::size_t>(1, tiles * parts)),
      round_up(sizes.n, 2 * side));
  const std::size_t panels = groups_of(sizes.n, panel_cols), left_bytes = row_groups * group * parts;
  const std::size_t chunk =
      2 * side * std::max<std::size_t>(1, chunk_bytes / (2 * std::max(group, tile_bytes) * parts));
  const double work = 2.0 * double(sizes.m) * double(sizes.n) * double(sizes.k) * (parts == 2 ? 3 : 1) +
                      flops_per_value * double(sizes.k) * double(sizes.m + sizes.n);
  const int threads = work < serial_flops ? 1 : (options.arena ? *options.arena : Arena::default_arena()).threads();
  const bool once = threads == 1 && sizes.m <= chunk;  // every panel is read in one go: the same memory for all
  const std::size_t panel_bytes = panel_cols / side * group * parts;
  const RoundedMemory memory(left_bytes + (once ? 1 : panels) * panel_bytes + tile_bytes);
  Tiled job{kernels,
            form,
            a,
            b,
            c,
            options,
            sizes,
            parts,
            tiles,
            panel_cols,
            group,
            row_groups * group,
            panel_cols / side * group,
            once ? 0 : panel_bytes};
  job.left = memory.data();
  job.right = job.left + left_bytes;
  multiply_in_chunks(job, {sizes.m, panels, chunk, 2 * side, threads, options.arena});
}

}  // namespace redoubt::kernels::detail
