#pragma once
#include <algorithm>
#include <cstddef>

#include "core/kept_memory.hpp"
#include "core/runs.hpp"
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

/// Room for the rounded operands of a product: some, even if the depth is 0, as packs take no null.
class RoundedMemory : public redoubt::detail::KeptMemory<RoundedMemory> {
 public:
  explicit RoundedMemory(std::size_t bytes) : KeptMemory(bytes + 64, std::size_t{64} << 20) {}
};

/// How a product is divided: panels of the right side times chunks of at most `chunk` of the `rows`, a multiple of
/// `step`. `cache_bytes` of both sides stay in a core's second cache.
struct Division {
  std::size_t rows, panels, chunk, step, cache_bytes;
  int threads;
  Arena* arena;
};

// What divided products ask of a job: job.left_bytes(rows) and job.right_bytes(panels) of room for its sides;
// job.on(left, first_row, rows, right, first_panel), the job with this room, for `rows` rows from `first_row` on and
// for panels from `first_panel` on; of that prepare_rows(begin, end) and prepare_panel(panel), which round the sides,
// and multiply(row_begin, row_end, panel), which comes when what it needs is there.

/// On the calling thread: chunk by chunk, which is read while it is in the cache, and each panel prepared just before
/// its first use. Whole sides prepared at once take up to 1.4 times as long.
template <class Job>
void multiply_alone(const Job& job, const Division& d) {
  const bool once = d.rows <= d.chunk;  // every panel is read in one go: the same room for all
  const std::size_t left_bytes = job.left_bytes(std::min(d.rows, d.chunk));
  const RoundedMemory memory(left_bytes + job.right_bytes(once ? 1 : d.panels));
  for (std::size_t row = 0; row < d.rows; row += d.chunk) {
    const std::size_t end = std::min(d.rows, row + d.chunk);
    for (std::size_t p = 0; p < d.panels; ++p) {
      const Job part = job.on(memory.data(), row, end - row, memory.data() + left_bytes, once ? p : 0);
      if (p == 0) part.prepare_rows(row, end);
      if (row == 0) part.prepare_panel(p);
      part.multiply(row, end, p);
    }
  }
}

/// Every thread rounds the smaller side for itself and takes parts of the other one as it comes to them: nobody waits
/// in between or reads what another one wrote, which takes longer than to round it again. By rows: parts are rows.
template <class Job>
void multiply_apart(const Job& job, const Division& d, bool by_rows) {
  const std::size_t even = round_up(groups_of(d.rows, 8 * std::size_t(d.threads)), d.step);  // shares for all
  const std::size_t part_rows = by_rows ? std::clamp(even, 2 * d.step, std::max(2 * d.step, d.chunk)) : d.rows;
  const std::size_t parts = by_rows ? groups_of(d.rows, part_rows) : d.panels;
  const std::size_t threads = std::min(parts, std::size_t(d.threads));
  redoubt::detail::Runs runs(parts, threads);
  parallel_for(
      threads, 1,
      [&](std::size_t thread, std::size_t) {
        std::size_t part;
        if (!runs.take(thread, part)) return;
        const std::size_t left_bytes = job.left_bytes(part_rows);
        const RoundedMemory memory(left_bytes + job.right_bytes(by_rows ? d.panels : 1));
        const auto mine = [&](std::size_t row, std::size_t panel) {
          return job.on(memory.data(), row, part_rows, memory.data() + left_bytes, panel);
        };
        if (by_rows) {
          for (std::size_t p = 0; p < d.panels; ++p) mine(0, 0).prepare_panel(p);
          do {
            const std::size_t row = part * part_rows, end = std::min(d.rows, row + part_rows);
            mine(row, 0).prepare_rows(row, end);
            for (std::size_t p = 0; p < d.panels; ++p) mine(row, 0).multiply(row, end, p);
          } while (runs.take(thread, part));
        } else {
          mine(0, 0).prepare_rows(0, d.rows);
          do {
            mine(0, part).prepare_panel(part);
            mine(0, part).multiply(0, d.rows, part);
          } while (runs.take(thread, part));
        }
      },
      d.arena);
}

/// Both sides once for all threads, then their products.
template <class Job>
void multiply_together(const Job& unplaced, const Division& d) {
  constexpr std::size_t prepared_rows = 64;  // by one task
  const std::size_t left_bytes = unplaced.left_bytes(d.rows);
  const RoundedMemory memory(left_bytes + unplaced.right_bytes(d.panels));
  const Job job = unplaced.on(memory.data(), 0, d.rows, memory.data() + left_bytes, 0);
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

/// All of a product. None of the ways changes a bit.
template <class Job>
void multiply_divided(const Job& job, const Division& d) {
  if (d.threads == 1) return multiply_alone(job, d);
  const std::size_t left = job.left_bytes(d.rows), right = job.right_bytes(d.panels);
  const std::size_t least = 2 * std::size_t(d.threads);  // parts
  const bool many_rows = d.rows >= least * 2 * d.step, many_panels = d.panels >= least;
  const bool by_rows = many_rows && (right <= left || !many_panels);
  if ((by_rows ? right : left) <= d.cache_bytes) return multiply_apart(job, d, by_rows);
  multiply_together(job, d);
}

}  // namespace redoubt::kernels::detail
