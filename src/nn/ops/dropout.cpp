#include <algorithm>
#include <array>
#include <cstdint>

#include "nn/ops/elementwise.hpp"
#include "nn/ops/op_table.hpp"
#include "redoubt/core/random.hpp"

namespace redoubt::detail {
namespace {

constexpr OpAttribute attribute_list[] = {{.name = "rate", .fallback = 0.5, .low = 0, .high = 0.99}};

/// In training a value is zeroed with probability `rate` and else divided by 1 - rate (Srivastava et al., JMLR 15,
/// 2014); otherwise nothing happens. The mask is a pure function of seed, step, node and position.
class Dropout final : public Op {
 public:
  std::string_view name() const noexcept override { return "dropout"; }
  std::string_view onnx_name() const noexcept override { return "Dropout"; }
  std::span<const OpAttribute> attributes() const noexcept override { return attribute_list; }
  OpShape infer(std::span<const OpShape> inputs, std::span<const double>) const override { return inputs[0]; }

  void forward(const OpForward& call) const override {
    for (std::size_t r = 0; r < call.output.rows(); ++r) {
      const auto src = call.inputs[0].row(r);
      const auto dst = call.output.row(r);
      for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = src[i];
    }
    if (call.training) {
      for_each_factor(call, call.output.rows(), call.output.cols(),
                      [&](std::size_t r, std::size_t i, float factor) { call.output(r, i) *= factor; });
    }
  }
  void backward(const OpBackward& call) const override {
    const auto gradient = call.input_gradients[0];
    if (!gradient.data()) return;
    const auto add = [&](std::size_t r, std::size_t i, float factor) {
      gradient(r, i) += factor * call.output_gradient(r, i);
    };
    if (call.training) {
      for_each_factor(call, gradient.rows(), gradient.cols(), add);
    } else {
      elementwise_backward(call, [](float, float) { return 1.0f; });
    }
  }
  void bounds(const OpBounds& call) const override {
    monotone_bounds(call, 0.0f, [](std::span<const float> src, std::span<float> dst) {
      for (std::size_t i = 0; i < dst.size(); ++i) dst[i] = src[i];
    });
  }
  std::size_t affine_terms(std::span<const OpShape>, std::span<const double>) const override { return 1; }
  bool monotone() const noexcept override { return true; }
  std::string source(const OpSource& call) const override { return elementwise_source(call, "x"); }

 private:
  template <class Apply>
  static void for_each_factor(const OpContext& call, std::size_t rows, std::size_t cols, Apply apply) {
    const double rate = call.attributes[0];
    const auto limit = static_cast<std::uint64_t>(rate * 4294967296.0);  // draws below it are dropped
    const auto kept = static_cast<float>(1.0 / (1.0 - rate));
    const std::uint64_t seed = call.training->seed, step = call.training->step;
    const std::array<std::uint32_t, 2> key{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)};
    const std::size_t count = rows * cols;
    for (std::size_t first = 0; first < count; first += 4) {
      const auto draws =
          philox4x32({static_cast<std::uint32_t>(first / 4), call.node, static_cast<std::uint32_t>(step),
                      static_cast<std::uint32_t>(step >> 32) ^ 0xd20b0u},  // apart from the streams of Random
                     key);
      for (std::size_t i = first; i < std::min(first + 4, count); ++i) {
        apply(i / cols, i % cols, draws[i - first] < limit ? 0.0f : kept);
      }
    }
  }
};

}  // namespace

const Op& dropout_op() noexcept {
  static const Dropout op;
  return op;
}

}  // namespace redoubt::detail
