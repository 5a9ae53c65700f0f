#include <array>
#include <cmath>
#include <vector>

#include "kernels/conv.hpp"
#include "kernels/depthwise.hpp"
#include "nn/ops/op_table.hpp"
#include "nn/ops/spatial.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/kernels/interval.hpp"
#include "redoubt/kernels/matmul.hpp"
#include "redoubt/kernels/packed.hpp"
#include "redoubt/kernels/vector.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "filters", .fallback = 1, .low = 1, .high = 65536, .whole = true},
                                          {.name = "kernel_height", .fallback = 3, .low = 1, .high = 64, .whole = true},
                                          {.name = "kernel_width", .fallback = 3, .low = 1, .high = 64, .whole = true},
                                          {.name = "stride", .fallback = 1, .low = 1, .high = 64, .whole = true},
                                          {.name = "pad", .fallback = 0, .low = 0, .high = 64, .whole = true},
                                          {.name = "dilation", .fallback = 1, .low = 1, .high = 64, .whole = true},
                                          {.name = "groups", .fallback = 1, .low = 1, .high = 65536, .whole = true}};

/// Places whose patches are gathered at once: a tile of patches stays in cache, and a product of so few rows reads the
/// weights in place. The full matrix of patches never exists.
constexpr std::size_t tile = 32;
/// Backward, longer products pay: places at once where there is room, and images of a task.
constexpr std::size_t large_tile = 224, image_block = 8;

struct Conv {
  Window window;
  std::size_t filters, groups;

  std::size_t group_channels() const { return window.channels / groups; }
  std::size_t group_filters() const { return filters / groups; }
  std::size_t depth() const { return window.kernel_height * window.kernel_width * group_channels(); }
  bool depthwise() const { return groups > 1 && group_channels() == 1 && group_filters() == 1; }

  /// Calls segment(offset in the patch, offset in the image, floats) for the runs of a patch that lie inside the image:
  /// with one group and no dilation, neighbouring taps are neighbours in both.
  template <class Segment>
  void segments(std::size_t place, Segment segment) const {
    const Window& w = window;
    const std::size_t top = place / w.out_width * w.stride, left = place % w.out_width * w.stride;
    if (left >= w.width + w.pad) return;
    const std::size_t skip = left < w.pad ? w.pad - left : 0;
    const std::size_t end = std::min(w.kernel_width, w.width + w.pad - left);
    if (skip >= end) return;
    for (std::size_t ky = 0; ky < w.kernel_height; ++ky) {
      const std::size_t y = top + ky - w.pad;  // wraps around when negative
      if (y >= w.height) continue;
      segment((ky * w.kernel_width + skip) * w.channels, (y * w.width + left + skip - w.pad) * w.channels,
              (end - skip) * w.channels);
    }
  }
  kernels::detail::ConvShape shape() const {
    const Window& w = window;
    return {w.height, w.width, w.channels, filters,      w.kernel_height, w.kernel_width,
            w.stride, w.pad,   w.dilation, w.out_height, w.out_width};
  }
  bool plain() const { return groups == 1 && window.dilation == 1; }
  /// Whether products read patches where they lie in the padded image; narrower lines would be short products.
  bool in_place() const { return plain() && window.out_width >= 4; }
  std::size_t padded_width() const { return (window.width + 2 * window.pad) * window.channels; }
  std::size_t padded_size() const { return window.pad > 0 ? (window.height + 2 * window.pad) * padded_width() : 0; }
  /// The image with its margin of zeros, at `to` if it has one.
  const float* padded(const float* image, float* to) const {
    const Window& w = window;
    if (w.pad == 0) return image;
    const std::size_t row = padded_width(), margin = w.pad * w.channels, inside = w.width * w.channels;
    const float* const start = to;
    to = std::fill_n(to, w.pad * row + margin, 0.0f);
    for (std::size_t y = 0; y < w.height; ++y)
      to = std::fill_n(std::copy_n(image + y * inside, inside, to), 2 * margin, 0.0f);
    std::fill_n(to, w.pad * row - margin, 0.0f);
    return start;
  }

  void gather(const float* image, std::size_t group, std::size_t first, std::size_t count, float* patches) const {
    const std::size_t width = group_channels();
    if (plain()) {
      for (std::size_t p = 0; p < count; ++p) {
        float* const to = patches + p * depth();
        std::size_t filled = 0;
        segments(first + p, [&](std::size_t at, std::size_t from, std::size_t floats) {
          std::fill(to + filled, to + at, 0.0f);
          std::copy_n(image + from, floats, to + at);
          filled = at + floats;
        });
        std::fill(to + filled, to + depth(), 0.0f);
      }
      return;
    }
    for (std::size_t p = 0; p < count; ++p) {
      float* const to = patches + p * depth();
      std::fill_n(to, depth(), 0.0f);
      window.taps(first + p, [&](std::size_t k, std::size_t at) {
        std::copy_n(image + at + group * width, width, to + k * width);
      });
    }
  }
  void scatter(const float* patches, std::size_t group, std::size_t first, std::size_t count, float* image) const {
    const std::size_t width = group_channels();
    if (plain()) {
      for (std::size_t p = 0; p < count; ++p) {
        const float* const from = patches + p * depth();
        segments(first + p, [&](std::size_t at, std::size_t pixel, std::size_t floats) {
          kernels::add_rows({from + at, 1, floats}, {image + pixel, floats});
        });
      }
      return;
    }
    for (std::size_t p = 0; p < count; ++p) {
      const float* const from = patches + p * depth();
      window.taps(first + p, [&](std::size_t k, std::size_t at) {
        float* const to = image + at + group * width;
        for (std::size_t c = 0; c < width; ++c) to[c] += from[k * width + c];
      });
    }
  }
  /// Columns of a group in a matrix of `filters` columns.
  template <class T>
  MatrixView<T> columns(T* data, std::size_t rows, std::size_t group) const {
    return {data + group * group_filters(), rows, group_filters(), filters};
  }
};

Conv make(const OpShape& input, std::span<const double> a) {
  const auto whole = [&](std::size_t i) { return static_cast<std::size_t>(a[i]); };
  Conv conv{sliding_window("conv2d", input, whole(1), whole(2), whole(3), whole(4), whole(5)), whole(0), whole(6)};
  if (conv.window.channels % conv.groups != 0 || conv.filters % conv.groups != 0) {
    fail(errc::shape_mismatch, fmt::format("conv2d: {} groups divide neither or only one of {} channels and {} filters",
                                           conv.groups, conv.window.channels, conv.filters));
  }
  return conv;
}

/// Cross-correlation of an image (height x width x channels) with `filters` kernels: out_height x out_width x filters.
/// weight is (kernel_height * kernel_width * channels / groups) x filters, in that order. Padding is zero, equal on all
/// sides. With groups = channels = filters, depthwise. An implicit matrix product over tiles of patches.
class Conv2d final : public Op {
 public:
  std::string_view name() const noexcept override { return "conv2d"; }
  std::string_view onnx_name() const noexcept override { return "Conv"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    const Conv conv = make(inputs[0], attributes);
    return {static_cast<std::uint32_t>(conv.window.out_height), static_cast<std::uint32_t>(conv.window.out_width),
            static_cast<std::uint32_t>(conv.filters)};
  }
  std::vector<OpParameter> parameters(std::span<const OpShape> inputs,
                                      std::span<const double> attributes) const override {
    const Conv conv = make(inputs[0], attributes);
    return {{.name = "weight",
             .shape = {conv.depth(), conv.filters},
             .decay = true,
             .fan_out = conv.window.kernel_height * conv.window.kernel_width * conv.group_filters()},
            {.name = "bias", .shape = {conv.filters}}};
  }
  // He et al. (arXiv:1502.01852): variance 2 / inputs of a filter.
  void initialise(std::span<const MatrixView<float>> parameters, Random& random) const override {
    const double deviation = std::sqrt(2.0 / static_cast<double>(parameters[0].rows()));
    for (std::size_t r = 0; r < parameters[0].rows(); ++r) {
      for (float& w : parameters[0].row(r)) w = static_cast<float>(deviation * random.normal());
    }
  }
  std::size_t scratch(std::span<const OpShape> inputs, std::span<const double> attributes,
                      bool backward) const override {
    const Conv conv = make(inputs[0], attributes);
    if (conv.depthwise()) return 0;
    return backward ? 2 * tile * conv.depth() + sums(conv) : std::max(tile * conv.depth(), conv.padded_size());
  }

  void forward(const OpForward& call) const override {
    const Conv conv = make(call.shapes[0], call.attributes);
    if (rounded(conv, call) && kernels::detail::rounded_conv(conv.shape(), call.inputs[0], call.parameters[0].data(),
                                                             call.parameters[1].data(), call.relu, call.output,
                                                             {call.products(), call.arena, call.finished})) {
      return;
    }
    const std::size_t need = scratch(call.shapes, call.attributes, false);
    const auto rows = [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        forward_row(conv, call, call.inputs[0].row(r).data(), call.output.row(r).data(),
                    call.scratch.data() + r * need);
        if (call.finished) (*call.finished)(r, r + 1);
      }
    };
    if (call.output.rows() == 1) return rows(0, 1);
    parallel_for(call.output.rows(), 1, rows, call.arena);
  }
  bool assigns_gradients() const noexcept override { return true; }
  bool leads() const noexcept override { return true; }
  void backward(const OpBackward& call) const override {
    const Conv conv = make(call.shapes[0], call.attributes);
    if (conv.depthwise()) return backward_depthwise(conv, call);
    if (rounded(conv, call) && kernels::detail::rounded_conv_backward(
                                   conv.shape(), call.inputs[0], call.parameters[0].data(), call.output_gradient,
                                   {.images = call.input_gradients[0],
                                    .assign_images = call.is_fresh(0),
                                    .weights = call.parameter_gradients[0].data(),
                                    .bias = call.parameter_gradients[1].data()},
                                   {call.products(), call.arena, nullptr, call.slopes})) {
      return;
    }
    const std::size_t rows = call.output_gradient.rows();
    const std::size_t need = scratch(call.shapes, call.attributes, true), own = sums(conv);
    if (own == 0 || rows <= image_block) {
      return backward_rows(conv, call, 0, rows, call.scratch.first(rows * need), call.parameter_gradients, call.arena);
    }
    // Blocks of images sum into matrices of their own, which are added in order: the same bits on any threads.
    const bool weights = call.parameter_gradients[0].data(), biases = call.parameter_gradients[1].data();
    parallel_for(
        rows, image_block,
        [&](std::size_t begin, std::size_t end) {
          float* const sum = call.scratch.data() + begin * need;
          std::fill_n(sum, own, 0.0f);
          const MatrixView<float> part[2] = {
              weights ? MatrixView<float>{sum, conv.depth(), conv.filters} : MatrixView<float>{},
              biases ? MatrixView<float>{sum + own - conv.filters, 1, conv.filters} : MatrixView<float>{}};
          backward_rows(conv, call, begin, end, call.scratch.subspan(begin * need + own, (end - begin) * need - own),
                        part, &serial_arena());
        },
        call.arena);
    for (std::size_t begin = 0; begin < rows; begin += image_block) {
      const float* const sum = call.scratch.data() + begin * need;
      if (weights) add(sum, own - conv.filters, call.parameter_gradients[0].data());
      if (biases) add(sum + own - conv.filters, conv.filters, call.parameter_gradients[1].data());
    }
  }
  void bounds(const OpBounds& call) const override {
    const Conv conv = make(call.shapes[0], call.attributes);
    std::vector<float> low(tile * conv.depth()), high(low.size());
    for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
      for (std::size_t first = 0; first < conv.window.places(); first += tile) {
        const std::size_t count = std::min(tile, conv.window.places() - first);
        for (std::size_t g = 0; g < conv.groups; ++g) {
          conv.gather(call.input_lower[0].row(r).data(), g, first, count, low.data());
          conv.gather(call.input_upper[0].row(r).data(), g, first, count, high.data());
          kernels::affine_bounds({low.data(), count, conv.depth()}, {high.data(), count, conv.depth()},
                                 conv.columns(call.parameters[0].data(), conv.depth(), g),
                                 call.parameters[1].data() + g * conv.group_filters(),
                                 conv.columns(call.output_lower.row(r).data() + first * conv.filters, count, g),
                                 conv.columns(call.output_upper.row(r).data() + first * conv.filters, count, g),
                                 call.arena);
        }
      }
    }
  }

  std::size_t affine_terms(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    const Conv conv = make(inputs[0], attributes);
    const std::size_t taps = conv.window.kernel_height * conv.window.kernel_width;
    return std::max(conv.depth(), taps * conv.group_filters()) + taps + 1;
  }

 private:
  static bool rounded(const Conv& conv, const OpContext& call) {
    return conv.groups == 1 && call.products() != kernels::ProductPrecision::fp32;
  }
  static const float* slopes_of(const OpBackward& call, std::size_t row) {
    return call.slopes ? (*call.slopes)(row, nullptr) : call.output_gradient.row(row).data();
  }
  /// Floats of the sums of a block of images; 0: no blocks, because the weights are large enough for products that are
  /// parallel inside.
  static std::size_t sums(const Conv& conv) {
    const std::size_t size = (conv.depth() + 1) * conv.filters;
    return size <= 65536 ? size : 0;
  }
  static void add(const float* from, std::size_t count, float* to) { kernels::add_rows({from, 1, count}, {to, count}); }
  /// Images [begin, end), with as many places at once as there is room for; bits do not depend on that number.
  static void backward_rows(const Conv& conv, const OpBackward& call, std::size_t begin, std::size_t end,
                            std::span<float> scratch, std::span<const MatrixView<float>> sums, Arena* arena) {
    const std::size_t most = std::min(scratch.size() / (2 * conv.depth()), large_tile);
    float* const patches = scratch.data();
    float* const slopes = patches + most * conv.depth();
    for (std::size_t r = begin; r < end; ++r) {
      const float* const from = slopes_of(call, r);
      clear_if_fresh(call, 0, r);
      for (std::size_t first = 0; first < conv.window.places(); first += most) {
        const std::size_t count = std::min(most, conv.window.places() - first);
        for (std::size_t g = 0; g < conv.groups; ++g) {
          const auto gradient = conv.columns(from + first * conv.filters, count, g);
          if (sums[0].data()) {
            conv.gather(call.inputs[0].row(r).data(), g, first, count, patches);
            kernels::matmul_tn({patches, count, conv.depth()}, gradient, conv.columns(sums[0].data(), conv.depth(), g),
                               {.accumulate = true, .precision = call.products(), .arena = arena});
          }
          if (call.input_gradients[0].data()) {
            kernels::matmul_nt(gradient, conv.columns(call.parameters[0].data(), conv.depth(), g),
                               {slopes, count, conv.depth()}, {.precision = call.products(), .arena = arena});
            conv.scatter(slopes, g, first, count, call.input_gradients[0].row(r).data());
          }
        }
      }
      add_bias_gradient(conv, from, sums[1].data());
    }
  }
  static void forward_row(const Conv& conv, const OpForward& call, const float* image, float* out, float* patches) {
    const kernels::Activation activation = call.relu ? kernels::Activation::relu : kernels::Activation::none;
    if (conv.depthwise()) {
      const Window& w = conv.window;
      return kernels::depthwise({w.height, w.width, w.channels, w.kernel_height, w.kernel_width, w.stride, w.pad,
                                 w.dilation, w.out_height, w.out_width},
                                image, call.parameters[0].data(), call.parameters[1].data(), activation, out, 0,
                                w.out_height);
    }
    if (conv.in_place() && call.products() == kernels::ProductPrecision::fp32) {
      const Window& w = conv.window;
      const float* const from = conv.padded(image, patches);
      const std::size_t line = conv.padded_width();
      for (std::size_t y = 0; y < w.out_height; ++y) {
        kernels::patch_matmul({.data = from + y * w.stride * line,
                               .rows = w.out_width,
                               .row = w.stride * w.channels,
                               .segment = w.kernel_width * w.channels,
                               .segments = w.kernel_height,
                               .segment_row = line},
                              call.parameters[0], {out + y * w.out_width * conv.filters, w.out_width, conv.filters},
                              {.bias = call.parameters[1].data(), .activation = activation});
      }
      return;
    }
    for (std::size_t first = 0; first < conv.window.places(); first += tile) {
      const std::size_t count = std::min(tile, conv.window.places() - first);
      for (std::size_t g = 0; g < conv.groups; ++g) {
        conv.gather(image, g, first, count, patches);
        kernels::matmul(
            {patches, count, conv.depth()}, conv.columns(call.parameters[0].data(), conv.depth(), g),
            conv.columns(out + first * conv.filters, count, g),
            {.epilogue = {.bias = call.parameters[1].data() + g * conv.group_filters(), .activation = activation},
             .precision = call.products(),
             .arena = &serial_arena()});
      }
    }
  }
  static void backward_depthwise(const Conv& conv, const OpBackward& call) {
    float* const to_weight = call.parameter_gradients[0].data();
    const bool want_input = call.input_gradients[0].data() != nullptr;
    for (std::size_t r = 0; r < call.output_gradient.rows(); ++r) {
      const float* const image = call.inputs[0].row(r).data();
      const float* const gradient = slopes_of(call, r);
      clear_if_fresh(call, 0, r);
      for (std::size_t p = 0; p < conv.window.places(); ++p) {
        const float* const from = gradient + p * conv.filters;
        conv.window.taps(p, [&](std::size_t k, std::size_t at) {
          const float *w = call.parameters[0].data() + k * conv.filters, *x = image + at;
          if (to_weight) {
            for (std::size_t c = 0; c < conv.filters; ++c) to_weight[k * conv.filters + c] += x[c] * from[c];
          }
          if (want_input) {
            float* const to = call.input_gradients[0].row(r).data() + at;
            for (std::size_t c = 0; c < conv.filters; ++c) to[c] += w[c] * from[c];
          }
        });
      }
      add_bias_gradient(conv, gradient, call.parameter_gradients[1].data());
    }
  }
  static void add_bias_gradient(const Conv& conv, const float* from, float* to) {
    if (!to) return;
    kernels::add_rows({from, conv.window.places(), conv.filters}, {to, conv.filters});
  }
};

}  // namespace

const Op& conv2d_op() noexcept {
  static const Conv2d op;
  return op;
}

}  // namespace redoubt::detail
