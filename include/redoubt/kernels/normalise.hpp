#pragma once
#include <span>

namespace redoubt::kernels {

// Layer normalisation (Ba et al., arXiv:1607.06450) of contiguous fp32 vectors: z = (x - mean) / sqrt(variance +
// epsilon). All are noexcept, allocate nothing, run on the calling thread and need no alignment; vectors of one call
// have equal lengths (x's counts). The order of additions is fixed per instruction-set level and length. u = 2^-24.

/// The mean as the sum of two floats, so that differences from it are right to a rounding also far from zero.
struct Moments {
  float mean_high = 0, mean_low = 0;
  float inverse_deviation = 0;  ///< 1 / sqrt(variance + epsilon); the variance is that of the population
};

/// Of at least one value, with sums in double precision: relative error of the inverse deviation <= 3u plus
/// 2^-46 * |mean| / deviation.
Moments moments(std::span<const float> x, double epsilon) noexcept;

/// dst = scale * z + shift. |error| <= 8u * |scale z| + u * |dst| + 2^-46 * |mean scale| * inverse_deviation per
/// element. `dst` may be `x`.
void normalise(std::span<const float> x, const Moments& moments, std::span<const float> scale,
               std::span<const float> shift, std::span<float> dst) noexcept;

/// The gradient in x of a loss whose gradient in the normalised vector is `from`: dst = inverse_deviation * (g - mean
/// of g - z * mean of g z) with g = scale * from, plus dst if `add`. |error| <= 12u * inverse_deviation * (|g| + mean
/// |g| + |z| * mean |g z|) per element. `dst` overlaps no other vector.
void normalise_gradient(std::span<const float> x, const Moments& moments, std::span<const float> scale,
                        std::span<const float> from, bool add, std::span<float> dst) noexcept;

/// Adds this vector's part of the gradients in scale and shift: scales += from * z, shifts += from. One that is empty
/// is not wanted. Vectors may be any part of what was normalised. |error| <= 8u * |from z| + 2u * |sum| per element.
void normalise_sums(std::span<const float> x, const Moments& moments, std::span<const float> from,
                    std::span<float> scales, std::span<float> shifts) noexcept;

/// The references: plain loops, same signatures.
namespace naive {
Moments moments(std::span<const float> x, double epsilon) noexcept;
void normalise(std::span<const float> x, const Moments& moments, std::span<const float> scale,
               std::span<const float> shift, std::span<float> dst) noexcept;
void normalise_gradient(std::span<const float> x, const Moments& moments, std::span<const float> scale,
                        std::span<const float> from, bool add, std::span<float> dst) noexcept;
void normalise_sums(std::span<const float> x, const Moments& moments, std::span<const float> from,
                    std::span<float> scales, std::span<float> shifts) noexcept;
}  // namespace naive

}  // namespace redoubt::kernels
