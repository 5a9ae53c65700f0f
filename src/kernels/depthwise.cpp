#include "kernels/depthwise.hpp"

#include <algorithm>

#include "kernels/activate.hpp"
#include "kernels/dispatch.hpp"

namespace redoubt::kernels {
namespace {

/// Taps [first, last) of a window that begins at `from` (pad included) lie inside [0, size).
struct Taps {
  std::size_t first, last;
  Taps(std::size_t from, std::size_t size, std::size_t taps, std::size_t pad, std::size_t dilation) {
    const auto least = [&](std::size_t bound) {  // the first tap that is not before `bound`
      return bound <= from ? 0 : std::min(taps, (bound - from + dilation - 1) / dilation);
    };
    first = least(pad);
    last = std::max(first, least(size + pad));
  }
  std::size_t count() const { return last - first; }
};

}  // namespace

void naive::depthwise(const DepthwiseShape& s, const float* src, const float* weight, const float* bias,
                      Activation activation, float* dst, std::size_t first, std::size_t last) noexcept {
  for (std::size_t y = first; y < last; ++y) {
    for (std::size_t x = 0; x < s.out_width; ++x) {
      for (std::size_t c = 0; c < s.channels; ++c) {
        float sum = bias[c];
        for (std::size_t ky = 0; ky < s.kernel_height; ++ky) {
          for (std::size_t kx = 0; kx < s.kernel_width; ++kx) {
            const std::size_t from_y = y * s.stride + ky * s.dilation - s.pad;  // wraps around when negative
            const std::size_t from_x = x * s.stride + kx * s.dilation - s.pad;
            if (from_y < s.height && from_x < s.width)
              sum += src[(from_y * s.width + from_x) * s.channels + c] *
                     weight[(ky * s.kernel_width + kx) * s.channels + c];
          }
        }
        dst[(y * s.out_width + x) * s.channels + c] = detail::activate(sum, activation);
      }
    }
  }
}

void depthwise(const DepthwiseShape& s, const float* src, const float* weight, const float* bias, Activation activation,
               float* dst, std::size_t first, std::size_t last) noexcept {
  const detail::Table* const level = detail::table();
  if (!level) return naive::depthwise(s, src, weight, bias, activation, dst, first, last);
  detail::DepthwiseRow row{.src = nullptr,
                           .src_row = s.dilation * s.width * s.channels,
                           .tap = s.dilation * s.channels,
                           .step = s.stride * s.channels,
                           .height = 0,
                           .width = 0,
                           .channels = s.channels,
                           .places = 0,
                           .weight = nullptr,
                           .weight_row = s.kernel_width * s.channels,
                           .bias = bias,
                           .dst = nullptr,
                           .relu = activation == Activation::relu};
  // Windows of the places [inner, outer) lie inside the image from side to side; the others lose taps one by one.
  const std::size_t reach = (s.kernel_width - 1) * s.dilation, room = s.width + s.pad;
  const std::size_t inner = std::min(s.out_width, (s.pad + s.stride - 1) / s.stride);
  const std::size_t outer =
      reach >= room ? inner : std::max(inner, std::min(s.out_width, (room - reach - 1) / s.stride + 1));
  for (std::size_t y = first; y < last; ++y) {
    const Taps rows(y * s.stride, s.height, s.kernel_height, s.pad, s.dilation);
    float* const out = dst + y * s.out_width * s.channels;
    const auto run = [&](std::size_t x, std::size_t places) {
      const Taps cols(x * s.stride, s.width, s.kernel_width, s.pad, s.dilation);
      row.height = cols.count() > 0 ? rows.count() : 0;
      row.width = cols.count();
      row.places = places;
      row.dst = out + x * s.channels;
      if (row.height > 0) {
        const std::size_t from_y = y * s.stride + rows.first * s.dilation - s.pad;
        const std::size_t from_x = x * s.stride + cols.first * s.dilation - s.pad;
        row.src = src + (from_y * s.width + from_x) * s.channels;
        row.weight = weight + (rows.first * s.kernel_width + cols.first) * s.channels;
      }
      level->depthwise(row);
    };
    for (std::size_t x = 0; x < inner; ++x) run(x, 1);
    if (outer > inner) run(inner, outer - inner);
    for (std::size_t x = outer; x < s.out_width; ++x) run(x, 1);
    detail::finish_activation(activation, {out, 1, s.out_width * s.channels});
  }
}

}  // namespace redoubt::kernels
