#pragma once
// Part of body.hpp: products with weights packed once, and pooling. Everything is in an unnamed namespace, as there.

namespace redoubt::kernels::detail {
namespace {

/// One row times A vectors of a panel and B of the next: up to twice tile_vectors chains, which hide the latency of
/// the multiply-adds. The last vector is stored masked. With `list`, only those x count (the others are zero).
template <class V, int A, int B>
void row_panels(const float* x, const unsigned* list, size_t count, const float* first, const float* second,
                size_t cols, const float* bias, unsigned char activation, float* out) {
  using Reg = typename V::Reg;
  constexpr size_t w = V::width, panel = V::tile_vectors * w;
  const typename V::Mask mask = V::tail(cols - (A + B - 1) * w);
  Reg acc[A + B];
#pragma GCC unroll 8
  for (int j = 0; j < A + B; ++j)
    acc[j] = !bias ? V::zero() : j == A + B - 1 ? V::load(bias + j * w, mask) : V::load(bias + j * w);
  const auto add = [&](size_t k) {
    const Reg value = V::set(x[k]);
    const float* p = first + k * panel;
#pragma GCC unroll 8
    for (int j = 0; j < A; ++j) acc[j] = V::fma(value, V::load(p + j * w), acc[j]);
    if constexpr (B > 0) {
      p = second + k * panel;
#pragma GCC unroll 8
      for (int j = 0; j < B; ++j) acc[A + j] = V::fma(value, V::load(p + j * w), acc[A + j]);
    }
  };
  if (list) {
    for (size_t i = 0; i < count; ++i) add(list[i]);
  } else {
#pragma GCC unroll 2
    for (size_t k = 0; k < count; ++k) add(k);
  }
#pragma GCC unroll 8
  for (int j = 0; j < A + B; ++j) {
    const Reg value = activation == activation_relu ? relu_of<V>(acc[j]) : acc[j];
    if (j == A + B - 1)
      V::store(out + j * w, value, mask);
    else
      V::store(out + j * w, value);
  }
  if (activation > activation_relu) activate<V>(activation, out, cols);
}

template <class V>
size_t nonzero_kernel(const float* x, size_t n, unsigned* list) {
  size_t count = 0;
  for (size_t i = 0; i < n; i += V::width) {
    const size_t left = n - i < V::width ? n - i : V::width;
    count += V::list_nonzero(x + i, left, unsigned(i), list + count);
    if (i == 0 && count + V::width / 8 > left) return n;
  }
  return count;
}

/// out[cols] = activation(x * panels + bias).
template <class V>
void packed_row_kernel(const float* x, size_t depth, const unsigned* list, size_t count, const float* panels,
                       size_t cols, const float* bias, unsigned char activation, float* out) {
  constexpr size_t w = V::width, panel = V::tile_vectors * w;
  constexpr int T = V::tile_vectors;
  for (size_t col = 0; col < cols; col += 2 * panel) {
    const float *first = panels + col * depth, *second = first + panel * depth, *start = bias ? bias + col : nullptr;
    const size_t left = cols - col < 2 * panel ? cols - col : 2 * panel, vectors = (left + w - 1) / w;
    const auto run = [&](auto kernel) {
      kernel(x, list, list ? count : depth, first, second, left, start, activation, out + col);
    };
    switch (vectors) {
      case 1: run(row_panels<V, 1, 0>); break;
      case 2: run(row_panels<V, 2, 0>); break;
      case 3: run(row_panels<V, T, 3 - T>); break;
      case 4: run(row_panels<V, T, 4 - T>); break;
      case 5: run(row_panels < V, T, T == 3 ? 2 : 1 >); break;
      default: run(row_panels<V, T, T>); break;
    }
  }
}

/// H x W: a window known here, 0 x 0: the one given.
template <class V, size_t H, size_t W>
void max_pool_windows(const float* src, size_t src_row, size_t step, size_t given_height, size_t given_width,
                      size_t channels, size_t places, float* dst) {
  using Reg = typename V::Reg;
  const size_t height = H > 0 ? H : given_height, width = W > 0 ? W : given_width;
  const Reg lowest = V::set(-__builtin_inff());
  for (size_t p = 0; p < places; ++p, src += step, dst += channels) {
    for (size_t c = 0; c < channels; c += V::width) {
      const typename V::Mask mask = V::tail(channels - c);
      Reg best = lowest;
      for (size_t y = 0; y < height; ++y) {
        for (size_t x = 0; x < width; ++x) {
          best = V::max(V::load(src + y * src_row + x * channels + c, mask), best);
        }
      }
      V::store(dst + c, best, mask);
    }
  }
}

template <class V>
void max_pool_kernel(const float* src, size_t src_row, size_t step, size_t height, size_t width, size_t channels,
                     size_t places, float* dst) {
  (height == 2 && width == 2 ? max_pool_windows<V, 2, 2> : max_pool_windows<V, 0, 0>)(src, src_row, step, height, width,
                                                                                      channels, places, dst);
}

template <class V, size_t H, size_t W, bool Add>
void max_pool_slopes(const float* src, const float* best, const float* slopes, size_t src_row, size_t step,
                     size_t given_height, size_t given_width, size_t channels, size_t places, bool relu, float* dst) {
  using Reg = typename V::Reg;
  const size_t height = H > 0 ? H : given_height, width = W > 0 ? W : given_width;
  const Reg lowest = V::set(-__builtin_inff());
  const Reg floor = relu ? V::set(0x1p-149f) : lowest;  // of windows whose slope counts
  for (size_t p = 0; p < places; ++p, src += step, dst += step, best += channels, slopes += channels) {
    for (size_t c = 0; c < channels; c += V::width) {
      const typename V::Mask mask = V::tail(channels - c);
      const Reg largest = V::load(best + c, mask);
      Reg rest = V::keep_if_ge(largest, floor, V::load(slopes + c, mask));
      for (size_t y = 0; y < height; ++y) {
        for (size_t x = 0; x < width; ++x) {
          const size_t at = y * src_row + x * channels + c;
          // None is above the largest; a NaN counts as the lowest.
          const Reg share = V::keep_if_ge(V::max(V::load(src + at, mask), lowest), largest, rest);
          rest = V::sub(rest, share);
          V::store(dst + at, Add ? V::add(V::load(dst + at, mask), share) : share, mask);
        }
      }
    }
  }
}

template <class V>
void max_pool_backward_kernel(const float* src, const float* best, const float* slopes, size_t src_row, size_t step,
                              size_t height, size_t width, size_t channels, size_t places, bool relu, bool add,
                              float* dst) {
  const bool two = height == 2 && width == 2;
  const auto run = add   ? two ? max_pool_slopes<V, 2, 2, true> : max_pool_slopes<V, 0, 0, true>
                     : two ? max_pool_slopes<V, 2, 2, false>
                         : max_pool_slopes<V, 0, 0, false>;
  run(src, best, slopes, src_row, step, height, width, channels, places, relu, dst);
}

}  // namespace
}  // namespace redoubt::kernels::detail
