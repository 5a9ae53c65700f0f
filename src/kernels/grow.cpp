#include "kernels/grow.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "redoubt/core/error.hpp"

namespace redoubt::kernels::detail {
namespace {

std::size_t row_of(const uint32_t* rows, std::size_t first, std::size_t i) { return rows ? rows[i] : first + i; }

void bounds(const float* x, const uint32_t* rows, std::size_t n, float* least, float* largest) {
  float low = x[row_of(rows, 0, 0)], high = low;
  for (std::size_t i = 1; i < n; ++i) {
    low = std::min(low, x[row_of(rows, 0, i)]);
    high = std::max(high, x[row_of(rows, 0, i)]);
  }
  *least = low;
  *largest = high;
}

/// 32 random bits of a row: the finaliser of MurmurHash3 between two parts of the key.
uint32_t noise(uint32_t row, uint64_t key) {
  uint32_t x = row ^ static_cast<uint32_t>(key);
  x = (x ^ (x >> 16)) * 0x85ebca6bu;
  x += static_cast<uint32_t>(key >> 32);
  x = (x ^ (x >> 13)) * 0xc2b2ae35u;
  return x ^ (x >> 16);
}

void quantise(const float* g, const float* h, const uint32_t* rows, std::size_t first, std::size_t n, float g_scale,
              float h_scale, uint64_t key, uint32_t* out, int64_t* sums) {
  constexpr float unit = 1.0f / 1024;  // so coarse that the sum below is exact: what is whole stays as it is
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t row = row_of(rows, first, i);
    const uint32_t x = noise(static_cast<uint32_t>(row), key);
    const auto a = static_cast<int32_t>(std::floor(g[row] * g_scale + static_cast<float>(x >> 22) * unit));
    const auto b = static_cast<int32_t>(std::floor(h[row] * h_scale + static_cast<float>(x & 1023) * unit));
    out[i] = static_cast<uint32_t>(a) << 16 | static_cast<uint32_t>(b);
    sums[0] += a;
    sums[1] += b;
  }
}

void expand(const uint32_t* pairs, std::size_t n, uint64_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const auto g = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(pairs[i]) >> 16));
    out[i] = (g << grow_g_at) + (static_cast<uint64_t>(pairs[i] & 0xffff) << grow_h_at) + 1;
  }
}

void gather(const uint8_t* codes, std::size_t stride, const uint32_t* rows, std::size_t first, std::size_t n,
            std::size_t groups, const uint8_t* order, uint64_t* out, std::size_t out_stride) {
  constexpr std::size_t ahead = 24;
  for (std::size_t i = 0; i < n; ++i) {
    if (i + ahead < n) __builtin_prefetch(codes + row_of(rows, first, i + ahead) * stride);
    const uint8_t* row = codes + row_of(rows, first, i) * stride;
    for (std::size_t g = 0; g < groups; ++g) {
      uint8_t bytes[8];
      for (std::size_t b = 0; b < 8; ++b) bytes[b] = row[order ? order[8 * g + b] : 8 * g + b];
      std::memcpy(out + g * out_stride + i, bytes, 8);
    }
  }
}

void accumulate(const uint64_t* codes, const uint64_t* pairs, std::size_t n, std::size_t columns, uint64_t* bins,
                const uint8_t*, std::size_t, const uint32_t*, std::size_t) {
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t c = 0; c < columns; ++c) bins[c * 256 + (codes[i] >> (8 * c) & 255)] += pairs[i];
}

void accumulate_by_column(const uint8_t* const* codes, const uint64_t* pairs, std::size_t n, std::size_t columns,
                          uint64_t* bins) {
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t c = 0; c < columns; ++c) bins[c * 256 + codes[c][i]] += pairs[i];
}

int64_t gradient_of(uint64_t sums) { return static_cast<int64_t>(sums) >> grow_g_at; }

uint64_t hessian_and_rows_of(uint64_t sums, unsigned count_bits) {
  return ((sums >> grow_h_at & ((uint64_t{1} << (grow_g_at - grow_h_at)) - 1)) << count_bits) + (sums & grow_n_mask);
}

void flush(uint64_t* bins, std::size_t count, unsigned count_bits, bool add, int64_t* g, uint64_t* hn) {
  for (std::size_t b = 0; b < count; ++b) {
    g[b] = (add ? g[b] : 0) + gradient_of(bins[b]);
    hn[b] = (add ? hn[b] : 0) + hessian_and_rows_of(bins[b], count_bits);
    bins[b] = 0;
  }
}

void take(uint64_t* bins, std::size_t count, uint64_t* out) {
  std::copy_n(bins, count, out);
  std::fill_n(bins, count, uint64_t{0});
}

void fold(uint64_t* bins, std::size_t length, std::size_t runs, uint64_t* sums) {
  for (std::size_t k = 0; k < runs; ++k) {
    sums[k] = 0;
    for (std::size_t i = 0; i < length; ++i) {
      const uint64_t v = bins[k * length + i];
      sums[k] += v;
      if (k == 0) continue;
      bins[i] += v;
      bins[k * length + i] = 0;
    }
  }
}

void subtract(int64_t* g, uint64_t* hn, const int64_t* other_g, const uint64_t* other_hn, std::size_t count) {
  for (std::size_t b = 0; b < count; ++b) {
    g[b] -= other_g[b];
    hn[b] -= other_hn[b];
  }
}

void difference(const uint64_t* from, const uint64_t* less, std::size_t count, uint64_t* out) {
  for (std::size_t b = 0; b < count; ++b) out[b] = from[b] - less[b];
}

std::size_t mark(const uint8_t* codes, const uint32_t* rows, std::size_t first, std::size_t n, const uint32_t* set,
                 uint16_t* masks) {
  std::fill_n(masks, (n + 15) / 16, uint16_t{0});
  std::size_t count = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const uint8_t code = codes[row_of(rows, first, i)];
    const uint32_t in = set[code / 32] >> (code % 32) & 1;
    masks[i / 16] = static_cast<uint16_t>(masks[i / 16] | in << (i % 16));
    count += in;
  }
  return count;
}

void split(const uint32_t* rows, std::size_t first, const uint32_t* pairs, const uint16_t* masks, std::size_t n,
           std::size_t lefts, uint32_t* left_rows, uint32_t* left_pairs, uint32_t* right_rows, uint32_t* right_pairs) {
  // Both sides are written and one of them counts: no branch that could not be foreseen. A side that is full is not
  // written any more.
  std::size_t l = 0, r = 0;
  const std::size_t rights = n - lefts;
  std::size_t i = 0;
  for (; l < lefts && r < rights; ++i) {
    const auto row = static_cast<uint32_t>(row_of(rows, first, i));
    const bool left = masks[i / 16] >> (i % 16) & 1;
    left_rows[l] = right_rows[r] = row;
    left_pairs[l] = right_pairs[r] = pairs[i];
    l += left;
    r += !left;
  }
  for (; i < n; ++i) {
    const bool left = masks[i / 16] >> (i % 16) & 1;
    (left ? left_rows[l] : right_rows[r]) = static_cast<uint32_t>(row_of(rows, first, i));
    (left ? left_pairs[l] : right_pairs[r]) = pairs[i];
    l += left;
    r += !left;
  }
}

void stream(const uint32_t* src, std::size_t n, uint32_t* dst) { std::copy_n(src, n, dst); }

/// Makes these sums the left side of the best cut, if it is: of equal ones if `first` says so.
void consider(const SplitScan& in, int64_t left_g, uint64_t left_hn, uint32_t bin, uint32_t missing_left, bool first,
              SplitFound* best) {
  const uint64_t rows_mask = (uint64_t{1} << in.count_bits) - 1, right_hn = in.total_hn - left_hn;
  if ((left_hn & rows_mask) < in.min_rows || (right_hn & rows_mask) < in.min_rows) return;
  const uint64_t left_h = left_hn >> in.count_bits, right_h = right_hn >> in.count_bits;
  if (left_h < in.min_hessian || right_h < in.min_hessian) return;
  const auto gl = static_cast<double>(left_g), gr = static_cast<double>(in.total_g - left_g);
  const double hl = static_cast<double>(left_h) + in.l2, hr = static_cast<double>(right_h) + in.l2;
  const double score = (gl * gl * hr + gr * gr * hl) / (hl * hr);
  if (score > best->score || (first && score == best->score)) *best = {score, bin, missing_left};
}

void scan(const SplitScan& in, SplitFound* out) {
  *out = {-1, 0, 0};
  int64_t g = 0;
  uint64_t hn = 0;
  for (uint32_t b = 0; b < in.bins; ++b) {
    if (in.sums) {
      g += gradient_of(in.sums[b]);
      hn += hessian_and_rows_of(in.sums[b], in.count_bits);
    } else {
      g += in.g[b];
      hn += in.hn[b];
    }
    consider(in, g, hn, b, 0, false, out);
    if (in.missing_hn && hn) consider(in, g + in.missing_g, hn + in.missing_hn, b, 1, false, out);
  }
}

void scan_each(const SplitScan& in, SplitFound* out) {
  *out = {-1, 0, 0};
  for (uint32_t b = 0; b < in.bins; ++b)
    if (!in.ids || in.ids[b] != no_bin)
      consider(in, in.g[b], in.hn[b], b, 0, in.ids && in.ids[b] < in.ids[out->bin], out);
}

void assign(const float* x, std::size_t stride, std::size_t n, const float* cuts, std::size_t count, uint8_t* out) {
  for (std::size_t i = 0; i < n; ++i) {
    const float v = x[i * stride];
    std::size_t below = 0;
    for (std::size_t half = 128; half > 0; half /= 2) below += cuts[below + half - 1] < v ? half : 0;
    out[i] = static_cast<uint8_t>(v == v ? below : count);
  }
}

}  // namespace

extern const GrowTable naive_grow_table = {
    0,      bounds, quantise,  expand,   gather,     accumulate, accumulate_by_column,
    flush,  take,   fold,      subtract, difference, mark,       split,
    stream, scan,   scan_each, assign};

const GrowTable& grow_table_for([[maybe_unused]] Isa isa) noexcept {
#if defined(REDOUBT_HAS_X86_KERNELS)
  if (isa >= Isa::avx512) return avx512_grow_table;
  if (isa >= Isa::avx2) return avx2_grow_table;
#endif
  return naive_grow_table;
}

const GrowTable& grow_table() noexcept {
  static const GrowTable& chosen = []() noexcept -> const GrowTable& {
    try {
      return grow_table_for(active_isa());
    } catch (const Error&) {
      return naive_grow_table;
    }
  }();
  return chosen;
}

}  // namespace redoubt::kernels::detail
