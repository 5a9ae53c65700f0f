#include "redoubt/kernels/matmul.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include "core/kept_memory.hpp"
#include "kernels/activate.hpp"
#include "kernels/bf16.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/rounded.hpp"
#include "redoubt/core/memory.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/kernels/isa.hpp"

namespace redoubt::kernels {
namespace {

using detail::Form;
using detail::Sizes;

Sizes checked_sizes(Form form, const MatrixView<const float>& a, const MatrixView<const float>& b,
                    const MatrixView<float>& c) {
  const std::size_t m = form == Form::tn ? a.cols() : a.rows();
  const std::size_t k = form == Form::tn ? a.rows() : a.cols();
  const std::size_t n = form == Form::nt ? b.rows() : b.cols();
  const std::size_t b_depth = form == Form::nt ? b.cols() : b.rows();
  if (k != b_depth || c.rows() != m || c.cols() != n) {
    const char* name = form == Form::nn ? "matmul" : form == Form::tn ? "matmul_tn" : "matmul_nt";
    redoubt::detail::fail(errc::shape_mismatch, fmt::format("{}: a is {}x{}, b is {}x{} and c is {}x{}", name, a.rows(),
                                                            a.cols(), b.rows(), b.cols(), c.rows(), c.cols()));
  }
  return {m, n, k};
}

float rounded(float x, float y, ProductPrecision precision) {
  const auto lead = [](float v) { return detail::float_of(detail::bf16_of(v)); };
  const float a = lead(x), b = lead(y);
  return precision == ProductPrecision::bf16 ? a * b : lead(x - a) * b + a * lead(y - b) + a * b;
}

void naive_product(Form form, const MatrixView<const float>& a, const MatrixView<const float>& b,
                   const MatrixView<float>& c, const MatmulOptions& options) {
  const auto [m, n, k] = checked_sizes(form, a, b, c);
  const Epilogue& epilogue = options.epilogue;
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      float value = (epilogue.bias ? epilogue.bias[j] : 0) + (options.accumulate ? c(i, j) : 0);
      for (std::size_t p = 0; p < k; ++p) {
        const float x = form == Form::tn ? a(p, i) : a(i, p), y = form == Form::nt ? b(j, p) : b(p, j);
        value += options.precision == ProductPrecision::fp32 ? x * y : rounded(x, y, options.precision);
      }
      c(i, j) = detail::activate(value, epilogue.activation);
    }
  }
  if (options.sink) (*options.sink)(0, 0, c);
}

}  // namespace

namespace naive {

void matmul(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c, const MatmulOptions& options) {
  naive_product(Form::nn, a, b, c, options);
}

void matmul_tn(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
               const MatmulOptions& options) {
  naive_product(Form::tn, a, b, c, options);
}

void matmul_nt(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
               const MatmulOptions& options) {
  naive_product(Form::nt, a, b, c, options);
}

errc matvec(std::span<const float> x, MatrixView<const float> w, Epilogue epilogue, std::span<float> out) noexcept {
  if (x.size() != w.rows() || out.size() != w.cols()) return errc::shape_mismatch;
  for (std::size_t j = 0; j < out.size(); ++j) {
    float value = epilogue.bias ? epilogue.bias[j] : 0;
    for (std::size_t p = 0; p < x.size(); ++p) value += x[p] * w(p, j);
    out[j] = detail::activate(value, epilogue.activation);
  }
  return errc::ok;
}

}  // namespace naive

namespace {

// Block sizes. None of them changes a result, as every element is one chain over k (see the header).
constexpr std::size_t group_floats = 64 * 1024;  // of a, which meet one panel after the other
constexpr std::size_t row_block = 1024;          // at most; more rows share one packing of b
constexpr std::size_t packed_row_block = 64;     // where a is packed, too: its part stays in the nearest caches
// Up to so many rows packing b costs more than reading it in place, up to more where L2 holds b: a larger one comes
// from afar in strips, for 128 rows in 1.1 times the time of a training step.
constexpr std::size_t few_rows = 32, some_rows = 256;
constexpr std::size_t small_b = 64 * 1024;      // elements
constexpr std::size_t shallow = 64;             // depth of tn up to which packing a and b costs more
constexpr std::size_t few_columns = 32;         // up to here a product of tn may be turned
constexpr double serial_flops = 4e6;            // below, about 20 us, waking a thread costs more than it brings
constexpr double flops_per_sunk = 100;          // in the time that a value takes in a sink, which moves a weight
constexpr std::size_t sunk_floats = 96 * 1024;  // of a block for a sink, at most, in L2,
constexpr std::size_t least_sunk_rows = 32;     // unless fewer rows than these are

/// Of packed b, at most, which stays in L2 beside a and c; columns are a multiple of both levels' tile_cols.
struct PackedBlock {
  std::size_t depth, cols;
};
PackedBlock packed_block() noexcept {
  static const PackedBlock chosen = []() noexcept -> PackedBlock {
#if defined(_SC_LEVEL2_CACHE_SIZE)
    if (::sysconf(_SC_LEVEL2_CACHE_SIZE) >= 2 << 20) return {768, 336};  // 1 to 7 % faster there than the next
#endif
    return {384, 240};
  }();
  return chosen;
}

/// Packed blocks of the calling thread, allocated at first use.
float* workspace() {
  const std::size_t floats = packed_block().depth * (packed_row_block + packed_block().cols);
  thread_local redoubt::detail::PageVector<float> memory(redoubt::detail::whole_pages(floats * sizeof(float)) /
                                                         sizeof(float));
  return memory.data();
}

using detail::round_up;

/// Splits `count` into equal blocks of at most `limit`, a multiple of `step`.
std::size_t balanced_block(std::size_t count, std::size_t limit, std::size_t step) {
  const std::size_t blocks = std::max<std::size_t>(1, (count + limit - 1) / limit);
  return round_up((count + blocks - 1) / blocks, step);
}

/// Columns of c that `turned` products compute at a time: whole tiles and whole vectors at both levels.
constexpr std::size_t turned_rows = 48;
constexpr std::size_t widest_tile = 48;

struct Product {
  const detail::Table& table;
  Form form;
  MatrixView<const float> a, b;
  MatrixView<float> c;
  MatmulOptions options;
  Sizes sizes;
  /// transpose(c) is computed, from exchanged operands; a, b and sizes are those, c is the caller's.
  bool turned = false;

  detail::Tile tile(std::size_t row, std::size_t col, std::size_t first, std::size_t depth) const {
    const bool begin = first == 0, end = first + depth == sizes.k;
    const float* bias = begin && options.epilogue.bias ? options.epilogue.bias + col : nullptr;
    return {.a = nullptr,
            .a_row = form == Form::tn ? 1 : a.stride(),
            .a_col = form == Form::tn ? a.stride() : 1,
            .segments = 1,
            .a_segment = 0,
            .b = nullptr,
            .b_row = 0,
            .b_padded = false,
            .c = turned ? nullptr : c.data() + row * c.stride() + col,
            .c_row = c.stride(),
            .rows = 0,
            .cols = 0,
            .depth = depth,
            .bias = bias,
            .add_c = !begin || options.accumulate,
            .next_c = nullptr,
            .activation = static_cast<unsigned char>(end ? options.epilogue.activation : Activation::none)};
  }

  /// Rows [row, row + rows) of the tiles of one column panel in steps of `step`; t and `a_of(row)` say where they are.
  template <class A>
  void column(detail::Tile t, std::size_t row, std::size_t rows, std::size_t col, std::size_t step, A a_of) const {
    alignas(64) float block[turned_rows * widest_tile];
    float* const to_c = turned ? c.data() + col * c.stride() + row : t.c;
    if (turned) {
      t.c = block, t.c_row = widest_tile;
      if (t.add_c) table.transpose(to_c, c.stride(), t.cols, rows, block, widest_tile);
    }
    float* const first = t.c;
    const bool below = !turned && t.add_c && rows > step;
    for (std::size_t i = 0; i < rows; i += step) {
      t.a = a_of(row + i), t.c = first + i * t.c_row, t.rows = std::min(step, rows - i);
      if (below) t.next_c = i + 2 * step <= rows ? t.c + step * t.c_row : nullptr;
      table.tile(t);
    }
    if (turned) table.transpose(block, widest_tile, rows, t.cols, to_c, c.stride());
  }

  /// Few rows: reads a and b in place.
  void unpacked(std::size_t col_begin, std::size_t col_end) const {
    const std::size_t step = balanced_block(sizes.m, table.tile_rows, 1);
    const std::size_t group = turned ? turned_rows / step * step : sizes.m;
    const auto compute = [&](std::size_t row, std::size_t rows, std::size_t col) {
      detail::Tile t = tile(row, col, 0, sizes.k);
      t.b = b.data() + col, t.b_row = b.stride(), t.cols = std::min(table.tile_cols, col_end - col);
      column(t, row, rows, col, step,
             [&](std::size_t r) { return a.data() + (form == Form::tn ? r : r * a.stride()); });
    };
    for (std::size_t col = col_begin; col < col_end; col += table.tile_cols)
      for (std::size_t row = 0; row < sizes.m; row += group) compute(row, std::min(group, sizes.m - row), col);
  }

  /// Rows x columns of c: blocks of the depth, each packed, then tiles column by column: a panel of b stays near, in
  /// part in the nearest cache, while as many rows of a as stay in L2 pass by. Row by row, with b passing by, takes 2
  /// to 8 % more on Sapphire Rapids.
  void packed(std::size_t row_begin, std::size_t row_end, std::size_t col_begin, std::size_t col_end) const {
    float* const packed_b = workspace();
    float* const packed_a = packed_b + packed_block().depth * packed_block().cols;
    const std::size_t block = balanced_block(sizes.k, packed_block().depth, 1);
    const std::size_t a_rows = form == Form::tn ? packed_row_block / table.tile_rows * table.tile_rows : sizes.m;
    std::size_t first = 0;
    do {
      const std::size_t depth = std::min(block, sizes.k - first);
      if (form == Form::nt)
        table.pack_b_transposed(b.data() + col_begin * b.stride() + first, b.stride(), depth, col_end - col_begin,
                                packed_b);
      else
        table.pack_b(b.data() + first * b.stride() + col_begin, b.stride(), depth, col_end - col_begin, packed_b);
      for (std::size_t part = row_begin; part < row_end; part += a_rows) {
        const std::size_t part_end = std::min(row_end, part + a_rows);
        if (form == Form::tn)
          table.pack_a_transposed(a.data() + first * a.stride() + part, a.stride(), depth, part_end - part, packed_a);
        const std::size_t tiles = group_floats / (std::max<std::size_t>(1, depth) * table.tile_rows);  // at least 10
        const std::size_t group = turned ? turned_rows : tiles * table.tile_rows;
        for (std::size_t row = part; row < part_end; row += group) {
          for (std::size_t col = col_begin; col < col_end; col += table.tile_cols) {
            detail::Tile t = tile(row, col, first, depth);
            if (form == Form::tn) t.a_col = table.tile_rows;
            t.b = packed_b + (col - col_begin) * depth, t.b_row = table.tile_cols, t.b_padded = true;
            t.cols = std::min(table.tile_cols, col_end - col);
            column(t, row, std::min(group, part_end - row), col, table.tile_rows, [&](std::size_t r) {
              return form == Form::tn ? packed_a + (r - part) * depth : a.data() + r * a.stride() + first;
            });
          }
        }
      }
      first += depth;
    } while (first < sizes.k);
  }
};

/// Whether transpose(c) from exchanged operands costs less: the operand that is packed is then the smaller one, but c
/// passes through a transposition. In units of one vector instruction of 16 lanes; measured on Zen 4.
bool better_turned(Form form, const Sizes& s, const MatmulOptions& options) {
  if (form == Form::nn || options.epilogue.bias || options.epilogue.activation != Activation::none) return false;
  const auto tiles = [&](std::size_t rows, std::size_t cols) { return double(rows * round_up(cols, 16) / 16 * s.k); };
  const double transposed = double(s.m * s.n) * (options.accumulate ? 0.5 : 0.25);
  if (form == Form::tn) return s.n <= few_columns && tiles(s.n, s.m) + transposed < tiles(s.m, s.n);
  constexpr double per_packed = 0.4;
  return tiles(s.n, s.m) + per_packed * double(s.m * s.k) + transposed <
         tiles(s.m, s.n) + per_packed * double(s.n * s.k);
}

void product(Form form, MatrixView<const float> a, MatrixView<const float> b, const MatrixView<float>& c,
             const MatmulOptions& options);

class SunkMemory : public redoubt::detail::KeptMemory<SunkMemory> {
 public:
  explicit SunkMemory(std::size_t floats) : KeptMemory(floats * sizeof(float), std::size_t{8} << 20) {}
};

/// A shallow product goes rows by rows, each time into the same block, which the sink finds in L2: c would pass through
/// memory twice. b is packed or rounded anew for every block, which would cost more than that in a deep one.
void sunk_product(Form form, const MatrixView<const float>& a, const MatrixView<const float>& b,
                  const MatrixView<float>& c, const MatmulOptions& options, const Sizes& sizes) {
  static Arena serial(1);
  const auto [m, n, k] = sizes;
  if (m == 0 || n == 0) return;
  const double flops = (2.0 * double(k) + flops_per_sunk) * double(m) * double(n);
  const int threads = flops < serial_flops ? 1 : (options.arena ? *options.arena : Arena::default_arena()).threads();
  const std::size_t most_rows = std::min(sunk_floats / n, threads > 1 ? m / (4 * std::size_t(threads)) : m);
  const std::size_t rows = balanced_block(m, std::max(least_sunk_rows, most_rows), 1);
  const bool deep = rows < k;
  MatmulOptions part = options;
  part.sink = nullptr;
  if (deep)
    product(form, a, b, c, part);
  else
    part.accumulate = false, part.arena = &serial;
  parallel_for(
      m, rows,
      [&](std::size_t begin, std::size_t end) {
        if (deep) return (*options.sink)(begin, 0, c.slice(begin, end));
        const SunkMemory memory(rows * n);
        const MatrixView<float> block(reinterpret_cast<float*>(memory.data()), end - begin, n);
        const auto left = form == Form::tn ? MatrixView<const float>(a.data() + begin, k, end - begin, a.stride())
                                           : a.slice(begin, end);
        product(form, left, b, block, part);
        (*options.sink)(begin, 0, block);
      },
      threads > 1 ? options.arena : &serial);
}

/// Without instructions for bf16: products of rounded copies.
void product_of_rounded(Form form, const MatrixView<const float>& a, const MatrixView<const float>& b,
                        const MatrixView<float>& c, MatmulOptions options) {
  const std::size_t left = a.rows() * a.cols(), right = b.rows() * b.cols();
  const bool two = options.precision == ProductPrecision::fp32x3;
  const detail::RoundedMemory memory((left + right) * (two ? 2 : 1) * sizeof(float));
  auto* const floats = reinterpret_cast<float*>(memory.data());
  float *const a_rest = two ? floats + left + right : nullptr, *const b_rest = two ? a_rest + left : nullptr;
  detail::round_values(a, floats, a_rest);
  detail::round_values(b, floats + left, b_rest);
  const auto view = [](const MatrixView<const float>& shape, const float* data) {
    return MatrixView<const float>(data, shape.rows(), shape.cols());
  };
  options.precision = ProductPrecision::fp32;
  if (two) {
    const Epilogue last = options.epilogue;
    options.epilogue = {};
    product(form, view(a, a_rest), view(b, floats + left), c, options);
    options.accumulate = true;
    product(form, view(a, floats), view(b, b_rest), c, options);
    options.epilogue = last;
  }
  product(form, view(a, floats), view(b, floats + left), c, options);
}

void product(Form form, MatrixView<const float> a, MatrixView<const float> b, const MatrixView<float>& c,
             const MatmulOptions& options) {
  Sizes sizes = checked_sizes(form, a, b, c);
  if (selected_isa() == Isa::baseline) return naive_product(form, a, b, c, options);
  if (options.sink && (options.precision == ProductPrecision::fp32 || !detail::tile_kernels()))
    return sunk_product(form, a, b, c, options, sizes);
  if (options.precision != ProductPrecision::fp32) {
    if (!detail::rounded_product(form, a, b, c, options, sizes)) product_of_rounded(form, a, b, c, options);
    return;
  }
  if (sizes.m == 0 || sizes.n == 0) return;
  const detail::Table& table = *detail::table();
  if (form == Form::nn && sizes.m == 1 && !options.accumulate) {
    table.matvec(a.data(), sizes.k, b.data(), b.stride(), sizes.n, options.epilogue.bias,
                 static_cast<unsigned char>(options.epilogue.activation), c.data());
    return;
  }
  const bool turned = better_turned(form, sizes, options);
  if (turned) {
    std::swap(a, b);
    std::swap(sizes.m, sizes.n);
  }
  const Product job{table, form, a, b, c, options, sizes, turned};
  const bool serial = 2.0 * double(sizes.m) * double(sizes.n) * double(sizes.k) < serial_flops;
  const bool unpacked =
      form != Form::nt &&
      (sizes.m <= few_rows ||
       (form == Form::tn ? !turned && sizes.k <= shallow : sizes.m <= some_rows && sizes.k * sizes.n <= small_b));
  // Enough blocks for the threads, but no more: a block of rows packs b again.
  const int threads = serial ? 1 : (options.arena ? *options.arena : Arena::default_arena()).threads();
  const std::size_t wanted = threads > 1 ? 2 * std::size_t(threads) : 1;
  const std::size_t most_cols = packed_block().cols;
  const std::size_t col_limit = unpacked ? std::clamp(sizes.n / wanted, table.tile_cols, most_cols) : most_cols;
  const std::size_t cols = balanced_block(sizes.n, col_limit / table.tile_cols * table.tile_cols, table.tile_cols);
  const std::size_t col_blocks = (sizes.n + cols - 1) / cols;
  const std::size_t row_limit = std::clamp(sizes.m * col_blocks / wanted, std::size_t{64}, row_block);
  const std::size_t rows =
      unpacked ? sizes.m : balanced_block(sizes.m, row_limit / table.tile_rows * table.tile_rows, table.tile_rows);
  const std::size_t row_blocks = (sizes.m + rows - 1) / rows;
  const std::size_t blocks = row_blocks * col_blocks;
  parallel_for(
      blocks, serial ? blocks : 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          const std::size_t row = i / col_blocks * rows, col = i % col_blocks * cols;
          const std::size_t row_end = std::min(sizes.m, row + rows), col_end = std::min(sizes.n, col + cols);
          if (unpacked)
            job.unpacked(col, col_end);
          else
            job.packed(row, row_end, col, col_end);
        }
      },
      options.arena);
}

}  // namespace

void matmul(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c, const MatmulOptions& options) {
  product(Form::nn, a, b, c, options);
}

void matmul_tn(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
               const MatmulOptions& options) {
  product(Form::tn, a, b, c, options);
}

void matmul_nt(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> c,
               const MatmulOptions& options) {
  product(Form::nt, a, b, c, options);
}

errc matvec(std::span<const float> x, MatrixView<const float> w, Epilogue epilogue, std::span<float> out) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::matvec(x, w, epilogue, out);
  if (x.size() != w.rows() || out.size() != w.cols()) return errc::shape_mismatch;
  table->matvec(x.data(), x.size(), w.data(), w.stride(), w.cols(), epilogue.bias,
                static_cast<unsigned char>(epilogue.activation), out.data());
  return errc::ok;
}

}  // namespace redoubt::kernels
