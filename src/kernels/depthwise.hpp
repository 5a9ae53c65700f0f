#pragma once
#include <cstddef>

#include "redoubt/kernels/epilogue.hpp"

namespace redoubt::kernels {

/// Sizes of a depthwise convolution of an image height x width x channels; dst is out_height x out_width x channels.
struct DepthwiseShape {
  std::size_t height, width, channels;
  std::size_t kernel_height, kernel_width, stride, pad, dilation;
  std::size_t out_height, out_width;
};

/// Rows [first, last) of the output: activation(bias + the sum over the taps that lie inside the image), each channel
/// with its own weights (kernel_height x kernel_width x channels). noexcept, no allocation, on the calling thread; bits
/// do not depend on how rows are divided among calls.
void depthwise(const DepthwiseShape& shape, const float* src, const float* weight, const float* bias,
               Activation activation, float* dst, std::size_t first, std::size_t last) noexcept;

/// The reference: plain loops, same signature.
namespace naive {
void depthwise(const DepthwiseShape& shape, const float* src, const float* weight, const float* bias,
               Activation activation, float* dst, std::size_t first, std::size_t last) noexcept;
}  // namespace naive

}  // namespace redoubt::kernels
