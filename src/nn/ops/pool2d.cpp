// max_pool2d, average_pool2d. Global pools are the reductions reduce_max and reduce_mean over axes 0 and 1.
#include <limits>
#include <utility>

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"
#include "nn/ops/spatial.hpp"
#include "redoubt/kernels/packed.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "kernel_height", .fallback = 2, .low = 1, .high = 64, .whole = true},
                                          {.name = "kernel_width", .fallback = 2, .low = 1, .high = 64, .whole = true},
                                          {.name = "stride", .fallback = 2, .low = 1, .high = 64, .whole = true},
                                          {.name = "pad", .fallback = 0, .low = 0, .high = 63, .whole = true}};

class Pool2d : public Op {
 public:
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double> attributes) const override {
    const Window w = make(inputs[0], attributes);
    if (w.pad >= w.kernel_height || w.pad >= w.kernel_width) {
      fail(errc::invalid_argument, fmt::format("{}: padding {} is not less than the window of {} x {}", name(), w.pad,
                                               w.kernel_height, w.kernel_width));
    }
    return {static_cast<std::uint32_t>(w.out_height), static_cast<std::uint32_t>(w.out_width), inputs[0][2]};
  }
  void forward(const OpForward& call) const override {
    rows_in_blocks(call.output.rows(), call.inputs[0].cols(), call.arena, [&](std::size_t begin, std::size_t end) {
      pool(call, call.inputs[0].slice(begin, end), call.output.slice(begin, end));
    });
  }
  // Monotone in every value, in the same order of operations: the ends of the box give the ends of the output.
  void bounds(const OpBounds& call) const override {
    pool(call, call.input_lower[0], call.output_lower);
    pool(call, call.input_upper[0], call.output_upper);
  }
  bool monotone() const noexcept override { return true; }
  bool assigns_gradients() const noexcept override { return true; }

 protected:
  Window make(const OpShape& input, std::span<const double> a) const {
    const auto whole = [&](std::size_t i) { return static_cast<std::size_t>(a[i]); };
    return sliding_window(name(), input, whole(0), whole(1), whole(2), whole(3), 1);
  }
  virtual void pool(const OpContext& call, MatrixView<const float> src, MatrixView<float> dst) const = 0;
};

/// The largest value of each window and channel; padding never wins. Of equal values the first gets the gradient.
class MaxPool2d final : public Pool2d {
 public:
  std::string_view name() const noexcept override { return "max_pool2d"; }
  std::string_view onnx_name() const noexcept override { return "MaxPool"; }
  bool masks_relu() const noexcept override { return true; }
  void backward(const OpBackward& call) const override {
    const auto to = call.input_gradients[0];
    if (!to.data()) return;
    const Window w = make(call.shapes[0], call.attributes);
    rows_in_blocks(to.rows(), to.cols(), call.arena, [&](std::size_t begin, std::size_t end) {
      for (std::size_t r = begin; r < end; ++r) {
        const bool assign = call.is_fresh(0) && w.tiles();
        if (!assign) clear_if_fresh(call, 0, r);
        const float* const x = call.inputs[0].row(r).data();
        const float *const y = call.output.row(r).data(), *const from = call.output_gradient.row(r).data();
        if (w.pad > 0) {
          backward_padded(w, x, y, from, call.relu, to.row(r).data());
          continue;
        }
        for (std::size_t p = 0; p < w.out_height; ++p) {
          const std::size_t in = p * w.stride * w.width * w.channels, out = p * w.out_width * w.channels;
          kernels::max_pool_backward(x + in, y + out, from + out, w.width * w.channels, w.stride * w.channels,
                                     w.kernel_height, w.kernel_width, w.channels, w.out_width, call.relu, !assign,
                                     to.row(r).data() + in);
        }
      }
    });
  }

 private:
  static void backward_padded(const Window& w, const float* x, const float* y, const float* from, bool relu,
                              float* to) {
    for (std::size_t p = 0; p < w.places(); ++p, y += w.channels, from += w.channels) {
      for (std::size_t c = 0; c < w.channels; ++c) {
        float rest = !relu || y[c] > 0 ? from[c] : 0.0f;
        w.taps(p, [&](std::size_t, std::size_t at) {
          if (x[at + c] == y[c]) to[at + c] += std::exchange(rest, 0.0f);
        });
      }
    }
  }
  void pool(const OpContext& call, MatrixView<const float> src, MatrixView<float> dst) const override {
    const Window w = make(call.shapes[0], call.attributes);
    for (std::size_t r = 0; r < dst.rows(); ++r) {
      const float* const x = src.row(r).data();
      for (std::size_t p = 0; w.pad == 0 && p < w.out_height; ++p) {
        kernels::max_pool(x + p * w.stride * w.width * w.channels, w.width * w.channels, w.stride * w.channels,
                          w.kernel_height, w.kernel_width, w.channels, w.out_width,
                          dst.row(r).data() + p * w.out_width * w.channels);
      }
      for (std::size_t p = 0; w.pad > 0 && p < w.places(); ++p) {
        float* const y = dst.row(r).data() + p * w.channels;
        std::fill_n(y, w.channels, -std::numeric_limits<float>::infinity());
        w.taps(p, [&](std::size_t, std::size_t at) {
          for (std::size_t c = 0; c < w.channels; ++c) y[c] = std::max(y[c], x[at + c]);
        });
      }
    }
  }
};

/// The mean of each window and channel over the values inside the image: padding does not count
/// (count_include_pad = 0).
class AveragePool2d final : public Pool2d {
 public:
  std::string_view name() const noexcept override { return "average_pool2d"; }
  std::string_view onnx_name() const noexcept override { return "AveragePool"; }
  std::size_t affine_terms(std::span<const OpShape>, std::span<const double> attributes) const override {
    return static_cast<std::size_t>(attributes[0] * attributes[1]) + 2;
  }
  void backward(const OpBackward& call) const override {
    const auto to = call.input_gradients[0];
    if (!to.data()) return;
    const Window w = make(call.shapes[0], call.attributes);
    for (std::size_t r = 0; r < to.rows(); ++r) {
      const auto from = call.output_gradient.row(r);
      clear_if_fresh(call, 0, r);
      for (std::size_t p = 0; p < w.places(); ++p) {
        const float share = 1.0f / count(w, p);
        w.taps(p, [&](std::size_t, std::size_t at) {
          for (std::size_t c = 0; c < w.channels; ++c) to(r, at + c) += share * from[p * w.channels + c];
        });
      }
    }
  }

 private:
  static float count(const Window& w, std::size_t place) {
    float taps = 0;
    w.taps(place, [&](std::size_t, std::size_t) { ++taps; });
    return taps;
  }
  void pool(const OpContext& call, MatrixView<const float> src, MatrixView<float> dst) const override {
    const Window w = make(call.shapes[0], call.attributes);
    for (std::size_t r = 0; r < dst.rows(); ++r) {
      const float* const x = src.row(r).data();
      for (std::size_t p = 0; p < w.places(); ++p) {
        float* const y = dst.row(r).data() + p * w.channels;
        std::fill_n(y, w.channels, 0.0f);
        w.taps(p, [&](std::size_t, std::size_t at) {
          for (std::size_t c = 0; c < w.channels; ++c) y[c] += x[at + c];
        });
        const float share = 1.0f / count(w, p);
        for (std::size_t c = 0; c < w.channels; ++c) y[c] *= share;
      }
    }
  }
};

}  // namespace

const Op& max_pool2d_op() noexcept {
  static const MaxPool2d op;
  return op;
}

const Op& average_pool2d_op() noexcept {
  static const AveragePool2d op;
  return op;
}

}  // namespace redoubt::detail
