#include "redoubt/kernels/packed.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/activate.hpp"
#include "kernels/dispatch.hpp"

namespace redoubt::kernels {
namespace {

// One row leaves out the zeros that ReLU made, where reading the weights costs more than listing the others.
constexpr std::size_t sparse_weights = 16384;  // at least
constexpr std::size_t most_listed = 4096;      // 16 KB of stack

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

void naive::packed_matmul(const Patches& patches, const PackedWeights& w, const MatrixView<float>& c,
                          const Epilogue& epilogue, std::size_t first, std::size_t last) noexcept {
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

void packed_matmul(const Patches& patches, const PackedWeights& w, const MatrixView<float>& c, const Epilogue& epilogue,
                   std::size_t first, std::size_t last) noexcept {
  const detail::Table* table = detail::table();
  if (!table) return naive::packed_matmul(patches, w, c, epilogue, first, last);
  if (patches.rows == 0 || first >= last) return;
  const auto activation = static_cast<unsigned char>(epilogue.activation);
  if (patches.rows == 1 && patches.segments == 1) {
    unsigned listed[most_listed];
    const unsigned* list = nullptr;
    std::size_t count = 0;
    const std::size_t depth = w.rows();
    if (depth <= most_listed && depth * (last - first) >= sparse_weights) {
      for (std::size_t k = 0; k < depth; ++k) {
        listed[count] = static_cast<unsigned>(k);
        count += static_cast<std::size_t>(patches.data[k] != 0);  // a NaN counts
      }
      if (count < depth - depth / 8) list = listed;
    }
    table->packed_row(patches.data, depth, list, count, w.panels() + first * depth, last - first,
                      epilogue.bias ? epilogue.bias + first : nullptr, activation, c.data() + first);
    return;
  }
  const std::size_t groups = (patches.rows + table->tile_rows - 1) / table->tile_rows;
  const std::size_t step = (patches.rows + groups - 1) / groups;
  detail::Tile t{.a = nullptr,
                 .a_row = patches.row,
                 .a_col = 1,
                 .segments = patches.segments,
                 .a_segment = patches.segment_row,
                 .b = nullptr,
                 .b_row = w.panel(),
                 .b_padded = true,
                 .c = nullptr,
                 .c_row = c.stride(),
                 .rows = 0,
                 .cols = 0,
                 .depth = patches.segment,
                 .bias = nullptr,
                 .add_c = false,
                 .next_c = nullptr,
                 .activation = activation};
  for (std::size_t col = first; col < last; col += w.panel()) {
    t.b = w.panels() + col * w.rows();
    t.cols = std::min(w.panel(), last - col);
    t.bias = epilogue.bias ? epilogue.bias + col : nullptr;
    for (std::size_t row = 0; row < patches.rows; row += step) {
      t.rows = std::min(step, patches.rows - row);
      t.a = patches.data + row * patches.row;
      t.c = c.data() + row * c.stride() + col;
      table->tile(t);
    }
  }
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
