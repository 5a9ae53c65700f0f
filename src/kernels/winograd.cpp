#include "kernels/winograd.hpp"

#include <algorithm>
#include <cmath>

#include "kernels/dispatch.hpp"
#include "redoubt/core/tensor.hpp"

namespace redoubt::kernels {
namespace {

constexpr std::size_t points = WinogradWeights::points;

/// One line of tiles: dst[point * plane + tile * channels + c].
void plain_source(const float* src, std::size_t row, std::size_t channels, std::size_t tiles, float* dst,
                  std::size_t plane) {
  for (std::size_t t = 0; t < tiles; ++t) {
    for (std::size_t c = 0; c < channels; ++c) {
      float e[4][4];
      for (std::size_t x = 0; x < 4; ++x) {
        const auto d = [&](std::size_t y) { return src[y * row + (2 * t + x) * channels + c]; };
        e[0][x] = d(0) - d(2);
        e[1][x] = d(1) + d(2);
        e[2][x] = d(2) - d(1);
        e[3][x] = d(1) - d(3);
      }
      for (std::size_t y = 0; y < 4; ++y) {
        float* const to = dst + 4 * y * plane + t * channels + c;
        to[0] = e[y][0] - e[y][2];
        to[plane] = e[y][1] + e[y][2];
        to[2 * plane] = e[y][2] - e[y][1];
        to[3 * plane] = e[y][1] - e[y][3];
      }
    }
  }
}

void plain_output(const float* src, std::size_t plane, std::size_t filters, std::size_t columns, const float* bias,
                  bool relu, float* first, float* second) {
  for (std::size_t x = 0; x < columns; x += 2) {
    for (std::size_t f = 0; f < filters; ++f) {
      float s[2][4];
      for (std::size_t j = 0; j < 4; ++j) {
        const auto m = [&](std::size_t i) { return src[(4 * i + j) * plane + x / 2 * filters + f]; };
        s[0][j] = m(0) + m(1) + m(2);
        s[1][j] = m(1) - m(2) - m(3);
      }
      for (std::size_t y = 0; y < 2; ++y) {
        float* const line = y == 0 ? first : second;
        if (!line) break;
        const float left = s[y][0] + s[y][1] + s[y][2] + bias[f], right = s[y][1] - s[y][2] - s[y][3] + bias[f];
        line[x * filters + f] = relu && left < 0 ? 0.0f : left;
        if (x + 1 < columns) line[(x + 1) * filters + f] = relu && right < 0 ? 0.0f : right;
      }
    }
  }
}

template <class Source, class Product, class Output>
void run(const WinogradWeights& w, const float* src, std::size_t src_row, WinogradTiles tiles, const float* bias,
         bool relu, float* scratch, float* dst, std::size_t dst_row, std::size_t height, std::size_t width,
         Source source, Product product, Output output) {
  const std::size_t channels = w.channels(), filters = w.filters(), count = tiles.lines * tiles.columns;
  float* const products = scratch + points * count * channels;
  for (std::size_t y = 0; y < tiles.lines; ++y)
    source(src + 2 * y * src_row, src_row, channels, tiles.columns, scratch + y * tiles.columns * channels,
           count * channels);
  for (std::size_t p = 0; p < points; ++p)
    product(Patches{.data = scratch + p * count * channels, .rows = count, .row = channels, .segment = channels},
            w.at(p), MatrixView<float>(products + p * count * filters, count, filters), Epilogue{}, 0, filters);
  for (std::size_t y = 0; 2 * y < height; ++y)
    output(products + y * tiles.columns * filters, count * filters, filters, width, bias, relu, dst + 2 * y * dst_row,
           2 * y + 1 < height ? dst + (2 * y + 1) * dst_row : nullptr);
}

}  // namespace

WinogradWeights::WinogradWeights(MatrixView<const float> weight) : channels_(weight.rows() / 9) {
  const std::size_t filters = weight.cols();
  constexpr double g[4][3] = {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  std::vector<double> sizes(filters, 0);
  for (std::size_t p = 0; p < points; ++p) {
    Tensor<float> turned({channels_, filters});
    for (std::size_t c = 0; c < channels_; ++c) {
      for (std::size_t f = 0; f < filters; ++f) {
        double sum = 0;
        for (std::size_t y = 0; y < 3; ++y) {
          for (std::size_t x = 0; x < 3; ++x)
            sum += g[p / 4][y] * g[p % 4][x] * static_cast<double>(weight((3 * y + x) * channels_ + c, f));
        }
        turned(c, f) = static_cast<float>(sum);
        sizes[f] += std::abs(sum);
      }
    }
    weights_.emplace_back(turned);
  }
  // A transformed input is a sum of four, at most 4 times the largest; it is rounded twice, a weight once, a product
  // and its sum over the channels once per channel, the sum of at most nine of those four times, the bias once.
  for (const double size : sizes)
    error_.push_back(static_cast<float>(1.01 * 4 * static_cast<double>(channels_ + 9) * 0x1p-24 * size));
}

void naive::winograd(const WinogradWeights& w, const float* src, std::size_t src_row, WinogradTiles tiles,
                     const float* bias, bool relu, float* scratch, float* dst, std::size_t dst_row, std::size_t height,
                     std::size_t width) noexcept {
  run(w, src, src_row, tiles, bias, relu, scratch, dst, dst_row, height, width, plain_source, naive::packed_matmul,
      plain_output);
}

void winograd(const WinogradWeights& w, const float* src, std::size_t src_row, WinogradTiles tiles, const float* bias,
              bool relu, float* scratch, float* dst, std::size_t dst_row, std::size_t height,
              std::size_t width) noexcept {
  const detail::Table* const level = detail::table();
  if (!level) return naive::winograd(w, src, src_row, tiles, bias, relu, scratch, dst, dst_row, height, width);
  run(w, src, src_row, tiles, bias, relu, scratch, dst, dst_row, height, width, level->winograd_source,
      kernels::packed_matmul, level->winograd_output);
}

}  // namespace redoubt::kernels
