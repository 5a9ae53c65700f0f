#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "nn/ops/op_table.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "epsilon", .fallback = 1e-5, .low = 1e-12, .high = 1},
                                          {.name = "momentum", .fallback = 0.1, .low = 0, .high = 1}};

/// y = scale * (x - mean) / sqrt(variance + epsilon) + shift per channel, the last axis (Ioffe & Szegedy,
/// arXiv:1502.03167). In training, mean and variance are those of the batch over all rows and places; afterwards the
/// running ones, which move by `momentum` towards each batch (the variance towards its unbiased estimate).
class BatchNorm final : public Op {
 public:
  std::string_view name() const noexcept override { return "batch_norm"; }
  std::string_view onnx_name() const noexcept override { return "BatchNormalization"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double>) const override { return inputs[0]; }
  std::vector<OpParameter> parameters(std::span<const OpShape> inputs, std::span<const double>) const override {
    const std::size_t channels = inputs[0].back();
    return {{.name = "scale", .shape = {channels}},
            {.name = "shift", .shape = {channels}},
            {.name = "mean", .shape = {channels}, .state = true},
            {.name = "variance", .shape = {channels}, .state = true}};
  }
  void initialise(std::span<const MatrixView<float>> parameters, Random&) const override {
    std::fill_n(parameters[0].data(), parameters[0].cols(), 1.0f);
    std::fill_n(parameters[3].data(), parameters[3].cols(), 1.0f);
  }
  void forward(const OpForward& call) const override {
    const std::size_t channels = call.shapes[0].back();
    for (std::size_t c = 0; c < channels; ++c) {
      const Moments m = moments(call, call.inputs[0], c);
      for (std::size_t r = 0; r < call.output.rows(); ++r) {
        for (std::size_t i = c; i < call.output.cols(); i += channels) {
          call.output(r, i) = value(call, m, c, call.inputs[0](r, i));
        }
      }
    }
  }
  void backward(const OpBackward& call) const override {
    const std::size_t channels = call.shapes[0].back(), rows = call.output_gradient.rows();
    const std::size_t size = call.output_gradient.cols();
    const double count = static_cast<double>(rows * (size / channels));
    for (std::size_t c = 0; c < channels; ++c) {
      const Moments m = moments(call, call.inputs[0], c);
      double sum = 0, projected = 0;
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t i = c; i < size; i += channels) {
          sum += call.output_gradient(r, i);
          projected += call.output_gradient(r, i) * ((call.inputs[0](r, i) - m.mean) * m.inverse);
        }
      }
      if (call.parameter_gradients[0].data()) call.parameter_gradients[0](0, c) += static_cast<float>(projected);
      if (call.parameter_gradients[1].data()) call.parameter_gradients[1](0, c) += static_cast<float>(sum);
      if (!call.input_gradients[0].data()) continue;
      const double factor = call.parameters[0](0, c) * m.inverse;
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t i = c; i < size; i += channels) {
          double slope = call.output_gradient(r, i);
          if (call.training) {  // the moments depend on every value of the batch
            slope -= (sum + projected * ((call.inputs[0](r, i) - m.mean) * m.inverse)) / count;
          }
          call.input_gradients[0](r, i) += static_cast<float>(factor * slope);
        }
      }
    }
  }
  void update_state(const OpForward& call, std::span<const MatrixView<float>> state) const override {
    const std::size_t channels = call.shapes[0].back();
    const double count = static_cast<double>(call.inputs[0].rows() * (call.inputs[0].cols() / channels));
    const double momentum = call.attributes[1];
    for (std::size_t c = 0; c < channels; ++c) {
      const Moments m = moments(call, call.inputs[0], c);
      const double unbiased = m.variance * count / std::max(count - 1, 1.0);
      state[2](0, c) = static_cast<float>((1 - momentum) * state[2](0, c) + momentum * m.mean);
      state[3](0, c) = static_cast<float>((1 - momentum) * state[3](0, c) + momentum * unbiased);
    }
  }
  // Every step of `value` is monotone, rounding included, and the sign of the scale says which way.
  void bounds(const OpBounds& call) const override {
    const std::size_t channels = call.shapes[0].back();
    for (std::size_t c = 0; c < channels; ++c) {
      const Moments m = moments(call, call.input_lower[0], c);
      for (std::size_t r = 0; r < call.output_lower.rows(); ++r) {
        for (std::size_t i = c; i < call.output_lower.cols(); i += channels) {
          const float a = value(call, m, c, call.input_lower[0](r, i)),
                      b = value(call, m, c, call.input_upper[0](r, i));
          call.output_lower(r, i) = std::min(a, b);
          call.output_upper(r, i) = std::max(a, b);
        }
      }
    }
  }
  std::size_t affine_terms(std::span<const OpShape>, std::span<const double>) const override { return 2; }

 private:
  struct Moments {
    double mean, variance, inverse;
  };
  static Moments moments(const OpContext& call, MatrixView<const float> x, std::size_t c) {
    double mean = call.parameters[2](0, c), variance = std::max(call.parameters[3](0, c), 0.0f);
    if (call.training) {
      const std::size_t channels = call.shapes[0].back();
      const double count = static_cast<double>(x.rows() * (x.cols() / channels));
      mean = variance = 0;
      for (std::size_t r = 0; r < x.rows(); ++r) {
        for (std::size_t i = c; i < x.cols(); i += channels) mean += x(r, i);
      }
      mean /= count;
      for (std::size_t r = 0; r < x.rows(); ++r) {
        for (std::size_t i = c; i < x.cols(); i += channels) variance += (x(r, i) - mean) * (x(r, i) - mean);
      }
      variance /= count;
    }
    return {mean, variance, 1.0 / std::sqrt(variance + call.attributes[0])};
  }
  static float value(const OpContext& call, const Moments& m, std::size_t c, float x) {
    return static_cast<float>(call.parameters[0](0, c) * ((x - m.mean) * m.inverse) + call.parameters[1](0, c));
  }
};

}  // namespace

const Op& batch_norm_op() noexcept {
  static const BatchNorm op;
  return op;
}

}  // namespace redoubt::detail
