#include "redoubt/kernels/packed.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/activate.hpp"
#include "kernels/dispatch.hpp"

namespace redoubt::kernels {
namespace {

// One row leaves out the zeros that ReLU made: of so many x as cost more than listing them, up to 16 KB of stack.
constexpr std::size_t least_listed = 24, most_listed = 4096;
// A panel that the nearest cache does not hold comes from the next one for every group of rows: fetched ahead, as the
// kernel does for weights that lie in place, it takes 0.9 of the time (784 and 512 deep, Sapphire Rapids).
constexpr std::size_t near_panel = 32 * 1024;

}  // namespace

PackedWeights::PackedWeights(MatrixView<const float> w) : rows_(w.rows()), cols_(w.cols()) {
  const detail::Table* table = detail::table();
  panel_ = table ? table->tile_cols : std::max<std::size_t>(1, cols_);
  const std::size_t panels = (cols_ + panel_ - 1) / panel_;
  values_ = Tensor<float>({panels * rows_ * panel_});
  if (table) {
    table->pack_b(w.data(), w.stride(), rows_, cols_, values_.data());
  } else {
    for (std::size_t r = 0; r < rows_; ++r) std::copy_n(w.row(r).data(), cols_, values_.data() + r * cols_);
  }
}

namespace {

template <class Weights>
void naive_patches(const Patches& patches, const Weights& w, const MatrixView<float>& c, const Epilogue& epilogue,
                   std::size_t first, std::size_t last) noexcept {
  for (std::size_t i = 0; i < patches.rows; ++i) {
    for (std::size_t j = first; j < last; ++j) {
      float value = epilogue.bias ? epilogue.bias[j] : 0;
      for (std::size_t s = 0; s < patches.segments; ++s) {
        const float* const from = patches.data + i * patches.row + s * patches.segment_row;
        for (std::size_t k = 0; k < patches.segment; ++k) value += from[k] * w(s * patches.segment + k, j);
      }
      c(i, j) = detail::activate(value, epilogue.activation);
    }
  }
}

/// Columns [first, last); `t` says how the weights lie, b(col) where those from `col` on do.
template <class At>
void tiles(const detail::Table& table, detail::Tile t, const Patches& patches, const MatrixView<float>& c,
           const Epilogue& epilogue, std::size_t first, std::size_t last, At b) noexcept {
  t.a_row = patches.row, t.a_col = 1;
  t.segments = patches.segments, t.a_segment = patches.segment_row, t.depth = patches.segment;
  t.c_row = c.stride();
  t.activation = static_cast<unsigned char>(epilogue.activation);
  const std::size_t groups = (patches.rows + table.tile_rows - 1) / table.tile_rows;
  const std::size_t step = (patches.rows + groups - 1) / groups;
  const bool padded = t.b_padded, near = t.segments * t.depth * t.b_row * sizeof(float) <= near_panel;
  for (std::size_t col = first; col < last; col += table.tile_cols) {
    t.b = b(col);
    t.cols = std::min(table.tile_cols, last - col);
    t.b_padded = padded && (near || t.cols % 16 != 0);
    t.bias = epilogue.bias ? epilogue.bias + col : nullptr;
    for (std::size_t row = 0; row < patches.rows; row += step) {
      t.rows = std::min(step, patches.rows - row);
      t.a = patches.data + row * patches.row;
      t.c = c.data() + row * c.stride() + col;
      table.tile(t);
    }
  }
}

}  // namespace

void naive::packed_matmul(const Patches& patches, const PackedWeights& w, const MatrixView<float>& c,
                          const Epilogue& epilogue, std::size_t first, std::size_t last) noexcept {
  naive_patches(patches, w, c, epilogue, first, last);
}

void naive::patch_matmul(const Patches& patches, const MatrixView<const float>& w, const MatrixView<float>& c,
                         const Epilogue& epilogue) noexcept {
  naive_patches(patches, w, c, epilogue, 0, w.cols());
}

void patch_matmul(const Patches& patches, const MatrixView<const float>& w, const MatrixView<float>& c,
                  const Epilogue& epilogue) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::patch_matmul(patches, w, c, epilogue);
  if (patches.rows == 0) return;
  detail::Tile t{};
  t.b_row = w.stride();
  tiles(*table, t, patches, c, epilogue, 0, w.cols(), [&](std::size_t col) { return w.data() + col; });
}

void packed_matmul(const Patches& patches, const PackedWeights& w, const MatrixView<float>& c, const Epilogue& epilogue,
                   std::size_t first, std::size_t last) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::packed_matmul(patches, w, c, epilogue, first, last);
  if (patches.rows == 0 || first >= last) return;
  if (patches.rows == 1 && patches.segments == 1) {
    unsigned list[most_listed + 16];
    const std::size_t depth = w.rows();
    const std::size_t count =
        depth >= least_listed && depth <= most_listed ? table->nonzero(patches.data, depth, list) : depth;
    const bool sparse = count < depth - depth / 8;
    table->packed_row(patches.data, depth, sparse ? list : nullptr, count, w.panels() + first * depth, last - first,
                      epilogue.bias ? epilogue.bias + first : nullptr, static_cast<unsigned char>(epilogue.activation),
                      c.data() + first);
    return;
  }
  detail::Tile t{};
  t.b_row = w.panel(), t.b_padded = true;
  tiles(*table, t, patches, c, epilogue, first, last, [&](std::size_t col) { return w.panels() + col * w.rows(); });
}

void naive::max_pool(const float* src, std::size_t src_row, std::size_t step, std::size_t height, std::size_t width,
                     std::size_t channels, std::size_t places, float* dst) noexcept {
  for (std::size_t p = 0; p < places; ++p) {
    for (std::size_t c = 0; c < channels; ++c) {
      float best = -std::numeric_limits<float>::infinity();
      for (std::size_t y = 0; y < height; ++y) {
        for (std::size_t x = 0; x < width; ++x) best = std::max(best, src[p * step + y * src_row + x * channels + c]);
      }
      dst[p * channels + c] = best;
    }
  }
}

void naive::max_pool_backward(const float* src, const float* best, const float* slopes, std::size_t src_row,
                              std::size_t step, std::size_t height, std::size_t width, std::size_t channels,
                              std::size_t places, bool relu, bool add, float* dst) noexcept {
  for (std::size_t p = 0; p < places; ++p) {
    for (std::size_t c = 0; c < channels; ++c) {
      float rest = !relu || best[p * channels + c] > 0 ? slopes[p * channels + c] : 0.0f;
      for (std::size_t y = 0; y < height; ++y) {
        for (std::size_t x = 0; x < width; ++x) {
          const std::size_t at = p * step + y * src_row + x * channels + c;
          const float value = std::max(-std::numeric_limits<float>::infinity(), src[at]);
          const float share = value == best[p * channels + c] ? std::exchange(rest, 0.0f) : 0.0f;
          dst[at] = add ? dst[at] + share : share;
        }
      }
    }
  }
}

void max_pool_backward(const float* src, const float* best, const float* slopes, std::size_t src_row, std::size_t step,
                       std::size_t height, std::size_t width, std::size_t channels, std::size_t places, bool relu,
                       bool add, float* dst) noexcept {
  const detail::Table* table = detail::table();
  (table ? table->max_pool_backward : naive::max_pool_backward)(src, best, slopes, src_row, step, height, width,
                                                                channels, places, relu, add, dst);
}

void max_pool(const float* src, std::size_t src_row, std::size_t step, std::size_t height, std::size_t width,
              std::size_t channels, std::size_t places, float* dst) noexcept {
  const detail::Table* table = detail::table();
  (table ? table->max_pool : naive::max_pool)(src, src_row, step, height, width, channels, places, dst);
}

}  // namespace redoubt::kernels
