#include "redoubt/kernels/matmul.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>

#include "kernels/dispatch.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/kernels/isa.hpp"

namespace redoubt::kernels {
namespace {

enum class Form { nn, tn, nt };

struct Sizes {
  std::size_t m, n, k;
};

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

float activate(float value, Activation activation) {
  switch (activation) {
    case Activation::none: return value;
    case Activation::relu: return value > 0 ? value : 0;
    case Activation::sigmoid: return 1 / (1 + std::exp(-value));
    case Activation::tanh: return std::tanh(value);
  }
  return value;
}

void naive_product(Form form, const MatrixView<const float>& a, const MatrixView<const float>& b,
                   const MatrixView<float>& c, const MatmulOptions& options) {
  const auto [m, n, k] = checked_sizes(form, a, b, c);
  const Epilogue& epilogue = options.epilogue;
  for (std::size_t i = 0; i < m; ++i) {
    for (std::size_t j = 0; j < n; ++j) {
      float value = (epilogue.bias ? epilogue.bias[j] : 0) + (options.accumulate ? c(i, j) : 0);
      for (std::size_t p = 0; p < k; ++p)
        value += (form == Form::tn ? a(p, i) : a(i, p)) * (form == Form::nt ? b(j, p) : b(p, j));
      c(i, j) = activate(value, epilogue.activation);
    }
  }
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
    out[j] = activate(value, epilogue.activation);
  }
  return errc::ok;
}

}  // namespace naive

namespace {

// Block sizes. None of them changes a result, as every element is one chain over k (see the header).
constexpr std::size_t depth_block = 512;       // times col_block: 768 KB of packed b, which stays in L2
constexpr std::size_t col_block = 384;         // at most; a multiple of both levels' tile_cols
constexpr std::size_t row_block = 1024;        // at most; more rows share one packing of b
constexpr std::size_t packed_row_block = 256;  // the same where a is packed too (512 KB)
constexpr std::size_t few_rows = 32;           // up to here packing b costs more than reading it in place,
constexpr std::size_t some_rows = 128;         // and up to here if b stays in L2:
constexpr std::size_t small_b = 300000;        // elements
constexpr double serial_flops = 4e6;           // below, about 20 us, waking a thread costs more than it brings
constexpr std::size_t workspace_floats = depth_block * (packed_row_block + col_block);

struct AlignedDelete {
  void operator()(float* p) const noexcept { ::operator delete(p, std::align_val_t{tensor_alignment}); }
};

/// Packed blocks of the calling thread, allocated at first use.
float* workspace() {
  thread_local const std::unique_ptr<float, AlignedDelete> memory(
      static_cast<float*>(::operator new(workspace_floats * sizeof(float), std::align_val_t{tensor_alignment})));
  return memory.get();
}

std::size_t round_up(std::size_t value, std::size_t step) { return (value + step - 1) / step * step; }

/// Splits `count` into equal blocks of at most `limit`, a multiple of `step`.
std::size_t balanced_block(std::size_t count, std::size_t limit, std::size_t step) {
  const std::size_t blocks = std::max<std::size_t>(1, (count + limit - 1) / limit);
  return round_up((count + blocks - 1) / blocks, step);
}

struct Product {
  const detail::Table& table;
  Form form;
  MatrixView<const float> a, b;
  MatrixView<float> c;
  MatmulOptions options;
  Sizes sizes;

  detail::Tile tile(std::size_t row, std::size_t col, std::size_t first, std::size_t depth) const {
    const bool begin = first == 0, end = first + depth == sizes.k;
    const float* bias = begin && options.epilogue.bias ? options.epilogue.bias + col : nullptr;
    return {.a = nullptr,
            .a_row = 0,
            .a_col = 0,
            .b = nullptr,
            .b_row = 0,
            .b_padded = false,
            .c = c.data() + row * c.stride() + col,
            .c_row = c.stride(),
            .rows = 0,
            .cols = 0,
            .depth = depth,
            .bias = bias,
            .add_c = !begin || options.accumulate,
            .activation = static_cast<unsigned char>(end ? options.epilogue.activation : Activation::none)};
  }

  /// Few rows: reads b in place.
  void unpacked(std::size_t col_begin, std::size_t col_end) const {
    for (std::size_t col = col_begin; col < col_end; col += table.tile_cols) {
      for (std::size_t row = 0; row < sizes.m; row += table.tile_rows) {
        detail::Tile t = tile(row, col, 0, sizes.k);
        t.a = a.data() + row * a.stride(), t.a_row = a.stride(), t.a_col = 1;
        t.b = b.data() + col, t.b_row = b.stride();
        t.rows = std::min(table.tile_rows, sizes.m - row), t.cols = std::min(table.tile_cols, col_end - col);
        table.tile(t);
      }
    }
  }

  /// Rows x columns of c: blocks of the depth, each packed, then tiles row by row: a few rows of a stay in the nearest
  /// cache while the packed b passes by from L2.
  void packed(std::size_t row_begin, std::size_t row_end, std::size_t col_begin, std::size_t col_end) const {
    float* const packed_b = workspace();
    float* const packed_a = packed_b + depth_block * col_block;
    const std::size_t block = balanced_block(sizes.k, depth_block, 1);
    std::size_t first = 0;
    do {
      const std::size_t depth = std::min(block, sizes.k - first);
      if (form == Form::nt)
        table.pack_b_transposed(b.data() + col_begin * b.stride() + first, b.stride(), depth, col_end - col_begin,
                                packed_b);
      else
        table.pack_b(b.data() + first * b.stride() + col_begin, b.stride(), depth, col_end - col_begin, packed_b);
      if (form == Form::tn)
        table.pack_a_transposed(a.data() + first * a.stride() + row_begin, a.stride(), depth, row_end - row_begin,
                                packed_a);
      for (std::size_t row = row_begin; row < row_end; row += table.tile_rows) {
        for (std::size_t col = col_begin; col < col_end; col += table.tile_cols) {
          detail::Tile t = tile(row, col, first, depth);
          if (form == Form::tn)
            t.a = packed_a + (row - row_begin) * depth, t.a_row = 1, t.a_col = table.tile_rows;
          else
            t.a = a.data() + row * a.stride() + first, t.a_row = a.stride(), t.a_col = 1;
          t.b = packed_b + (col - col_begin) * depth, t.b_row = table.tile_cols, t.b_padded = true;
          t.rows = std::min(table.tile_rows, row_end - row), t.cols = std::min(table.tile_cols, col_end - col);
          table.tile(t);
        }
      }
      first += depth;
    } while (first < sizes.k);
  }
};

void product(Form form, const MatrixView<const float>& a, const MatrixView<const float>& b, const MatrixView<float>& c,
             const MatmulOptions& options) {
  const Sizes sizes = checked_sizes(form, a, b, c);
  if (selected_isa() == Isa::baseline) return naive_product(form, a, b, c, options);
  if (sizes.m == 0 || sizes.n == 0) return;
  const detail::Table& table = *detail::table();
  if (form == Form::nn && sizes.m == 1 && !options.accumulate) {
    table.matvec(a.data(), sizes.k, b.data(), b.stride(), sizes.n, options.epilogue.bias,
                 static_cast<unsigned char>(options.epilogue.activation), c.data());
    return;
  }
  const Product job{table, form, a, b, c, options, sizes};
  const bool serial = 2.0 * double(sizes.m) * double(sizes.n) * double(sizes.k) < serial_flops;
  const bool unpacked =
      form == Form::nn && (sizes.m <= few_rows || (sizes.m <= some_rows && sizes.k * sizes.n <= small_b));
  // Enough blocks for the threads, but no more: a block of rows packs b again.
  const int threads = serial ? 1 : (options.arena ? *options.arena : Arena::default_arena()).threads();
  const std::size_t wanted = threads > 1 ? 2 * std::size_t(threads) : 1;
  const std::size_t col_limit = unpacked ? std::clamp(sizes.n / wanted, table.tile_cols, col_block) : col_block;
  const std::size_t cols = balanced_block(sizes.n, col_limit / table.tile_cols * table.tile_cols, table.tile_cols);
  const std::size_t col_blocks = (sizes.n + cols - 1) / cols;
  const std::size_t row_limit =
      std::clamp(sizes.m * col_blocks / wanted, std::size_t{64}, form == Form::tn ? packed_row_block : row_block);
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
