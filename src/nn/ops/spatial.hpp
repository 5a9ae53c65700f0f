#pragma once
// What convolutions and pools share: a window that slides over an image of height x width x channels (NHWC).
#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <span>

#include "redoubt/core/error.hpp"
#include "redoubt/nn/op.hpp"

namespace redoubt::detail {

/// The larger side slides: input of a convolution, output of a transposed one.
struct Window {
  std::size_t height, width, channels;  // of the image
  std::size_t kernel_height, kernel_width, stride, pad, dilation;
  std::size_t out_height, out_width;  // places of the window

  std::size_t places() const { return out_height * out_width; }
  /// Every pixel is in one place's window.
  bool tiles() const {
    return pad == 0 && dilation == 1 && stride == kernel_height && stride == kernel_width &&
           out_height * stride == height && out_width * stride == width;
  }
  /// Calls tap(kernel index, offset of its pixel in the image) for the taps of a place that lie inside the image.
  template <class Tap>
  void taps(std::size_t place, Tap tap) const {
    const std::size_t top = place / out_width * stride, left = place % out_width * stride;
    for (std::size_t ky = 0; ky < kernel_height; ++ky) {
      const std::size_t y = top + ky * dilation - pad;  // wraps around when negative
      if (y >= height) continue;
      for (std::size_t kx = 0; kx < kernel_width; ++kx) {
        const std::size_t x = left + kx * dilation - pad;
        if (x < width) tap(ky * kernel_width + kx, (y * width + x) * channels);
      }
    }
  }
};

/// Throws Error(shape_mismatch) unless the image is of rank 3 and the window fits into it.
inline Window sliding_window(std::string_view op, const OpShape& image, std::size_t kernel_height,
                             std::size_t kernel_width, std::size_t stride, std::size_t pad, std::size_t dilation) {
  if (image.size() != 3) {
    fail(errc::shape_mismatch,
         fmt::format("{}: the input has shape [{}]; it must be height, width, channels", op, fmt::join(image, ", ")));
  }
  const std::size_t reach_y = dilation * (kernel_height - 1) + 1, reach_x = dilation * (kernel_width - 1) + 1;
  if (reach_y > image[0] + 2 * pad || reach_x > image[1] + 2 * pad) {
    fail(errc::shape_mismatch, fmt::format("{}: a window of {} x {} does not fit into [{}] with padding {}", op,
                                           reach_y, reach_x, fmt::join(image, ", "), pad));
  }
  return {image[0],
          image[1],
          image[2],
          kernel_height,
          kernel_width,
          stride,
          pad,
          dilation,
          (image[0] + 2 * pad - reach_y) / stride + 1,
          (image[1] + 2 * pad - reach_x) / stride + 1};
}

}  // namespace redoubt::detail
