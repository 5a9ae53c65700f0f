#pragma once
// Part of body.hpp: the transforms of Winograd convolutions. Everything is in an unnamed namespace, as there.
#include "kernels/table.hpp"

namespace redoubt::kernels::detail {
namespace {

template <class V>
void winograd_source_kernel(const float* src, size_t row, size_t channels, size_t tiles, float* dst, size_t plane) {
  using Reg = typename V::Reg;
  for (size_t t = 0; t < tiles; ++t, src += 2 * channels, dst += channels) {
    for (size_t c = 0; c < channels; c += V::width) {
      const typename V::Mask mask = V::tail(channels - c);
      Reg e[4][4];
#pragma GCC unroll 4
      for (int x = 0; x < 4; ++x) {
        const float* const from = src + x * channels + c;
        const Reg d0 = V::load(from, mask), d1 = V::load(from + row, mask), d2 = V::load(from + 2 * row, mask),
                  d3 = V::load(from + 3 * row, mask);
        e[0][x] = V::sub(d0, d2);
        e[1][x] = V::add(d1, d2);
        e[2][x] = V::sub(d2, d1);
        e[3][x] = V::sub(d1, d3);
      }
#pragma GCC unroll 4
      for (int y = 0; y < 4; ++y) {
        float* const to = dst + 4 * y * plane + c;
        V::store(to, V::sub(e[y][0], e[y][2]), mask);
        V::store(to + plane, V::add(e[y][1], e[y][2]), mask);
        V::store(to + 2 * plane, V::sub(e[y][2], e[y][1]), mask);
        V::store(to + 3 * plane, V::sub(e[y][1], e[y][3]), mask);
      }
    }
  }
}

template <class V>
void winograd_output_kernel(const float* src, size_t plane, size_t filters, size_t columns, const float* bias,
                            bool relu, float* first, float* second) {
  using Reg = typename V::Reg;
  for (size_t x = 0; x < columns; x += 2, src += filters) {
    for (size_t f = 0; f < filters; f += V::width) {
      const typename V::Mask mask = V::tail(filters - f);
      const Reg start = V::load(bias + f, mask);
      Reg s[2][4];
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) {
        const float* const from = src + j * plane + f;
        const Reg m0 = V::load(from, mask), m1 = V::load(from + 4 * plane, mask), m2 = V::load(from + 8 * plane, mask),
                  m3 = V::load(from + 12 * plane, mask);
        s[0][j] = V::add(V::add(m0, m1), m2);
        s[1][j] = V::sub(V::sub(m1, m2), m3);
      }
#pragma GCC unroll 2
      for (int y = 0; y < 2; ++y) {
        float* const line = y == 0 ? first : second;
        if (!line) break;
        Reg left = V::add(V::add(V::add(s[y][0], s[y][1]), s[y][2]), start);
        Reg right = V::add(V::sub(V::sub(s[y][1], s[y][2]), s[y][3]), start);
        if (relu) {
          left = V::max(V::zero(), left);
          right = V::max(V::zero(), right);
        }
        V::store(line + x * filters + f, left, mask);
        if (x + 1 < columns) V::store(line + (x + 1) * filters + f, right, mask);
      }
    }
  }
}

}  // namespace
}  // namespace redoubt::kernels::detail
