#pragma once
#include <span>

namespace redoubt::kernels {

/// One step of Adam (Kingma & Ba, arXiv:1412.6980) with what depends on the step already worked out:
///   slope = factor * g + coupled * w
///   m = first_keep * m + first_add * slope,   v = second_keep * v + second_add * slope^2
///   w = keep * w - rate * m / (sqrt(v) + epsilon)
/// Moments smaller than 1e-30 in size become 0: subnormal numbers cost a hundred times more.
struct AdamStep {
  float factor = 1;                                 ///< of the gradient: clipping, accumulation
  float coupled = 0;                                ///< l2 penalty, added to the slope
  float keep = 1;                                   ///< 1 - rate * decay of AdamW
  float first_keep = 0.9f, first_add = 0.1f;        ///< beta1, 1 - beta1
  float second_keep = 0.999f, second_add = 0.001f;  ///< beta2, 1 - beta2
  float rate = 0.001f;                              ///< learning rate, bias correction included
  float epsilon = 1e-8f;                            ///< the same
};

/// Updates w, m and v in place; all four must have equal lengths (the shortest counts). noexcept, no allocation, on the
/// calling thread. Square root and quotient are correctly rounded; the sums are fused above baseline. Every element is
/// computed alone, and the same at every level above baseline.
void adam(const AdamStep& step, std::span<float> w, std::span<const float> g, std::span<float> m,
          std::span<float> v) noexcept;

/// The reference: a plain loop, same signature.
namespace naive {
void adam(const AdamStep& step, std::span<float> w, std::span<const float> g, std::span<float> m,
          std::span<float> v) noexcept;
}  // namespace naive

}  // namespace redoubt::kernels
