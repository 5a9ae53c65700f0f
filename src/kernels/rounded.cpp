#include "kernels/rounded.hpp"

#include <algorithm>

#include "kernels/bf16.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/rounded_table.hpp"
#include "redoubt/core/cpu.hpp"
#include "redoubt/core/parallel.hpp"

namespace redoubt::kernels {
namespace detail {
namespace {

constexpr std::size_t line = 64;
constexpr std::size_t chunk_bytes = 400 * 1024;  // of the left side: stays in an L2 of 1 MB beside a panel of the right
constexpr double serial_flops = 8e6;             // below, about 20 us, waking a thread costs more than it brings

const RoundedTable* rounded_table() noexcept {
  static const RoundedTable* const chosen = []() noexcept -> const RoundedTable* {
#if defined(REDOUBT_HAS_X86_KERNELS)
    const Table* level = table();
    if (level && static_cast<Isa>(level->isa) >= Isa::avx512 && cpu_features().avx512bf16) return &avx512_rounded_table;
#endif
    return nullptr;
  }();
  return chosen;
}

/// Both sides in pairs, and where everything lies.
struct Rounded {
  const RoundedTable& table;
  Form form;
  MatrixView<const float> a, b;
  MatrixView<float> c;
  const MatmulOptions& options;
  Sizes sizes;
  std::size_t pairs, parts, a_row, panel_bytes;
  unsigned char *left = nullptr, *right = nullptr;
  std::size_t first_row = 0, left_rows = 0, first_panel = 0;  // at left, right

  std::size_t left_bytes(std::size_t rows) const { return round_up(rows * a_row * parts, line); }
  std::size_t right_bytes(std::size_t panels) const { return panels * panel_bytes * parts; }
  Rounded on(unsigned char* left_room, std::size_t row, std::size_t rows, unsigned char* right_room,
             std::size_t panel) const {
    Rounded other = *this;
    other.left = left_room, other.first_row = row, other.left_rows = rows;
    other.right = right_room, other.first_panel = panel;
    return other;
  }
  std::size_t a_part() const { return parts == 2 ? left_rows * a_row : 0; }
  unsigned char* rows(std::size_t row) const { return left + (row - first_row) * a_row; }
  unsigned char* panel(std::size_t index) const { return right + (index - first_panel) * panel_bytes * parts; }
  void prepare_rows(std::size_t first, std::size_t last) const {
    pack_left(table.packs, form, a, first, last, rows(first), {a_row, line, 16 * a_row, a_part()});
  }
  void prepare_panel(std::size_t index) const {
    const std::size_t col = index * rounded_panel;
    pack_right(table.packs, form, b, col, std::min<std::size_t>(sizes.n, col + rounded_panel), panel(index),
               {4 * rounded_panel, 64 * rounded_panel, line, parts == 2 ? panel_bytes : 0});
  }
  void multiply(std::size_t row_begin, std::size_t row_end, std::size_t index) const {
    const std::size_t col = index * rounded_panel;
    const Activation activation = options.epilogue.activation;
    RoundedTile t{.a = nullptr,
                  .a_row = a_row,
                  .b = panel(index),
                  .pairs = pairs,
                  .a_part = a_part(),
                  .b_part = parts == 2 ? panel_bytes : 0,
                  .c = nullptr,
                  .c_row = c.stride(),
                  .rows = 0,
                  .cols = std::min<std::size_t>(rounded_panel, sizes.n - col),
                  .bias = options.epilogue.bias ? options.epilogue.bias + col : nullptr,
                  .add_c = options.accumulate,
                  .relu = activation == Activation::relu};
    for (std::size_t row = row_begin; row < row_end; row += rounded_rows) {
      t.rows = std::min<std::size_t>(rounded_rows, row_end - row);
      t.a = rows(row);
      t.c = c.data() + row * c.stride() + col;
      table.tile(t);
      finish_activation(activation, {t.c, t.rows, t.cols, t.c_row});
    }
  }
};

}  // namespace

void round_values(MatrixView<const float> src, float* dst, float* rest) noexcept {
  for (std::size_t r = 0; r < src.rows(); ++r) {
    for (const float x : src.row(r)) {
      *dst = float_of(bf16_of(x));
      if (rest) *rest++ = float_of(bf16_of(x - *dst));
      ++dst;
    }
  }
}

bool rounded_product(Form form, MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                     const MatmulOptions& options, const Sizes& sizes) {
  const TileKernels* const tiles = tile_kernels();
  const RoundedTable* const kernels = rounded_table();
  if (!tiles && !kernels) return false;
  if (sizes.m == 0 || sizes.n == 0) return true;
  if (tiles) {
    tiled_product(*tiles, form, a, b, c, options, sizes);
    return true;
  }
  const std::size_t parts = parts_of(options.precision), pairs = (sizes.k + 1) / 2;
  // Not a power of two from row to row: they would share the places of the nearest cache.
  const std::size_t a_row = round_up(4 * pairs, line) + line, panel_bytes = pairs * 4 * rounded_panel;
  const Rounded job{*kernels, form, a, b, c, options, sizes, pairs, parts, a_row, panel_bytes};
  const double flops = 2.0 * double(sizes.m) * double(sizes.n) * double(sizes.k) * (parts == 2 ? 3 : 1);
  const int threads = flops < serial_flops ? 1 : (options.arena ? *options.arena : Arena::default_arena()).threads();
  const std::size_t chunk = round_up(std::max<std::size_t>(1, chunk_bytes / (a_row * parts)), rounded_rows);
  multiply_divided(
      job, {sizes.m, groups_of(sizes.n, rounded_panel), chunk, rounded_rows, chunk_bytes, threads, options.arena});
  return true;
}

}  // namespace detail

bool has_kernels(ProductPrecision precision) noexcept {
  return precision == ProductPrecision::fp32 || detail::rounded_table();
}

bool outruns_fp32(ProductPrecision precision) noexcept {
  return precision != ProductPrecision::fp32 && detail::tile_kernels();
}

const char* to_string(ProductPrecision precision) noexcept {
  return precision == ProductPrecision::fp32 ? "fp32" : precision == ProductPrecision::fp32x3 ? "fp32x3" : "bf16";
}

}  // namespace redoubt::kernels
