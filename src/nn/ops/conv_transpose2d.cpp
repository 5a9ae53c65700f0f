#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "nn/ops/op_table.hpp"
#include "nn/ops/spatial.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "filters", .fallback = 1, .low = 1, .high = 65536, .whole = true},
                                          {.name = "kernel_height", .fallback = 3, .low = 1, .high = 64, .whole = true},
                                          {.name = "kernel_width", .fallback = 3, .low = 1, .high = 64, .whole = true},
                                          {.name = "stride", .fallback = 1, .low = 1, .high = 64, .whole = true},
                                          {.name = "pad", .fallback = 0, .low = 0, .high = 64, .whole = true},
                                          {.name = "output_pad", .fallback = 0, .low = 0, .high = 63, .whole = true},
                                          {.name = "dilation", .fallback = 1, .low = 1, .high = 64, .whole = true},
                                          {.name = "groups", .fallback = 1, .low = 1, .high = 65536, .whole = true}};

/// Pixels whose patches are made at once, as in conv2d.
constexpr std::size_t tile = 32;

struct ConvTranspose {
  Window window;  // slides over the output; one place per input pixel
  std::size_t channels, groups;

  std::size_t filters() const { return window.channels; }
  std::size_t group_channels() const { return channels / groups; }
  std::size_t group_filters() const { return filters() / groups; }
  std::size_t taps() const { return window.kernel_height * window.kernel_width; }
  std::size_t patch() const { return taps() * group_filters(); }

  template <class T>
  MatrixView<T> pixels(T* image, std::size_t group, std::size_t first, std::size_t count) const {
    return {image + first * channels + group * group_channels(), count, group_channels(), channels};
  }
  template <class T>
  MatrixView<T> weight(T* data, std::size_t group) const {
    return {data + group * group_channels() * patch(), group_channels(), patch()};
  }
  void scatter(const float* patches, std::size_t group, std::size_t first, std::size_t count, float* image) const {
    const std::size_t width = group_filters();
    for (std::size_t p = 0; p < count; ++p) {
      window.taps(first + p, [&](std::size_t k, std::size_t at) {
        float* const to = image + at + group * width;
        const float* const from = patches + p * patch() + k * width;
        for (std::size_t f = 0; f < width; ++f) to[f] += from[f];
      });
    }
  }
  void gather(const float* image, std::size_t group, std::size_t first, std::size_t count, float* patches) const {
    const std::size_t width = group_filters();
    for (std::size_t p = 0; p < count; ++p) {
      float* const to = patches + p * patch();
      std::fill_n(to, patch(), 0.0f);
      window.taps(first + p, [&](std::size_t k, std::size_t at) {
        std::copy_n(image + at + group * width, width, to + k * width);
      });
    }
  }
};

ConvTranspose make(const OpShape& input, std::span<const double> a) {
  const auto whole = [&](std::size_t i) { return static_cast<std::size_t>(a[i]); };
  if (input.size() != 3) {
    fail(errc::shape_mismatch, fmt::format("conv_transpose2d: the input has shape [{}]; it must be height, width, "
                                           "channels",
                                           fmt::join(input, ", ")));
  }
  const std::size_t filters = whole(0), kernel_height = whole(1), kernel_width = whole(2), stride = whole(3),
                    pad = whole(4), output_pad = whole(5), dilation = whole(6), groups = whole(7);
  if (input[2] % groups != 0 || filters % groups != 0) {
    fail(errc::shape_mismatch, fmt::format("conv_transpose2d: {} groups divide neither or only one of {} channels and "
                                           "{} filters",
                                           groups, input[2], filters));
  }
  if (output_pad >= std::max(stride, dilation)) {
    fail(errc::shape_mismatch, fmt::format("conv_transpose2d: output_pad is {}; it must be below stride {} or dilation "
                                           "{}",
                                           output_pad, stride, dilation));
  }
  const auto side = [&](std::size_t extent, std::size_t kernel) {
    const std::size_t whole_side = (extent - 1) * stride + dilation * (kernel - 1) + 1 + output_pad;
    if (whole_side <= 2 * pad) {
      fail(errc::shape_mismatch, fmt::format("conv_transpose2d: padding {} leaves nothing of a side of {} from [{}]",
                                             pad, whole_side, fmt::join(input, ", ")));
    }
    return whole_side - 2 * pad;
  };
  return {{side(input[0], kernel_height), side(input[1], kernel_width), filters, kernel_height, kernel_width, stride,
           pad, dilation, input[0], input[1]},
          input[2],
          groups};
}

/// Transposed convolution of an image (height x width x channels), the gradient of a convolution as a layer: every
/// pixel adds its multiple of each kernel to the output. Sides become (side - 1) stride + dilation (kernel - 1) + 1 +
/// output_pad - 2 pad. weight is channels x (kernel_height * kernel_width * filters / groups), in that order. A matrix
/// product over tiles of pixels, whose patches are then added into place.
class ConvTranspose2d final : public Op {
 public:
  std::string_view name() const noexcept override { return "conv_transpose2d"; }
  std::string_view onnx_name() const noexcept override { return "ConvTranspose"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    const ConvTranspose conv = make(inputs[0], attributes);
    return {static_cast<std::uint32_t>(conv.window.height), static_cast<std::uint32_t>(conv.window.width),
            static_cast<std::uint32_t>(conv.filters())};
  }
  std::vector<OpParameter> parameters(std::span<const OpShape> inputs,
                                      std::span<const double> attributes) const override {
    const ConvTranspose conv = make(inputs[0], attributes);
    return {{.name = "weight",
             .shape = {conv.channels, conv.patch()},
             .decay = true,
             .fan_in = conv.patch(),
             .fan_out = conv.taps() * conv.group_channels()},
            {.name = "bias", .shape = {conv.filters()}}};
  }
  // He et al. (arXiv:1502.01852). An output value sums about channels * taps / (groups * stride^2) products; the stride
  // is not known here, so the taps of one pixel count, as in other libraries.
  void initialise(std::span<const MatrixView<float>> parameters, Random& random) const override {
    const auto weight = parameters[0];
    const double deviation = std::sqrt(2.0 / static_cast<double>(weight.cols()));
    for (std::size_t r = 0; r < weight.rows(); ++r) {
      for (float& w : weight.row(r)) w = static_cast<float>(deviation * random.normal());
    }
  }
  std::size_t scratch(std::span<const OpShape> inputs, std::span<const double> attributes, bool) const override {
    return tile * make(inputs[0], attributes).patch();
  }

  void forward(const OpForward& call) const override {
    const ConvTranspose conv = make(call.shapes[0], call.attributes);
    const auto rows = [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        forward_row(conv, call, call.inputs[0].row(r).data(), call.output.row(r).data(),
                    call.scratch.data() + r * tile * conv.patch());
      }
    };
    if (call.output.rows() == 1) return rows(0, 1);
    parallel_for(call.output.rows(), 1, rows, call.arena);
  }
  void backward(const OpBackward& call) const override {
    const ConvTranspose conv = make(call.shapes[0], call.attributes);
    float* const patches = call.scratch.data();
    for (std::size_t r = 0; r < call.output_gradient.rows(); ++r) {
      const float* const from = call.output_gradient.row(r).data();
      for (std::size_t first = 0; first < conv.window.places(); first += tile) {
        const std::size_t count = std::min(tile, conv.window.places() - first);
        for (std::size_t g = 0; g < conv.groups; ++g) {
          conv.gather(from, g, first, count, patches);
          const MatrixView<const float> slopes{patches, count, conv.patch()};
          if (call.parameter_gradients[0].data()) {
            kernels::matmul_tn(conv.pixels(call.inputs[0].row(r).data(), g, first, count), slopes,
                               conv.weight(call.parameter_gradients[0].data(), g),
                               {.accumulate = true, .precision = call.products(), .arena = call.arena});
          }
          if (call.input_gradients[0].data()) {
            kernels::matmul_nt(slopes, conv.weight(call.parameters[0].data(), g),
                               conv.pixels(call.input_gradients[0].row(r).data(), g, first, count),
                               {.accumulate = true, .precision = call.products(), .arena = call.arena});
          }
        }
      }
      float* const to = call.parameter_gradients[1].data();
      if (!to) continue;
      for (std::size_t i = 0; i < call.output_gradient.cols(); ++i) to[i % conv.filters()] += from[i];
    }
  }
  std::size_t affine_terms(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    const ConvTranspose conv = make(inputs[0], attributes);
    return std::max(conv.group_channels() * conv.taps() + conv.taps(), conv.patch()) + 2;
  }
  void bounds(const OpBounds& call) const override {
    const ConvTranspose conv = make(call.shapes[0], call.attributes);
    const std::size_t size = call.output_lower.cols(), width = conv.group_filters();
    std::vector<double> low(size), high(size), magnitude(size);
    // One rounding per product and sum of at most this many terms.
    const double rounding = static_cast<double>(conv.group_channels() * conv.taps() + conv.taps() + 2) * 0x1p-24;
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t i = 0; i < size; ++i) {
        low[i] = high[i] = call.parameters[1](0, i % conv.filters());
        magnitude[i] = std::abs(low[i]);
      }
      for (std::size_t p = 0; p < conv.window.places(); ++p) {
        conv.window.taps(p, [&](std::size_t k, std::size_t at) {
          for (std::size_t c = 0; c < conv.channels; ++c) {
            const std::size_t group = c / conv.group_channels();
            const float* const w = call.parameters[0].row(c).data() + k * width;
            const double from = call.input_lower[0](r, p * conv.channels + c),
                         to = call.input_upper[0](r, p * conv.channels + c);
            for (std::size_t f = 0; f < width; ++f) {
              const std::size_t i = at + group * width + f;
              low[i] += std::min(w[f] * from, w[f] * to);
              high[i] += std::max(w[f] * from, w[f] * to);
              magnitude[i] += std::max(std::abs(w[f] * from), std::abs(w[f] * to));
            }
          }
        });
      }
      constexpr float infinity = std::numeric_limits<float>::infinity();
      for (std::size_t i = 0; i < size; ++i) {
        const double slack = rounding * magnitude[i] + std::numeric_limits<float>::min();
        call.output_lower(r, i) = std::nextafter(static_cast<float>(low[i] - slack), -infinity);
        call.output_upper(r, i) = std::nextafter(static_cast<float>(high[i] + slack), infinity);
      }
    }
  }

 private:
  static void forward_row(const ConvTranspose& conv, const OpForward& call, const float* image, float* out,
                          float* patches) {
    const float* const bias = call.parameters[1].data();
    const std::size_t pixels = conv.window.height * conv.window.width;
    for (std::size_t p = 0; p < pixels; ++p) std::copy_n(bias, conv.filters(), out + p * conv.filters());
    for (std::size_t first = 0; first < conv.window.places(); first += tile) {
      const std::size_t count = std::min(tile, conv.window.places() - first);
      for (std::size_t g = 0; g < conv.groups; ++g) {
        kernels::matmul(conv.pixels(image, g, first, count), conv.weight(call.parameters[0].data(), g),
                        {patches, count, conv.patch()}, {.precision = call.products(), .arena = &serial_arena()});
        conv.scatter(patches, g, first, count, out);
      }
    }
  }
};

}  // namespace

const Op& conv_transpose2d_op() noexcept {
  static const ConvTranspose2d op;
  return op;
}

}  // namespace redoubt::detail
