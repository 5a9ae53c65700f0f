#pragma once
#include <cstddef>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"
#include "redoubt/kernels/packed.hpp"

namespace redoubt::kernels {

/// Weights of a 3 x 3 convolution, transformed for Winograd's F(2 x 2, 3 x 3): four outputs from 16 products in place
/// of 36 (Lavin & Gray, "Fast algorithms for convolutional neural networks", CVPR 2016).
class WinogradWeights {
 public:
  static constexpr std::size_t points = 16;  ///< of a tile of 4 x 4 inputs

  WinogradWeights() = default;
  /// weight: (9 * channels) x filters, tap by tap.
  explicit WinogradWeights(MatrixView<const float> weight);
  std::size_t channels() const noexcept { return channels_; }
  std::size_t filters() const noexcept { return error_.size(); }
  const PackedWeights& at(std::size_t point) const noexcept { return weights_[point]; }
  /// Per filter: times the largest size of an input, how far an output may lie from the exact convolution; with
  /// bias and sums in exact arithmetic. Inputs of at most 1e30.
  std::span<const float> error() const noexcept { return error_; }

 private:
  std::size_t channels_ = 0;
  std::vector<PackedWeights> weights_;
  std::vector<float> error_;
};

/// Lines and columns of tiles of 2 x 2 outputs.
struct WinogradTiles {
  std::size_t lines, columns;
  std::size_t scratch(const WinogradWeights& w) const noexcept {  ///< floats
    return WinogradWeights::points * lines * columns * (w.channels() + w.filters());
  }
};

/// dst[y * dst_row + x * filters + f], y < height <= 2 * tiles.lines, x < width <= 2 * tiles.columns: convolution of
/// stride 1 of src, an image with all its padding of 2 * tiles.lines + 2 lines of `src_row` floats, which hold at least
/// 2 * tiles.columns + 2 pixels; plus bias, then with `relu` at least 0. An input that is not finite may spoil all
/// outputs of the tiles that see it. Nothing overlaps. noexcept, no allocation, on the calling thread; the bits of a
/// tile do not depend on the others.
void winograd(const WinogradWeights& weights, const float* src, std::size_t src_row, WinogradTiles tiles,
              const float* bias, bool relu, float* scratch, float* dst, std::size_t dst_row, std::size_t height,
              std::size_t width) noexcept;

/// The reference: plain loops, same signature.
namespace naive {
void winograd(const WinogradWeights& weights, const float* src, std::size_t src_row, WinogradTiles tiles,
              const float* bias, bool relu, float* scratch, float* dst, std::size_t dst_row, std::size_t height,
              std::size_t width) noexcept;
}  // namespace naive

}  // namespace redoubt::kernels
