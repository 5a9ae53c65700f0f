#pragma once
#include <span>

#include "redoubt/core/view.hpp"

namespace redoubt::kernels {

// Element-wise functions and rows of probabilities, fp32. All are noexcept, allocate nothing and run on the calling
// thread; `src` and `dst` may be the same storage and must have equal lengths (the shorter one counts).
// Errors are against the exact value, over all finite inputs, at every level; tests check them.

/// dst = e^src. Relative error <= 2e-7 for src in [-87, 88]; below -87.33 the result is 0 (no subnormals),
/// above 88.72 it is +infinity. NaN stays NaN.
void exp(std::span<const float> src, std::span<float> dst) noexcept;

/// dst = tanh(src). Relative error <= 4e-7. NaN stays NaN.
void tanh(std::span<const float> src, std::span<float> dst) noexcept;

/// dst = 1 / (1 + e^-src). Relative error <= 4e-7 for src >= -87; below -87.33 the result is 0. NaN stays NaN.
void sigmoid(std::span<const float> src, std::span<float> dst) noexcept;

/// dst = max(src, 0). Exact. NaN stays NaN.
void relu(std::span<const float> src, std::span<float> dst) noexcept;

/// to = from where y > 0, else 0: the gradient of a ReLU whose input or output is y. All three have equal lengths (the
/// shortest counts); `to` may be `from`.
void relu_gradient(std::span<const float> y, std::span<const float> from, std::span<float> to) noexcept;

/// dst = erf(src). Relative error <= 4e-7, so at most 7 ULP. NaN stays NaN.
void erf(std::span<const float> src, std::span<float> dst) noexcept;

/// dst = src * Phi(src) with the normal distribution function Phi: the exact GELU (arXiv:1606.08415). Relative error
/// <= 1e-6 for src >= -13; below -13.2 the result is 0. NaN stays NaN.
void gelu(std::span<const float> src, std::span<float> dst) noexcept;

/// to = gelu'(x) * from, plus to if `add`, where gelu'(x) = Phi(x) + x phi(x) with absolute error <= 5e-7. All three
/// have equal lengths (the shortest counts); none overlaps another.
void gelu_gradient(std::span<const float> x, std::span<const float> from, bool add, std::span<float> to) noexcept;

/// log(sum of e^x), stable for any finite x; -infinity for an empty vector. Absolute error <= 1e-6 * (1 + |result|)
/// for up to 10^6 values.
float log_sum_exp(std::span<const float> x) noexcept;

/// Every row of `values` becomes its softmax. Relative error of element i <= (12 + |x_i - max x| + log(cols)) * 2^-24
/// for probabilities above 1e-30. Rows with an infinity or NaN become NaN.
void softmax_rows(MatrixView<float> values) noexcept;

/// x = e^(factor * (x - shift)), with the errors of `exp` at the rounded argument; returns the sum of what it wrote,
/// with relative error <= n * 2^-24: a part of a softmax that is taken online. 0 for an empty vector.
float exp_sum(float factor, float shift, std::span<float> x) noexcept;

/// from = factor * y * (from - sum of y * from): the gradient of a softmax y of factor * x. Absolute error
/// <= (n + 4) * 2^-24 * |factor y| * (|from| + sum |y from|) per element.
void softmax_gradient(std::span<const float> y, float factor, std::span<float> from) noexcept;

/// The references: plain loops over the C library, same signatures.
namespace naive {
void exp(std::span<const float> src, std::span<float> dst) noexcept;
void tanh(std::span<const float> src, std::span<float> dst) noexcept;
void sigmoid(std::span<const float> src, std::span<float> dst) noexcept;
void relu(std::span<const float> src, std::span<float> dst) noexcept;
void relu_gradient(std::span<const float> y, std::span<const float> from, std::span<float> to) noexcept;
void erf(std::span<const float> src, std::span<float> dst) noexcept;
void gelu(std::span<const float> src, std::span<float> dst) noexcept;
void gelu_gradient(std::span<const float> x, std::span<const float> from, bool add, std::span<float> to) noexcept;
float log_sum_exp(std::span<const float> x) noexcept;
void softmax_rows(MatrixView<float> values) noexcept;
float exp_sum(float factor, float shift, std::span<float> x) noexcept;
void softmax_gradient(std::span<const float> y, float factor, std::span<float> from) noexcept;
}  // namespace naive

}  // namespace redoubt::kernels
