#pragma once
#include <span>

#include "redoubt/core/view.hpp"

namespace redoubt::kernels {

// Kernels over contiguous fp32 vectors. All are noexcept, allocate nothing, run on the calling thread and need no
// alignment. The order of additions is fixed per instruction-set level and length, so a result repeats bit for bit
// on one level; between levels it differs by rounding (bounds below, u = 2^-24, n = length).
// Two inputs must have equal lengths; the shorter one counts in a mismatch.

/// Sum of x[i] * y[i]. |error| <= n * u * sum |x||y|.
float dot(std::span<const float> x, std::span<const float> y) noexcept;

/// y[i] += alpha * x[i]. |error| <= 2u * (|y| + |alpha x|) per element.
void axpy(float alpha, std::span<const float> x, std::span<float> y) noexcept;

/// sums[j] += rows(i, j) for all i in ascending order, the same bits as with a loop. Any row stride; `sums` overlaps no
/// row. |error| <= rows * u * (|sums[j]| + sum |rows(i, j)|).
void add_rows(MatrixView<const float> rows, std::span<float> sums) noexcept;

/// x[i] *= alpha. Correctly rounded.
void scale(float alpha, std::span<float> x) noexcept;

/// Sum in double precision; 0 for an empty vector. |error| <= n * 2^-53 * sum |x|.
double sum(std::span<const float> x) noexcept;

/// Smallest and largest element; +infinity and -infinity for an empty vector. The result is unspecified if x
/// holds a NaN.
float min(std::span<const float> x) noexcept;
float max(std::span<const float> x) noexcept;

/// Sum of (x[i] - y[i])^2, from differences, so near points lose no digits. Relative error <= (n + 3) * u.
float squared_distance(std::span<const float> x, std::span<const float> y) noexcept;

/// The references: plain loops, same signatures.
namespace naive {
float dot(std::span<const float> x, std::span<const float> y) noexcept;
void axpy(float alpha, std::span<const float> x, std::span<float> y) noexcept;
void add_rows(MatrixView<const float> rows, std::span<float> sums) noexcept;
void scale(float alpha, std::span<float> x) noexcept;
double sum(std::span<const float> x) noexcept;
float min(std::span<const float> x) noexcept;
float max(std::span<const float> x) noexcept;
float squared_distance(std::span<const float> x, std::span<const float> y) noexcept;
}  // namespace naive

}  // namespace redoubt::kernels
