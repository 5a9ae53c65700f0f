#pragma once
// The kernel of depthwise convolutions over a vector type V, see body.hpp for the rules.
#include "kernels/table.hpp"

namespace redoubt::kernels::detail {
namespace {

/// P places of one vector of channels: as many chains of multiply-adds, which share each load of a weight.
template <class V, int P, bool whole>
inline void depthwise_block(const DepthwiseRow& t, size_t p, size_t c, typename V::Mask mask) {
  using Reg = typename V::Reg;
  const auto load = [&](const float* from) {
    if constexpr (whole)
      return V::load(from);
    else
      return V::load(from, mask);
  };
  const float *src = t.src + p * t.step + c, *weight = t.weight + c;
  Reg sums[P];
  const Reg bias = load(t.bias + c);
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) sums[i] = bias;
  for (size_t y = 0; y < t.height; ++y, src += t.src_row, weight += t.weight_row) {
    const float *from = src, *w = weight;
    for (size_t x = 0; x < t.width; ++x, from += t.tap, w += t.channels) {
      const Reg value = load(w);
#pragma GCC unroll 8
      for (int i = 0; i < P; ++i) sums[i] = V::fma(load(from + size_t(i) * t.step), value, sums[i]);
    }
  }
  float* const to = t.dst + p * t.channels + c;
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) {
    const Reg sum = t.relu ? V::max(V::zero(), sums[i]) : sums[i];  // in this order NaN stays
    if constexpr (whole)
      V::store(to + size_t(i) * t.channels, sum);
    else
      V::store(to + size_t(i) * t.channels, sum, mask);
  }
}

template <class V, int P>
inline void depthwise_places(const DepthwiseRow& t, size_t p) {
  size_t c = 0;
  for (; c + V::width <= t.channels; c += V::width) depthwise_block<V, P, true>(t, p, c, V::tail(V::width));
  if (c < t.channels) depthwise_block<V, P, false>(t, p, c, V::tail(t.channels - c));
}

template <class V>
void depthwise_kernel(const DepthwiseRow& t) {
  size_t p = 0;
  for (; p + 8 <= t.places; p += 8) depthwise_places<V, 8>(t, p);
  if (p + 4 <= t.places) depthwise_places<V, 4>(t, p), p += 4;
  for (; p < t.places; ++p) depthwise_places<V, 1>(t, p);
}

}  // namespace
}  // namespace redoubt::kernels::detail
