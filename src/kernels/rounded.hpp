#pragma once
#include <algorithm>
#include <cstddef>

#include "core/kept_memory.hpp"
#include "kernels/conv_table.hpp"
#include "kernels/rounded_table.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt::kernels::detail {

/// Which side is transposed: c = a b, a' b or a b'.
enum class Form { nn, tn, nt };

struct Sizes {
  std::size_t m, n, k;
};

constexpr std::size_t groups_of(std::size_t count, std::size_t step) { return (count + step - 1) / step; }
constexpr std::size_t round_up(std::size_t value, std::size_t step) { return groups_of(value, step) * step; }

/// Parts of 8 bits that a value is rounded to; precision is not fp32.
constexpr std::size_t parts_of(ProductPrecision precision) { return precision == ProductPrecision::bf16 ? 1 : 2; }

/// A product in options.precision, which is not fp32, by the instructions for bf16. False: this machine has none at the
/// active level, and nothing was done.
bool rounded_product(Form form, MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
                     const MatmulOptions& options, const Sizes& sizes);

/// What products in tiles are made of: see tile_body.hpp.
struct TileKernels {
  const PairPacks* packs;
  TileKernel product;
  const ConvPacks* conv_packs = nullptr;  // null: convolutions are products of patches
  const ConvKernels* conv = nullptr;
};

extern const PairPacks naive_pair_packs;  ///< the reference
extern const ConvPacks naive_conv_packs;  ///< of conv_table.hpp

/// Those of AMX at level amx; null: none at the active level.
const TileKernels* tile_kernels() noexcept;

/// For tests: other kernels for all products from now on, null for those of the machine. Returns what was set before.
const TileKernels* replace_tile_kernels(const TileKernels* kernels) noexcept;

/// A product in options.precision, which is not fp32, by tiles. `prepared`, unless null: b as `prepare_tiled_right`
/// laid it out, which is then read instead of b; without a sink, in form nn.
void tiled_product(const TileKernels& kernels, Form form, MatrixView<const float> a, MatrixView<const float> b,
                   MatrixView<float> c, const MatmulOptions& options, const Sizes& sizes,
                   const unsigned char* prepared = nullptr);

/// The right side of products by tiles, for all of them: bytes (of sizes.k x sizes.n), and its layout at `to`, aligned
/// to 64.
std::size_t tiled_right_bytes(const Sizes& sizes, ProductPrecision precision) noexcept;
void prepare_tiled_right(const TileKernels& kernels, MatrixView<const float> b, ProductPrecision precision,
                         unsigned char* to) noexcept;

/// dst = src rounded to bf16, and in `rest`, unless it is null, what is left rounded; both without gaps.
void round_values(MatrixView<const float> src, float* dst, float* rest) noexcept;

/// Rows [first, last) of the left side of a product in pairs.
inline void pack_left(const PairPacks& packs, Form form, MatrixView<const float> a, std::size_t first, std::size_t last,
                      unsigned char* to, const PairPlaces& places) {
  if (form == Form::tn)
    packs.rows_turned(a.data() + first, a.stride(), last - first, a.rows(), to, places);
  else
    packs.rows(a.data() + first * a.stride(), a.stride(), last - first, a.cols(), to, places);
}

/// Columns [first, last) of the right side.
inline void pack_right(const PairPacks& packs, Form form, MatrixView<const float> b, std::size_t first,
                       std::size_t last, unsigned char* to, const PairPlaces& places) {
  if (form == Form::nt)
    packs.panel_turned(b.data() + first * b.stride(), b.stride(), last - first, b.cols(), to, places);
  else
    packs.panel(b.data() + first, b.stride(), last - first, b.rows(), to, places);
}

/// How a product is divided: panels of the right side times chunks of at most `chunk` of the `rows`, a multiple of
/// `step`.
struct Division {
  std::size_t rows, panels, chunk, step;
  int threads;
  Arena* arena;
};

/// All of a product: job.prepare_rows(begin, end) and job.prepare_panel(panel) round the sides, and
/// job.multiply(row_begin, row_end, panel) comes when what it needs is there; on one thread panel by panel, each
/// prepared just before its first use.
template <class Job>
void multiply_in_chunks(const Job& job, const Division& d) {
  constexpr std::size_t prepared_rows = 64;  // by one task
  if (d.threads == 1) {
    job.prepare_rows(0, d.rows);
    for (std::size_t row = 0; row < d.rows; row += d.chunk) {
      for (std::size_t p = 0; p < d.panels; ++p) {
        if (row == 0) job.prepare_panel(p);
        job.multiply(row, std::min(d.rows, row + d.chunk), p);
      }
    }
    return;
  }
  const std::size_t row_tasks = groups_of(d.rows, prepared_rows);
  parallel_for(
      row_tasks + d.panels, 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          if (i < row_tasks)
            job.prepare_rows(i * prepared_rows, std::min(d.rows, (i + 1) * prepared_rows));
          else
            job.prepare_panel(i - row_tasks);
        }
      },
      d.arena);
  const std::size_t wanted = groups_of(4 * std::size_t(d.threads), d.panels);  // chunks, for even work
  const std::size_t chunk = std::min(d.chunk, round_up(groups_of(d.rows, wanted), d.step));
  parallel_for(
      groups_of(d.rows, chunk) * d.panels, 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          const std::size_t row = i / d.panels * chunk;
          job.multiply(row, std::min(d.rows, row + chunk), i % d.panels);
        }
      },
      d.arena);
}

/// Room for the rounded operands of a product.
class RoundedMemory : public redoubt::detail::KeptMemory<RoundedMemory> {
 public:
  explicit RoundedMemory(std::size_t bytes) : KeptMemory(bytes, std::size_t{64} << 20) {}
};

}  // namespace redoubt::kernels::detail
