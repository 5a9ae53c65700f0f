#pragma once
#include <cstddef>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/core/view.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt::kernels::detail {

/// A convolution of images height x width x channels with `filters` kernels: out_height x out_width x filters. Weights
/// are (kernel_height * kernel_width * channels) x filters. Padding is zero, equal on all sides.
struct ConvShape {
  std::size_t height, width, channels, filters;
  std::size_t kernel_height, kernel_width, stride, pad, dilation;
  std::size_t out_height, out_width;

  std::size_t taps() const noexcept { return kernel_height * kernel_width; }
  std::size_t places() const noexcept { return out_height * out_width; }
};

struct ConvOptions {
  ProductPrecision precision = ProductPrecision::bf16;  ///< not fp32
  Arena* arena = nullptr;                               ///< null = the default arena
  /// Unless null, called for rows of dst that are finished and in the cache of the calling thread.
  const function_ref<void(std::size_t begin, std::size_t end)>* finished = nullptr;
  /// Unless null, makes each row of slopes, once, in `room` for one, or returns where it is.
  const function_ref<const float*(std::size_t row, float* room)>* slopes = nullptr;
};

/// What `rounded_conv_backward` adds to, or assigns; what holds no data is not wanted.
struct ConvGradients {
  MatrixView<float> images;
  bool assign_images = false;
  float* weights = nullptr;  ///< added to
  float* bias = nullptr;     ///< added to
};

/// Each row of dst = activation(bias + convolution of that row of images), with operands rounded to options.precision
/// and sums in fp32: errors are bounded as those of `matmul` over the depth of a patch. False: the active level has no
/// instructions for tiles, and nothing was done. The same bits at any number of threads and in any batch. A value that
/// is not finite may reach neighbouring places as NaN. dst must not overlap images. Memory is kept per thread.
bool rounded_conv(const ConvShape& shape, MatrixView<const float> images, const float* weights, const float* bias,
                  bool relu, MatrixView<float> dst, const ConvOptions& options);

/// Gradients of a loss whose gradient with respect to dst (of `rounded_conv` without activation) is `slopes`:
///   weights[tap, c][f] += sum over images and places of image[place + tap][c] * slopes[place][f]
///   bias[f]            += sum over images and places of slopes[place][f], fp32
///   images[pixel][c]    = sum over taps and filters of slopes[pixel - tap][f] * weights[tap, c][f]
/// Otherwise as `rounded_conv`. Weights sum over blocks of images, then over the blocks, in order.
bool rounded_conv_backward(const ConvShape& shape, MatrixView<const float> images, const float* weights,
                           MatrixView<const float> slopes, const ConvGradients& to, const ConvOptions& options);

/// The references, which round operands in the same way and sum in double precision; one thread.
namespace naive {
void rounded_conv(const ConvShape& shape, MatrixView<const float> images, const float* weights, const float* bias,
                  bool relu, MatrixView<float> dst, const ConvOptions& options);
void rounded_conv_backward(const ConvShape& shape, MatrixView<const float> images, const float* weights,
                           MatrixView<const float> slopes, const ConvGradients& to, const ConvOptions& options);
}  // namespace naive

}  // namespace redoubt::kernels::detail
