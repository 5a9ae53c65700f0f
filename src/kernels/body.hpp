#pragma once
// The kernels, written once over a vector type V that each instruction-set level defines (avx2/kernels.cpp,
// avx512/kernels.cpp). Everything is in an unnamed namespace, so that no symbol compiled with a level's flags can be
// taken by another translation unit. V has: Reg, Mask, Wide, width; tail(n); zero(), set(x), load(p), load(p, mask)
// (zeros elsewhere), store(p, x), store(p, x, mask); add, sub, mul, div, min, max (both return the second operand if
// one is a NaN), fma(a, b, c) = a * b + c, nfma(a, b, c) = c - a * b, abs, sqrt, round, positive(x) = the mask of what
// is above 0, select(mask, yes, no), pow2(n) = 2^n for integral n in [-126, 127], times_pow2(x, n) = x * 2^n for
// integral n in [-252, 254], inverse(x) = 1 / x within 2 ULP for finite normal x, keep_if_ge(x, bound, value) = x >=
// bound or x is NaN ? value : 0; reduce_add, reduce_min, reduce_max (fixed order); wide_zero(), add_wide(x, low, high)
// adds the lanes to two double accumulators, add_wide_squares their squares, reduce_wide; transpose; first(x) = lane 0;
// gather(p, step, n) and scatter(p, step, n, x) = p[i * step] for lanes i < n, zeros elsewhere; list_nonzero(p, n,
// first, list) = how many of n <= width values are not 0, and first + their numbers, in a list with room for 16.
#include <stddef.h>
#include <stdint.h>

#include "kernels/depthwise_body.hpp"
#include "kernels/table.hpp"
#include "kernels/winograd_body.hpp"

namespace redoubt::kernels::detail {
namespace {

constexpr unsigned char activation_none = 0, activation_relu = 1, activation_sigmoid = 2, activation_tanh = 3;

// Elementary functions -----------------------------------------------------------------------------------------

constexpr float log2_e = 1.44269504088896341f;
constexpr float ln2_high = 0.693145751953125f;  // 16 bits, so n * ln2_high is exact
constexpr float ln2_low = 1.42860677e-06f;      // ln 2 - ln2_high

/// Splits x = n ln 2 + r, |r| <= 0.347, and returns (e^r - 1 - r) / r^2: the Taylor series to r^7, whose
/// remainder is below 6e-9.
template <class V>
inline typename V::Reg exp_parts(typename V::Reg x, typename V::Reg& n, typename V::Reg& r) {
  n = V::round(V::mul(x, V::set(log2_e)));
  r = V::nfma(n, V::set(ln2_high), x);
  r = V::nfma(n, V::set(ln2_low), r);
  typename V::Reg q = V::set(1.f / 5040);
  q = V::fma(q, r, V::set(1.f / 720));
  q = V::fma(q, r, V::set(1.f / 120));
  q = V::fma(q, r, V::set(1.f / 24));
  q = V::fma(q, r, V::set(1.f / 6));
  return V::fma(q, r, V::set(0.5f));
}

template <class V>
inline typename V::Reg exp_of(typename V::Reg x) {
  const typename V::Reg bounded = V::min(V::set(89.f), V::max(V::set(-88.f), x));
  typename V::Reg n, r;
  const typename V::Reg q = exp_parts<V>(bounded, n, r);
  const typename V::Reg result = V::add(V::set(1.f), V::fma(V::mul(r, r), q, r));
  return V::keep_if_ge(x, V::set(-87.33654f), V::times_pow2(result, n));
}

template <class V>
inline typename V::Reg sigmoid_of(typename V::Reg x) {
  const typename V::Reg power = exp_of<V>(V::sub(V::zero(), x));
  return V::div(V::set(1.f), V::add(V::set(1.f), power));
}

/// tanh x = t / (t + 2) with t = e^2x - 1, formed without cancellation: 2^n (e^r - 1) + (2^n - 1).
template <class V>
inline typename V::Reg tanh_of(typename V::Reg x) {
  const typename V::Reg doubled = V::min(V::set(20.f), V::max(V::set(-20.f), V::add(x, x)));
  typename V::Reg n, r;
  const typename V::Reg q = exp_parts<V>(doubled, n, r);
  const typename V::Reg minus_one = V::fma(V::mul(r, r), q, r);
  const typename V::Reg power = V::pow2(n);
  const typename V::Reg t = V::fma(power, minus_one, V::sub(power, V::set(1.f)));
  return V::div(t, V::add(t, V::set(2.f)));
}

/// e^(-x^2 / divisor) for divisor 1 or 2, without the rounding of x^2; |x| <= 14.
template <class V>
inline typename V::Reg gaussian_of(typename V::Reg x, float inverse_divisor) {
  const typename V::Reg square = V::mul(x, x), low = V::nfma(x, x, square);  // square - x^2, exact
  const typename V::Reg scale = V::set(inverse_divisor);
  const typename V::Reg power = exp_of<V>(V::sub(V::zero(), V::mul(square, scale)));
  return V::fma(power, V::mul(low, scale), power);
}

/// e^(z^2) erfc(z) for z >= 0: t p(t) with t = 1 / (1 + 0.3 z); p has relative error 2e-9 up to z = 13.5.
template <class V>
inline typename V::Reg scaled_erfc_of(typename V::Reg z) {
  const typename V::Reg t = V::inverse(V::fma(z, V::set(0.3f), V::set(1.f)));
  typename V::Reg p = V::set(0.05028202757239342f);
  constexpr float coefficients[] = {
      -0.2995849847793579f, 0.6547725796699524f,  -0.7006264925003052f, 0.6336774826049805f, -0.19004502892494202f,
      0.22543111443519592f, 0.12264057993888855f, 0.16524341702461243f, 0.1689402014017105f, 0.1692691147327423f};
#pragma GCC unroll 16
  for (const float c : coefficients) p = V::fma(p, t, V::set(c));
  return V::mul(p, t);
}

template <class V>
inline typename V::Reg erf_of(typename V::Reg x) {
  const typename V::Reg size = V::min(V::set(14.f), V::abs(x));
  const typename V::Reg square = V::mul(size, size);
  typename V::Reg q = V::set(7.853959687054157e-05f);
  constexpr float coefficients[] = {-0.0008010224555619061f, 0.005188331473618746f, -0.026853814721107483f,
                                    0.1128358542919159f,     -0.3761262595653534f,  1.1283791065216064f};
#pragma GCC unroll 16
  for (const float c : coefficients) q = V::fma(q, square, V::set(c));
  const typename V::Reg near = V::mul(q, x);
  const typename V::Reg far = V::nfma(gaussian_of<V>(size, 1.f), scaled_erfc_of<V>(size), V::set(1.f));
  const typename V::Reg signed_far = V::sub(V::keep_if_ge(x, V::zero(), V::add(far, far)), far);
  return V::add(V::keep_if_ge(V::set(0.99999994f), size, near), V::keep_if_ge(size, V::set(1.f), signed_far));
}

/// The normal distribution function of x, without cancellation in the tail, and e^(-x^2 / 2).
template <class V>
inline typename V::Reg normal_of(typename V::Reg x, typename V::Reg& gaussian) {
  const typename V::Reg size = V::min(V::set(14.f), V::abs(x));
  gaussian = gaussian_of<V>(size, 0.5f);
  const typename V::Reg scaled = scaled_erfc_of<V>(V::mul(size, V::set(0.70710678f)));
  const typename V::Reg tail = V::mul(V::mul(gaussian, V::set(0.5f)), scaled);
  return V::add(tail, V::keep_if_ge(x, V::zero(), V::sub(V::set(1.f), V::add(tail, tail))));
}

template <class V>
inline typename V::Reg relu_of(typename V::Reg x) {
  return V::max(V::zero(), x);  // in this order NaN stays
}

/// dst[i] = function(src[i])
template <class V, class F>
inline void map(const float* src, float* dst, size_t n, F function) {
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) V::store(dst + i, function(V::load(src + i)));
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    V::store(dst + i, function(V::load(src + i, mask)), mask);
  }
}

template <class V>
void exp_kernel(const float* src, float shift, float* dst, size_t n) {
  const typename V::Reg shifts = V::set(shift);
  map<V>(src, dst, n, [=](typename V::Reg x) { return exp_of<V>(V::sub(x, shifts)); });
}

template <class V>
void tanh_kernel(const float* src, float* dst, size_t n) {
  map<V>(src, dst, n, [](typename V::Reg x) { return tanh_of<V>(x); });
}

template <class V>
void sigmoid_kernel(const float* src, float* dst, size_t n) {
  map<V>(src, dst, n, [](typename V::Reg x) { return sigmoid_of<V>(x); });
}

template <class V>
void erf_kernel(const float* src, float* dst, size_t n) {
  map<V>(src, dst, n, [](typename V::Reg x) { return erf_of<V>(x); });
}

template <class V>
void gelu_kernel(const float* src, float* dst, size_t n) {
  map<V>(src, dst, n, [](typename V::Reg x) {
    typename V::Reg gaussian;
    return V::mul(x, normal_of<V>(x, gaussian));
  });
}

/// to[i] = gelu'(x[i]) * from[i], plus to[i] if `add`
template <class V>
void gelu_gradient_kernel(const float* x, const float* from, bool add, float* to, size_t n) {
  const auto slope = [](typename V::Reg value) {
    typename V::Reg gaussian;
    const typename V::Reg normal = normal_of<V>(value, gaussian);
    const typename V::Reg density = V::mul(gaussian, V::set(0.39894228f));
    // Where the density is 0, so is its product with an infinite x.
    const typename V::Reg bounded = V::min(V::set(14.f), V::max(V::set(-14.f), value));
    return V::fma(bounded, density, normal);
  };
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) {
    const typename V::Reg start = add ? V::load(to + i) : V::zero();
    V::store(to + i, V::fma(slope(V::load(x + i)), V::load(from + i), start));
  }
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    const typename V::Reg start = add ? V::load(to + i, mask) : V::zero();
    V::store(to + i, V::fma(slope(V::load(x + i, mask)), V::load(from + i, mask), start), mask);
  }
}

template <class V>
void relu_kernel(const float* src, float* dst, size_t n) {
  map<V>(src, dst, n, [](typename V::Reg x) { return relu_of<V>(x); });
}

template <class V>
void relu_gradient_kernel(const float* y, const float* from, float* to, size_t n) {
  size_t i = 0;
  for (; i + V::width <= n; i += V::width)
    V::store(to + i, V::select(V::positive(V::load(y + i)), V::load(from + i), V::zero()));
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    V::store(to + i, V::select(V::positive(V::load(y + i, mask)), V::load(from + i, mask), V::zero()), mask);
  }
}

template <class V>
void scale_kernel(float alpha, float* x, size_t n) {
  const typename V::Reg factor = V::set(alpha);
  map<V>(x, x, n, [=](typename V::Reg value) { return V::mul(factor, value); });
}

template <class V>
void activate(unsigned char activation, float* x, size_t n) {
  if (activation == activation_relu) relu_kernel<V>(x, x, n);
  if (activation == activation_sigmoid) sigmoid_kernel<V>(x, x, n);
  if (activation == activation_tanh) tanh_kernel<V>(x, x, n);
}

// Reductions: four accumulators, always added in the same order ----------------------------------------------------

/// Folds step(accumulator, x, y) over both vectors; lanes past the end see zeros.
template <class V, class Step>
inline float fold(const float* x, const float* y, size_t n, Step step) {
  typename V::Reg s0 = V::zero(), s1 = V::zero(), s2 = V::zero(), s3 = V::zero();
  constexpr size_t w = V::width;
  size_t i = 0;
  for (; i + 4 * w <= n; i += 4 * w) {
    s0 = step(s0, V::load(x + i), V::load(y + i));
    s1 = step(s1, V::load(x + i + w), V::load(y + i + w));
    s2 = step(s2, V::load(x + i + 2 * w), V::load(y + i + 2 * w));
    s3 = step(s3, V::load(x + i + 3 * w), V::load(y + i + 3 * w));
  }
  for (; i + w <= n; i += w) s0 = step(s0, V::load(x + i), V::load(y + i));
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    s1 = step(s1, V::load(x + i, mask), V::load(y + i, mask));
  }
  return V::reduce_add(V::add(V::add(s0, s1), V::add(s2, s3)));
}

template <class V>
float dot_kernel(const float* x, const float* y, size_t n) {
  return fold<V>(x, y, n, [](typename V::Reg s, typename V::Reg a, typename V::Reg b) { return V::fma(a, b, s); });
}

template <class V>
float squared_distance_kernel(const float* x, const float* y, size_t n) {
  return fold<V>(x, y, n, [](typename V::Reg s, typename V::Reg a, typename V::Reg b) {
    const typename V::Reg difference = V::sub(a, b);
    return V::fma(difference, difference, s);
  });
}

template <class V>
void axpy_kernel(float alpha, const float* x, float* y, size_t n) {
  const typename V::Reg factor = V::set(alpha);
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) V::store(y + i, V::fma(factor, V::load(x + i), V::load(y + i)));
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    V::store(y + i, V::fma(factor, V::load(x + i, mask), V::load(y + i, mask)), mask);
  }
}

/// R rows, one after the other in each column.
template <class V, int R>
void add_rows_group(const float* src, size_t src_row, size_t cols, float* sums) {
  const auto add = [&](size_t j, auto load) {
    typename V::Reg sum = load(sums + j);
#pragma GCC unroll 4
    for (int i = 0; i < R; ++i) sum = V::add(sum, load(src + i * src_row + j));
    return sum;
  };
  size_t j = 0;
  for (; j + V::width <= cols; j += V::width) V::store(sums + j, add(j, [](const float* p) { return V::load(p); }));
  if (j < cols) {
    const typename V::Mask mask = V::tail(cols - j);
    V::store(sums + j, add(j, [=](const float* p) { return V::load(p, mask); }), mask);
  }
}

/// Along the rows, as they come from memory.
template <class V>
void add_rows_kernel(const float* src, size_t src_row, size_t rows, size_t cols, float* sums) {
  size_t i = 0;
  for (; i + 4 <= rows; i += 4) add_rows_group<V, 4>(src + i * src_row, src_row, cols, sums);
  for (; i < rows; ++i) add_rows_group<V, 1>(src + i * src_row, src_row, cols, sums);
}

template <class V>
double sum_kernel(const float* x, size_t n) {
  typename V::Wide low = V::wide_zero(), high = V::wide_zero();
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) {
    __builtin_prefetch(x + i + 512);  // past the end of the page, where the hardware's own fetching stops
    V::add_wide(V::load(x + i), low, high);
  }
  if (i < n) V::add_wide(V::load(x + i, V::tail(n - i)), low, high);
  return V::reduce_wide(low, high);
}

template <class V>
float min_kernel(const float* x, size_t n) {
  const typename V::Reg infinity = V::set(__builtin_inff());
  typename V::Reg result = infinity;
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) result = V::min(V::load(x + i), result);
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    result = V::min(V::select(mask, V::load(x + i, mask), infinity), result);
  }
  return V::reduce_min(result);
}

template <class V>
float max_kernel(const float* x, size_t n) {
  const typename V::Reg infinity = V::set(-__builtin_inff());
  typename V::Reg result = infinity;
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) result = V::max(V::load(x + i), result);
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    result = V::max(V::select(mask, V::load(x + i, mask), infinity), result);
  }
  return V::reduce_max(result);
}

/// A row of 2 to width values in each lane: load(j), store(j, x) for value j of all. The sums are those of reduce_add.
template <class V, class Load, class Store>
inline void softmax_lanes(size_t n, Load load, Store store) {
  using Reg = typename V::Reg;
  Reg powers[V::width], sums[V::width];
  Reg largest = V::set(-__builtin_inff());
  for (size_t j = 0; j < n; ++j) {
    powers[j] = load(j);
    largest = V::max(powers[j], largest);
  }
  for (size_t j = 0; j < n; ++j) sums[j] = powers[j] = exp_of<V>(V::sub(powers[j], largest));
  size_t half = V::width / 2;
  while (half >= n) half /= 2;
  for (size_t j = n; j < 2 * half; ++j) sums[j] = V::zero();
  for (; half > 0; half /= 2)
    for (size_t j = 0; j < half; ++j) sums[j] = V::add(sums[j], sums[j + half]);
  const Reg factor = V::div(V::set(1), sums[0]);
  for (size_t j = 0; j < n; ++j) store(j, V::mul(powers[j], factor));
}

template <class V>
void softmax_row(float* x, size_t n) {
  if (n == 2)  // all lanes the same: less to wait for than for sums over lanes
    return softmax_lanes<V>(
        2, [=](size_t j) { return V::set(x[j]); }, [=](size_t j, typename V::Reg value) { x[j] = V::first(value); });
  if (n > V::width) {
    exp_kernel<V>(x, max_kernel<V>(x, n), x, n);
    scale_kernel<V>(float(1 / sum_kernel<V>(x, n)), x, n);
    return;
  }
  const typename V::Mask mask = V::tail(n);
  const typename V::Reg values = V::load(x, mask), lowest = V::set(-__builtin_inff());
  const float largest = V::reduce_max(V::max(V::select(mask, values, lowest), lowest));
  const typename V::Reg powers = V::select(mask, exp_of<V>(V::sub(values, V::set(largest))), V::zero());
  V::store(x, V::mul(powers, V::set(1 / V::reduce_add(powers))), mask);
}

/// Masked vectors of short rows would wait for one another, as each covers a part of the next: 45 ns a row instead
/// of 3.
template <class V>
void softmax_kernel(float* x, size_t row, size_t rows, size_t n) {
  const bool lanes = n > 1 && n <= V::width && row < (size_t(1) << 24);  // the farthest is numbered by an int
  for (size_t r = 0; r < rows; r += V::width) {
    const size_t count = rows - r < V::width ? rows - r : V::width;
    float* const first = x + r * row;
    if (lanes && count > 1)
      softmax_lanes<V>(
          n, [=](size_t j) { return V::gather(first + j, row, count); },
          [=](size_t j, typename V::Reg value) { V::scatter(first + j, row, count, value); });
    else
      for (size_t i = 0; i < count; ++i) softmax_row<V>(first + i * row, n);
  }
}

/// x = e^(factor * (x - shift)); returns the sum of what it wrote.
template <class V>
float exp_sum_kernel(float factor, float shift, float* x, size_t n) {
  const typename V::Reg factors = V::set(factor), shifts = V::set(shift);
  // In this order the largest x, which is the shift, gives 1 however large it is.
  const auto power = [=](typename V::Reg value) { return exp_of<V>(V::mul(factors, V::sub(value, shifts))); };
  typename V::Reg even = V::zero(), odd = V::zero();
  size_t i = 0;
  for (; i + 2 * V::width <= n; i += 2 * V::width) {
    const typename V::Reg a = power(V::load(x + i)), b = power(V::load(x + i + V::width));
    V::store(x + i, a);
    V::store(x + i + V::width, b);
    even = V::add(even, a);
    odd = V::add(odd, b);
  }
  for (; i < n; i += V::width) {
    const typename V::Mask mask = V::tail(n - i);
    const typename V::Reg a = V::select(mask, power(V::load(x + i, mask)), V::zero());
    V::store(x + i, a, mask);
    even = V::add(even, a);
  }
  return V::reduce_add(V::add(even, odd));
}

/// from = factor * y * (from - sum of y * from)
template <class V>
void softmax_gradient_kernel(const float* y, float factor, float* from, size_t n) {
  const typename V::Reg factors = V::set(factor), mean = V::set(dot_kernel<V>(y, from, n));
  const auto slope = [=](typename V::Reg share, typename V::Reg value) {
    return V::mul(V::mul(factors, share), V::sub(value, mean));
  };
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) V::store(from + i, slope(V::load(y + i), V::load(from + i)));
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    V::store(from + i, slope(V::load(y + i, mask), V::load(from + i, mask)), mask);
  }
}

// Normalisation --------------------------------------------------------------------------------------------------

/// x, centred: less the mean, which is the sum of two floats.
template <class V>
inline typename V::Reg centred(const Centre& c, typename V::Reg x) {
  return V::sub(V::sub(x, V::set(c.high)), V::set(c.low));
}

/// Sum of the squares of the centred x, in double precision.
template <class V>
double square_sum_kernel(const Centre& c, const float* x, size_t n) {
  typename V::Wide low = V::wide_zero(), high = V::wide_zero();
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) V::add_wide_squares(centred<V>(c, V::load(x + i)), low, high);
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    V::add_wide_squares(V::select(mask, centred<V>(c, V::load(x + i, mask)), V::zero()), low, high);
  }
  return V::reduce_wide(low, high);
}

/// dst = scale * z + shift with z = factor * centred x
template <class V>
void normalise_kernel(const Centre& c, const float* x, const float* scale, const float* shift, float* dst, size_t n) {
  const typename V::Reg factor = V::set(c.factor);
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) {
    const typename V::Reg z = V::mul(centred<V>(c, V::load(x + i)), factor);
    V::store(dst + i, V::fma(V::load(scale + i), z, V::load(shift + i)));
  }
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    const typename V::Reg z = V::mul(centred<V>(c, V::load(x + i, mask)), factor);
    V::store(dst + i, V::fma(V::load(scale + i, mask), z, V::load(shift + i, mask)), mask);
  }
}

/// dst = factor * (g - mean of g - z * mean of g z) with g = scale * from, plus dst if `add`
template <class V>
void normalise_gradient_kernel(const Centre& c, const float* x, const float* scale, const float* from, bool add,
                               float* dst, size_t n) {
  using Reg = typename V::Reg;
  const Reg factor = V::set(c.factor);
  typename V::Wide low = V::wide_zero(), high = V::wide_zero(), low_lean = V::wide_zero(), high_lean = V::wide_zero();
  const auto gather = [&](Reg distance, Reg factors, Reg slopes) {
    const Reg g = V::mul(factors, slopes);
    V::add_wide(g, low, high);
    V::add_wide(V::mul(g, V::mul(distance, factor)), low_lean, high_lean);
  };
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) gather(centred<V>(c, V::load(x + i)), V::load(scale + i), V::load(from + i));
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    const Reg distance = V::select(mask, centred<V>(c, V::load(x + i, mask)), V::zero());
    gather(distance, V::load(scale + i, mask), V::load(from + i, mask));
  }
  const Reg level = V::set(float(V::reduce_wide(low, high) / double(n)));
  const Reg lean = V::set(float(V::reduce_wide(low_lean, high_lean) / double(n)));
  const auto slope = [&](Reg value, Reg factors, Reg slopes) {
    const Reg z = V::mul(centred<V>(c, value), factor);
    return V::nfma(z, lean, V::sub(V::mul(factors, slopes), level));
  };
  i = 0;
  for (; i + V::width <= n; i += V::width) {
    const Reg start = add ? V::load(dst + i) : V::zero();
    V::store(dst + i, V::fma(factor, slope(V::load(x + i), V::load(scale + i), V::load(from + i)), start));
  }
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    const Reg start = add ? V::load(dst + i, mask) : V::zero();
    const Reg slopes = slope(V::load(x + i, mask), V::load(scale + i, mask), V::load(from + i, mask));
    V::store(dst + i, V::fma(factor, slopes, start), mask);
  }
}

/// scales += from * z, shifts += from, unless they are null
template <class V>
void normalise_sums_kernel(const Centre& c, const float* x, const float* from, float* scales, float* shifts, size_t n) {
  const typename V::Reg factor = V::set(c.factor);
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) {
    const typename V::Reg slopes = V::load(from + i), z = V::mul(centred<V>(c, V::load(x + i)), factor);
    if (scales) V::store(scales + i, V::fma(slopes, z, V::load(scales + i)));
    if (shifts) V::store(shifts + i, V::add(slopes, V::load(shifts + i)));
  }
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    const typename V::Reg slopes = V::load(from + i, mask), z = V::mul(centred<V>(c, V::load(x + i, mask)), factor);
    if (scales) V::store(scales + i, V::fma(slopes, z, V::load(scales + i, mask)), mask);
    if (shifts) V::store(shifts + i, V::add(slopes, V::load(shifts + i, mask)), mask);
  }
}

// Products -----------------------------------------------------------------------------------------------------

/// Where b comes from, which decides how a row of it is loaded.
enum class Source {
  packed,  // padded to whole vectors: plain loads (a masked one takes a port from the multiply-adds, 4 % of the peak)
  whole,   // in place, whole vectors; rows far apart, so that only a software prefetch sees the next one coming
  ragged   // in place, the last vector masked
};

/// R rows x C vectors of c in registers over the whole depth; the last vector of c is masked.
template <class V, int R, int C, Source source>
void tile_kernel(const Tile& t) {
  using Reg = typename V::Reg;
  constexpr size_t w = V::width;
  const typename V::Mask mask = V::tail(t.cols - (C - 1) * w);
  const bool full = t.cols == C * w;
  float* const to = t.c;
  const size_t c_row = t.c_row;
  Reg acc[R][C];
  if (t.next_c) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) __builtin_prefetch(t.next_c + i * c_row + j * w, 1);
    }
  }
  if (t.add_c) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) {
        const float* c = to + i * c_row + j * w;
        acc[i][j] = j < C - 1 || full ? V::load(c) : V::load(c, mask);
      }
    }
  } else {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) acc[i][j] = V::zero();
    }
  }
  if (t.bias) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      const Reg start = j < C - 1 || full ? V::load(t.bias + j * w) : V::load(t.bias + j * w, mask);
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) acc[i][j] = V::add(start, acc[i][j]);
    }
  }
  const float* a = t.a;
  const float* b = t.b;
  constexpr size_t prefetch_rows = 8;
  const size_t a_row = t.a_row, a_col = t.a_col, b_row = t.b_row;
  for (size_t s = t.segments;;) {
#pragma GCC unroll 2
    for (size_t k = t.depth; k > 0; --k) {
      Reg columns[C];
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j)
        columns[j] = source == Source::ragged && j == C - 1 ? V::load(b + j * w, mask) : V::load(b + j * w);
#pragma GCC unroll 8
      for (int i = 0; i < R; ++i) {
        const Reg value = V::set(a[i * a_row]);
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) acc[i][j] = V::fma(value, columns[j], acc[i][j]);
      }
      if constexpr (source != Source::packed) {
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) __builtin_prefetch(b + prefetch_rows * b_row + j * w);
      }
      a += a_col;
      b += b_row;
    }
    if (--s == 0) break;
    a += t.a_segment - t.depth * a_col;
  }
  if (t.activation == activation_relu) {
#pragma GCC unroll 8
    for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) acc[i][j] = relu_of<V>(acc[i][j]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < R; ++i) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      float* c = to + i * c_row + j * w;
      if (j < C - 1 || full)
        V::store(c, acc[i][j]);
      else
        V::store(c, acc[i][j], mask);
    }
  }
  if (t.activation > activation_relu)
    for (size_t i = 0; i < R; ++i) activate<V>(t.activation, t.c + i * t.c_row, t.cols);
}

template <class V, int R, int C>
void tile_columns(const Tile& t) {
  if (t.b_padded) return tile_kernel<V, R, C, Source::packed>(t);
  if (t.cols % V::width == 0) return tile_kernel<V, R, C, Source::whole>(t);
  tile_kernel<V, R, C, Source::ragged>(t);
}

template <class V, int R>
void tile_rows(const Tile& t) {
  switch ((t.cols + V::width - 1) / V::width) {
    case 1: return tile_columns<V, R, 1>(t);
    case 2: return tile_columns<V, R, 2>(t);
    default: return tile_columns<V, R, V::tile_vectors>(t);
  }
}

template <class V>
void tile(const Tile& t) {
  switch (t.rows) {
    case 1: return tile_rows<V, 1>(t);
    case 2: return tile_rows<V, 2>(t);
    case 3: return tile_rows<V, 3>(t);
    case 4: return tile_rows<V, 4>(t);
    case 5: return tile_rows<V, 5>(t);
    case 6: return tile_rows<V, 6>(t);
    case 7: return tile_rows<V, (V::tile_rows < 7 ? V::tile_rows : 7)>(t);
    default: return tile_rows<V, V::tile_rows>(t);
  }
}

/// C vectors of the output in registers over the whole depth; the last is masked.
template <class V, int C>
void matvec_columns(const float* x, size_t depth, const float* w, size_t w_row, size_t cols, const float* bias,
                    unsigned char activation, float* out) {
  using Reg = typename V::Reg;
  constexpr size_t width = V::width;
  const typename V::Mask mask = V::tail(cols - (C - 1) * width);
  Reg acc[C];
#pragma GCC unroll 8
  for (int j = 0; j < C; ++j)
    acc[j] = !bias ? V::zero() : j == C - 1 ? V::load(bias + j * width, mask) : V::load(bias + j * width);
  for (size_t k = 0; k < depth; ++k) {
    const Reg value = V::set(x[k]);
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j)
      acc[j] = V::fma(value, j == C - 1 ? V::load(w + j * width, mask) : V::load(w + j * width), acc[j]);
    w += w_row;
  }
#pragma GCC unroll 8
  for (int j = 0; j < C; ++j) {
    if (j == C - 1)
      V::store(out + j * width, acc[j], mask);
    else
      V::store(out + j * width, acc[j]);
  }
  activate<V>(activation, out, cols);
}

template <class V>
void matvec_kernel(const float* x, size_t depth, const float* w, size_t w_row, size_t cols, const float* bias,
                   unsigned char activation, float* out) {
  constexpr size_t width = V::width;
  for (size_t j = 0; j < cols;) {
    const size_t left = cols - j;
    const float* start = bias ? bias + j : nullptr;
    if (left >= 8 * width) {
      matvec_columns<V, 8>(x, depth, w + j, w_row, 8 * width, start, activation, out + j);
      j += 8 * width;
    } else if (left >= 4 * width) {
      matvec_columns<V, 4>(x, depth, w + j, w_row, 4 * width, start, activation, out + j);
      j += 4 * width;
    } else if (left > width) {
      const size_t n = left < 2 * width ? left : 2 * width;
      matvec_columns<V, 2>(x, depth, w + j, w_row, n, start, activation, out + j);
      j += n;
    } else {
      matvec_columns<V, 1>(x, depth, w + j, w_row, left, start, activation, out + j);
      j = cols;
    }
  }
}

// Packing --------------------------------------------------------------------------------------------------------

/// dst[p][k][panel], zero-padded, from rows that are contiguous along the panel. A few rows at a time, panel by panel:
/// panels lie a power of two apart at the usual depths, so writing one row of all of them would use few cache sets.
template <class V, size_t panel>
void pack_rows(const float* src, size_t row, size_t depth, size_t count, float* dst) {
  constexpr size_t rows = 8;
  for (size_t k = 0; k < depth; k += rows, src += rows * row, dst += rows * panel) {
    const size_t left = depth - k < rows ? depth - k : rows;
    float* to = dst;
    size_t first = 0;
    for (; first + panel <= count; first += panel, to += depth * panel) {
      for (size_t i = 0; i < left; ++i) {
        if constexpr (panel % V::width == 0) {
          for (size_t j = 0; j < panel; j += V::width) V::store(to + i * panel + j, V::load(src + i * row + first + j));
        } else {
          __builtin_memcpy(to + i * panel, src + i * row + first, panel * sizeof(float));
        }
      }
    }
    if (first < count) {
      for (size_t i = 0; i < left; ++i)
        for (size_t j = 0; j < panel; ++j) to[i * panel + j] = first + j < count ? src[i * row + first + j] : 0;
    }
  }
}

/// dst[j][i] = src[i][j] for i < rows <= width, j < cols <= width; `padded` writes whole vectors, zeros behind `rows`.
template <class V, bool padded>
void transpose_block(const float* src, size_t src_row, size_t rows, size_t cols, float* dst, size_t dst_row) {
  constexpr size_t w = V::width;
  if (rows == w && cols == w) return V::transpose(src, src_row, dst, dst_row);
  alignas(64) float from[w * w], to[w * w];
  const typename V::Mask in = V::tail(cols), out = V::tail(rows);
  for (size_t i = 0; i < w; ++i) V::store(from + i * w, i < rows ? V::load(src + i * src_row, in) : V::zero());
  V::transpose(from, w, to, w);
  for (size_t j = 0; j < cols; ++j) {
    if constexpr (padded)
      V::store(dst + j * dst_row, V::load(to + j * w));
    else
      V::store(dst + j * dst_row, V::load(to + j * w), out);
  }
}

/// The same from rows that are contiguous along the depth: square blocks are transposed in registers.
template <class V, size_t panel>
void pack_columns(const float* src, size_t row, size_t depth, size_t count, float* dst) {
  constexpr size_t w = V::width;
  for (size_t first = 0; first < count; first += panel, dst += depth * panel) {
    for (size_t i = 0; i < panel; i += w) {
      const size_t begin = first + i;
      const size_t n = begin >= count ? 0 : count - begin < w ? count - begin : w;
      for (size_t k = 0; k < depth; k += w) {
        const size_t left = depth - k < w ? depth - k : w;
        transpose_block<V, true>(src + begin * row + k, row, n, left, dst + k * panel + i, panel);
      }
    }
  }
}

template <class V>
void transpose_kernel(const float* src, size_t src_row, size_t rows, size_t cols, float* dst, size_t dst_row) {
  constexpr size_t w = V::width;
  for (size_t i = 0; i < rows; i += w) {
    const size_t m = rows - i < w ? rows - i : w;
    for (size_t j = 0; j < cols; j += w) {
      const size_t n = cols - j < w ? cols - j : w;
      transpose_block<V, false>(src + i * src_row + j, src_row, m, n, dst + j * dst_row + i, dst_row);
    }
  }
}

// Optimizers -----------------------------------------------------------------------------------------------------

/// Fetches a line to be written. Not by __builtin_prefetch, which asks to read it where the flags do not name
/// PREFETCHW: a line that another core has written would come twice (2 threads: a third slower instead of 6 % faster).
inline void own(const float* line) { asm volatile("prefetchw (%0)" : : "r"(line)); }

template <class V>
void adam_kernel(const AdamConstants& step, float* w, const float* g, float* m, float* v, size_t n) {
  using Reg = typename V::Reg;
  const Reg factor = V::set(step.factor), coupled = V::set(step.coupled), keep = V::set(step.keep);
  const Reg first_keep = V::set(step.first_keep), first_add = V::set(step.first_add);
  const Reg second_keep = V::set(step.second_keep), second_add = V::set(step.second_add);
  const Reg rate = V::set(step.rate), epsilon = V::set(step.epsilon), negligible = V::set(step.negligible);
  const auto clean = [=](Reg x) { return V::keep_if_ge(V::abs(x), negligible, x); };
  const auto update = [=](Reg weight, Reg gradient, Reg& mean, Reg& square) {
    const Reg slope = V::fma(coupled, weight, V::mul(factor, gradient));
    mean = clean(V::fma(first_keep, mean, V::mul(first_add, slope)));
    square = clean(V::fma(second_keep, square, V::mul(V::mul(second_add, slope), slope)));
    const Reg move = V::div(V::mul(rate, mean), V::add(V::sqrt(square), epsilon));
    return V::sub(V::mul(keep, weight), move);
  };
  constexpr size_t ahead = 512;  // the rows of a table or the blocks of a product follow one another
  size_t i = 0;
  for (; i + V::width <= n; i += V::width) {
    own(w + i + ahead), own(m + i + ahead), own(v + i + ahead);
    Reg mean = V::load(m + i), square = V::load(v + i);
    V::store(w + i, update(V::load(w + i), V::load(g + i), mean, square));
    V::store(m + i, mean);
    V::store(v + i, square);
  }
  if (i < n) {
    const typename V::Mask mask = V::tail(n - i);
    Reg mean = V::load(m + i, mask), square = V::load(v + i, mask);
    V::store(w + i, update(V::load(w + i, mask), V::load(g + i, mask), mean, square), mask);
    V::store(m + i, mean, mask);
    V::store(v + i, square, mask);
  }
}

// Intervals ------------------------------------------------------------------------------------------------------

template <class V, int C>
void bounds_columns(const float* lower, const float* upper, size_t depth, const float* w, size_t w_row, size_t cols,
                    const float* bias, float* dst_lower, float* dst_upper) {
  using Reg = typename V::Reg;
  constexpr size_t width = V::width;
  const typename V::Mask mask = V::tail(cols - (C - 1) * width);
  Reg low[C], high[C], magnitude[C];
#pragma GCC unroll 8
  for (int j = 0; j < C; ++j) {
    low[j] = !bias ? V::zero() : j == C - 1 ? V::load(bias + j * width, mask) : V::load(bias + j * width);
    high[j] = low[j];
    magnitude[j] = V::abs(low[j]);
  }
  for (size_t k = 0; k < depth; ++k, w += w_row) {
    const Reg from = V::set(lower[k]), to = V::set(upper[k]);
    const Reg largest = V::max(V::abs(from), V::abs(to));
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      const Reg weight = j == C - 1 ? V::load(w + j * width, mask) : V::load(w + j * width);
      const Reg at_from = V::mul(weight, from), at_to = V::mul(weight, to);
      low[j] = V::add(low[j], V::min(at_from, at_to));
      high[j] = V::add(high[j], V::max(at_from, at_to));
      magnitude[j] = V::fma(V::abs(weight), largest, magnitude[j]);
    }
  }
  const Reg factor = V::set(2.f * static_cast<float>(depth + 4) * 0x1p-24f), least = V::set(0x1p-126f);
#pragma GCC unroll 8
  for (int j = 0; j < C; ++j) {
    const Reg widening = V::fma(factor, magnitude[j], least);
    const Reg from = V::sub(low[j], widening), to = V::add(high[j], widening);
    if (j == C - 1) {
      V::store(dst_lower + j * width, from, mask);
      V::store(dst_upper + j * width, to, mask);
    } else {
      V::store(dst_lower + j * width, from);
      V::store(dst_upper + j * width, to);
    }
  }
}

template <class V>
void bounds_kernel(const float* lower, const float* upper, size_t depth, const float* w, size_t w_row, size_t cols,
                   const float* bias, float* dst_lower, float* dst_upper) {
  constexpr size_t step = 2 * V::width;
  for (size_t j = 0; j < cols; j += step) {
    const float* start = bias ? bias + j : nullptr;
    const size_t n = cols - j < step ? cols - j : step;
    if (n > V::width)
      bounds_columns<V, 2>(lower, upper, depth, w + j, w_row, n, start, dst_lower + j, dst_upper + j);
    else
      bounds_columns<V, 1>(lower, upper, depth, w + j, w_row, n, start, dst_lower + j, dst_upper + j);
  }
}

}  // namespace
}  // namespace redoubt::kernels::detail

#include "kernels/packed_body.hpp"

namespace redoubt::kernels::detail {
namespace {

template <class V>
constexpr Table make_table(unsigned char isa) {
  constexpr size_t columns = V::tile_vectors * V::width;
  return {.isa = isa,
          .tile_rows = V::tile_rows,
          .tile_cols = columns,
          .tile = tile<V>,
          .pack_b = pack_rows<V, columns>,
          .pack_b_transposed = pack_columns<V, columns>,
          .pack_a_transposed = pack_rows<V, V::tile_rows>,
          .transpose = transpose_kernel<V>,
          .matvec = matvec_kernel<V>,
          .nonzero = nonzero_kernel<V>,
          .packed_row = packed_row_kernel<V>,
          .max_pool = max_pool_kernel<V>,
          .max_pool_backward = max_pool_backward_kernel<V>,
          .depthwise = depthwise_kernel<V>,
          .winograd_source = winograd_source_kernel<V>,
          .winograd_output = winograd_output_kernel<V>,
          .dot = dot_kernel<V>,
          .axpy = axpy_kernel<V>,
          .add_rows = add_rows_kernel<V>,
          .scale = scale_kernel<V>,
          .sum = sum_kernel<V>,
          .min = min_kernel<V>,
          .max = max_kernel<V>,
          .squared_distance = squared_distance_kernel<V>,
          .exp = exp_kernel<V>,
          .exp_sum = exp_sum_kernel<V>,
          .softmax = softmax_kernel<V>,
          .softmax_gradient = softmax_gradient_kernel<V>,
          .tanh = tanh_kernel<V>,
          .sigmoid = sigmoid_kernel<V>,
          .relu = relu_kernel<V>,
          .erf = erf_kernel<V>,
          .gelu = gelu_kernel<V>,
          .relu_gradient = relu_gradient_kernel<V>,
          .gelu_gradient = gelu_gradient_kernel<V>,
          .square_sum = square_sum_kernel<V>,
          .normalise = normalise_kernel<V>,
          .normalise_gradient = normalise_gradient_kernel<V>,
          .normalise_sums = normalise_sums_kernel<V>,
          .adam = adam_kernel<V>,
          .affine_bounds = bounds_kernel<V>};
}

}  // namespace
}  // namespace redoubt::kernels::detail
