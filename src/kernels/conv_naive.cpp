// The references of convolutions and of their packs.
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels/bf16.hpp"
#include "kernels/conv_images.hpp"

namespace redoubt::kernels::detail {
namespace {

using namespace conv;

void naive_pairs(const unsigned short* first, const unsigned short* second, std::size_t count, unsigned short* dst) {
  for (std::size_t i = 0; i < count; ++i) dst[2 * i] = first[i], dst[2 * i + 1] = second[i];
}

void naive_slopes(const float* src, std::size_t height, std::size_t width, std::size_t pitch, std::size_t filters,
                  unsigned char* dst, std::size_t group, std::size_t part, float* sums) {
  const std::size_t places = (height - 1) * pitch + width;
  for (std::size_t f = 0; f < filters; ++f) {
    float sum[2] = {};  // of even and odd places, as the vectors have them
    for (std::size_t p = 0; p < round_up(places, deep); ++p) {
      const bool inside = p < places && p % pitch < width;
      const float x = inside ? src[(p / pitch * width + p % pitch) * filters + f] : 0.0f;
      sum[p % 2] += x;
      const std::uint16_t lead = bf16_of(x), rest = bf16_of(x - float_of(lead));
      unsigned char* const at = dst + f / side * group + p / deep * tile_bytes + f % side * 64 + p % deep * 2;
      std::memcpy(at, &lead, 2);
      if (part > 0) std::memcpy(at + part, &rest, 2);
    }
    if (sums) sums[f] += sum[0] + sum[1];
  }
}

}  // namespace

const ConvPacks naive_conv_packs = {naive_pairs, naive_slopes};

namespace naive {
namespace {

/// Product of two values that are rounded.
double product(float x, float y, ProductPrecision precision) {
  float x0, x1, y0, y1;
  round_values({&x, 1, 1}, &x0, &x1);
  round_values({&y, 1, 1}, &y0, &y1);
  return double(x0) * y0 + (precision == ProductPrecision::bf16 ? 0 : double(x1) * y0 + double(x0) * y1);
}

/// Calls tap(place, tap, pixel) for all of an image.
template <class Tap>
void taps(const ConvShape& s, Tap tap) {
  for (std::size_t place = 0; place < s.places(); ++place)
    for (std::size_t k = 0; k < s.taps(); ++k) {
      const std::size_t y = place / s.out_width * s.stride + k / s.kernel_width * s.dilation - s.pad;
      const std::size_t x = place % s.out_width * s.stride + k % s.kernel_width * s.dilation - s.pad;
      if (y < s.height && x < s.width) tap(place, k, y * s.width + x);  // they wrap around when negative
    }
}

}  // namespace

void rounded_conv(const ConvShape& s, MatrixView<const float> images, const float* weights, const float* bias,
                  bool relu, MatrixView<float> dst, const ConvOptions& options) {
  std::vector<double> sums(s.places() * s.filters);
  for (std::size_t r = 0; r < images.rows(); ++r) {
    for (std::size_t i = 0; i < sums.size(); ++i) sums[i] = bias ? bias[i % s.filters] : 0;
    taps(s, [&](std::size_t place, std::size_t k, std::size_t pixel) {
      for (std::size_t c = 0; c < s.channels; ++c)
        for (std::size_t f = 0; f < s.filters; ++f)
          sums[place * s.filters + f] += product(images(r, pixel * s.channels + c),
                                                 weights[(k * s.channels + c) * s.filters + f], options.precision);
    });
    for (std::size_t i = 0; i < sums.size(); ++i) dst(r, i) = static_cast<float>(relu && sums[i] < 0 ? 0 : sums[i]);
  }
}

void rounded_conv_backward(const ConvShape& s, MatrixView<const float> images, const float* weights,
                           MatrixView<const float> slopes, const ConvGradients& to, const ConvOptions& options) {
  std::vector<double> weight_sums(s.taps() * s.channels * s.filters), bias_sums(s.filters), image_sums;
  for (std::size_t r = 0; r < slopes.rows(); ++r) {
    image_sums.assign(s.height * s.width * s.channels, 0);
    for (std::size_t i = 0; i < s.places() * s.filters; ++i) bias_sums[i % s.filters] += slopes(r, i);
    taps(s, [&](std::size_t place, std::size_t k, std::size_t pixel) {
      for (std::size_t c = 0; c < s.channels; ++c)
        for (std::size_t f = 0; f < s.filters; ++f) {
          const std::size_t weight = (k * s.channels + c) * s.filters + f, at = pixel * s.channels + c;
          const float slope = slopes(r, place * s.filters + f);
          if (to.weights) weight_sums[weight] += product(images(r, at), slope, options.precision);
          if (to.images.data()) image_sums[at] += product(weights[weight], slope, options.precision);
        }
    });
    for (std::size_t i = 0; to.images.data() && i < image_sums.size(); ++i)
      to.images(r, i) = static_cast<float>((to.assign_images ? 0 : to.images(r, i)) + image_sums[i]);
  }
  for (std::size_t i = 0; to.weights && i < weight_sums.size(); ++i)
    to.weights[i] = static_cast<float>(to.weights[i] + weight_sums[i]);
  for (std::size_t f = 0; to.bias && f < s.filters; ++f) to.bias[f] = static_cast<float>(to.bias[f] + bias_sums[f]);
}

}  // namespace naive

}  // namespace redoubt::kernels::detail
