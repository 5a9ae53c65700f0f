// Growing trees on AVX2. Compiled with the flags of this level (cmake/RedoubtIsa.cmake): no other includes, see
// body.hpp. Every kernel gives the bits of the naive one; products and sums are not contracted.
//
// There are no gathers: eight of them cost more than eight loads on AMD, and on Intel since the microcode against
// Downfall. There is no compressing move either: a table of 256 permutations stands for it.
#include <immintrin.h>

#include "kernels/accumulate_body.hpp"
#include "kernels/grow_table.hpp"

namespace redoubt::kernels::detail {
namespace {

using Unaligned64 = uint64_t __attribute__((may_alias, aligned(1)));

__m256i load(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
void store(void* p, __m256i v) { _mm256_storeu_si256(static_cast<__m256i*>(p), v); }

__m256 floats_of(const float* x, const uint32_t* rows) {
  return _mm256_setr_ps(x[rows[0]], x[rows[1]], x[rows[2]], x[rows[3]], x[rows[4]], x[rows[5]], x[rows[6]], x[rows[7]]);
}

void bounds(const float* x, const uint32_t* rows, size_t n, float* least, float* largest) {
  float low = x[rows ? rows[0] : 0], high = low;
  size_t i = 0;
  if (n >= 8) {
    __m256 lows = _mm256_set1_ps(low), highs = lows;
    for (; i + 8 <= n; i += 8) {
      const __m256 v = rows ? floats_of(x, rows + i) : _mm256_loadu_ps(x + i);
      lows = _mm256_min_ps(lows, v);
      highs = _mm256_max_ps(highs, v);
    }
    float l[8], h[8];
    _mm256_storeu_ps(l, lows);
    _mm256_storeu_ps(h, highs);
    for (size_t k = 0; k < 8; ++k) {
      low = l[k] < low ? l[k] : low;
      high = h[k] > high ? h[k] : high;
    }
  }
  for (; i < n; ++i) {
    const float v = x[rows ? rows[i] : i];
    low = v < low ? v : low;
    high = v > high ? v : high;
  }
  *least = low;
  *largest = high;
}

int64_t sum_of_lanes(__m256i v) {
  int64_t lanes[4];
  store(lanes, v);
  return lanes[0] + lanes[1] + lanes[2] + lanes[3];
}

__m256i widened_sum(__m256i v) {
  return _mm256_add_epi64(_mm256_cvtepi32_epi64(_mm256_castsi256_si128(v)),
                          _mm256_cvtepi32_epi64(_mm256_extracti128_si256(v, 1)));
}

void quantise(const float* g, const float* h, const uint32_t* rows, size_t first, size_t n, float g_scale,
              float h_scale, uint64_t key, uint32_t* out, int64_t* sums) {
  const __m256 unit = _mm256_set1_ps(1.0f / 1024), gs = _mm256_set1_ps(g_scale), hs = _mm256_set1_ps(h_scale);
  const __m256i key0 = _mm256_set1_epi32(int(uint32_t(key))), key1 = _mm256_set1_epi32(int(uint32_t(key >> 32)));
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  __m256i g_sum = _mm256_setzero_si256(), h_sum = g_sum;
  const auto quantised = [&](__m256i row, __m256 gv, __m256 hv, __m256i& a, __m256i& b) {
    __m256i x = _mm256_xor_si256(row, key0);
    x = _mm256_mullo_epi32(_mm256_xor_si256(x, _mm256_srli_epi32(x, 16)), _mm256_set1_epi32(int(0x85ebca6bu)));
    x = _mm256_add_epi32(x, key1);
    x = _mm256_mullo_epi32(_mm256_xor_si256(x, _mm256_srli_epi32(x, 13)), _mm256_set1_epi32(int(0xc2b2ae35u)));
    x = _mm256_xor_si256(x, _mm256_srli_epi32(x, 16));
    const __m256 g_noise = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(x, 22)), unit);
    const __m256 h_noise = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_and_si256(x, _mm256_set1_epi32(1023))), unit);
    a = _mm256_cvttps_epi32(_mm256_floor_ps(_mm256_add_ps(_mm256_mul_ps(gv, gs), g_noise)));
    b = _mm256_cvttps_epi32(_mm256_floor_ps(_mm256_add_ps(_mm256_mul_ps(hv, hs), h_noise)));
  };
  size_t i = 0;
  while (i + 8 <= n) {
    // 2^16 sums of at most 2^14 fit 32 bits.
    const size_t end = n - i > (size_t{8} << 16) ? i + (size_t{8} << 16) : n;
    __m256i g_part = _mm256_setzero_si256(), h_part = g_part;
    for (; i + 8 <= end; i += 8) {
      const __m256i row = rows ? load(rows + i) : _mm256_add_epi32(_mm256_set1_epi32(int(uint32_t(first + i))), lanes);
      const __m256 gv = rows ? floats_of(g, rows + i) : _mm256_loadu_ps(g + first + i);
      const __m256 hv = rows ? floats_of(h, rows + i) : _mm256_loadu_ps(h + first + i);
      __m256i a, b;
      quantised(row, gv, hv, a, b);
      store(out + i, _mm256_or_si256(_mm256_slli_epi32(a, 16), b));
      g_part = _mm256_add_epi32(g_part, a);
      h_part = _mm256_add_epi32(h_part, b);
    }
    g_sum = _mm256_add_epi64(g_sum, widened_sum(g_part));
    h_sum = _mm256_add_epi64(h_sum, widened_sum(h_part));
  }
  sums[0] += sum_of_lanes(g_sum);
  sums[1] += sum_of_lanes(h_sum);
  if (i == n) return;
  uint32_t row[8] = {};
  float gv[8] = {}, hv[8] = {};
  for (size_t k = 0; k < n - i; ++k) {
    row[k] = rows ? rows[i + k] : uint32_t(first + i + k);
    gv[k] = g[row[k]];
    hv[k] = h[row[k]];
  }
  __m256i a, b;
  quantised(load(row), _mm256_loadu_ps(gv), _mm256_loadu_ps(hv), a, b);
  int32_t as[8], bs[8];
  store(as, a);
  store(bs, b);
  for (size_t k = 0; k < n - i; ++k) {
    out[i + k] = uint32_t(as[k]) << 16 | uint32_t(bs[k]);
    sums[0] += as[k];
    sums[1] += bs[k];
  }
}

void expand(const uint32_t* pairs, size_t n, uint64_t* out) {
  const __m256i low = _mm256_set1_epi64x(0xffff), one = _mm256_set1_epi64x(1);
  size_t i = 0;
  for (; i + 4 <= n; i += 4) {
    const __m256i pair = _mm256_cvtepi32_epi64(_mm_loadu_si128(reinterpret_cast<const __m128i*>(pairs + i)));
    const __m256i g = _mm256_slli_epi64(_mm256_andnot_si256(low, pair), grow_g_at - 16);
    const __m256i h = _mm256_slli_epi64(_mm256_and_si256(pair, low), grow_h_at);
    store(out + i, _mm256_add_epi64(_mm256_add_epi64(g, h), one));
  }
  for (; i < n; ++i) {
    const uint64_t g = uint64_t(int64_t(int32_t(pairs[i]) >> 16));
    out[i] = (g << grow_g_at) + (uint64_t{pairs[i] & 0xffff} << grow_h_at) + 1;
  }
}

void gather(const uint8_t* codes, size_t stride, const uint32_t* rows, size_t first, size_t n, size_t groups,
            const uint8_t* order, uint64_t* out, size_t out_stride) {
  constexpr size_t ahead = 32;
  size_t i = 0;
  const auto row = [&](size_t k) { return codes + (rows ? rows[k] : first + k) * stride; };
  if (groups == 4) {
    __m256i low = _mm256_setzero_si256(), high = low;
    if (order) {
      // Places in the lower and in the upper half of a row; what is in the other half becomes 0.
      const __m256i places = load(order), middle = _mm256_set1_epi8(15);
      low = _mm256_or_si256(places, _mm256_cmpgt_epi8(places, middle));
      high = _mm256_sub_epi8(places, _mm256_set1_epi8(16));
    }
    const auto bytes = [&](size_t k) {
      const __m256i x = load(row(k));
      if (!order) return x;
      return _mm256_or_si256(_mm256_shuffle_epi8(_mm256_permute2x128_si256(x, x, 0x00), low),
                             _mm256_shuffle_epi8(_mm256_permute2x128_si256(x, x, 0x11), high));
    };
    for (; i + 4 <= n; i += 4) {
      if (rows && i + ahead + 4 <= n)
        for (size_t k = 0; k < 4; ++k) _mm_prefetch((const char*)row(i + ahead + k), _MM_HINT_T0);
      const __m256i a = bytes(i), b = bytes(i + 1), c = bytes(i + 2), d = bytes(i + 3);
      const __m256i ab02 = _mm256_unpacklo_epi64(a, b), ab13 = _mm256_unpackhi_epi64(a, b);
      const __m256i cd02 = _mm256_unpacklo_epi64(c, d), cd13 = _mm256_unpackhi_epi64(c, d);
      store(out + i, _mm256_permute2x128_si256(ab02, cd02, 0x20));
      store(out + out_stride + i, _mm256_permute2x128_si256(ab13, cd13, 0x20));
      store(out + 2 * out_stride + i, _mm256_permute2x128_si256(ab02, cd02, 0x31));
      store(out + 3 * out_stride + i, _mm256_permute2x128_si256(ab13, cd13, 0x31));
    }
  }
  for (; i < n; ++i) {
    if (rows && i + ahead < n) _mm_prefetch((const char*)row(i + ahead), _MM_HINT_T0);
    const uint8_t* r = row(i);
    for (size_t g = 0; g < groups; ++g) {
      uint64_t word = 0;
      if (order)
        for (size_t b = 0; b < 8; ++b) word |= uint64_t{r[order[8 * g + b]]} << (8 * b);
      else
        word = *(const Unaligned64*)(r + 8 * g);
      out[g * out_stride + i] = word;
    }
  }
}

void flush(uint64_t* bins, size_t count, unsigned count_bits, bool add, int64_t* g, uint64_t* hn) {
  const __m256i h_mask = _mm256_set1_epi64x((int64_t{1} << (grow_g_at - grow_h_at)) - 1);
  const __m256i n_mask = _mm256_set1_epi64x(grow_n_mask);
  const __m128i shift = _mm_cvtsi64_si128(int64_t(count_bits));
  for (size_t b = 0; b < count; b += 4) {
    const __m256i v = load(bins + b);
    store(bins + b, _mm256_setzero_si256());
    // An arithmetic shift by grow_g_at, of which AVX2 has only that of 32-bit halves.
    __m256i gv =
        _mm256_blend_epi32(_mm256_srli_epi64(_mm256_srai_epi32(v, grow_g_at - 32), 32), _mm256_srai_epi32(v, 31), 0xaa);
    __m256i hv = _mm256_add_epi64(_mm256_sll_epi64(_mm256_and_si256(_mm256_srli_epi64(v, grow_h_at), h_mask), shift),
                                  _mm256_and_si256(v, n_mask));
    if (add) {
      gv = _mm256_add_epi64(gv, load(g + b));
      hv = _mm256_add_epi64(hv, load(hn + b));
    }
    store(g + b, gv);
    store(hn + b, hv);
  }
}

void take(uint64_t* bins, size_t count, uint64_t* out) {
  for (size_t b = 0; b < count; b += 4) {
    store(out + b, load(bins + b));
    store(bins + b, _mm256_setzero_si256());
  }
}

void fold(uint64_t* bins, size_t length, size_t runs, uint64_t* sums) {
  for (size_t k = 0; k < runs; ++k) {
    uint64_t* const run = bins + k * length;
    __m256i sum = _mm256_setzero_si256();
    size_t i = 0;
    for (; i + 4 <= length; i += 4) {
      const __m256i v = load(run + i);
      sum = _mm256_add_epi64(sum, v);
      if (k == 0) continue;
      store(bins + i, _mm256_add_epi64(v, load(bins + i)));
      store(run + i, _mm256_setzero_si256());
    }
    const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    uint64_t total = uint64_t(_mm_cvtsi128_si64(half)) + uint64_t(_mm_extract_epi64(half, 1));
    for (; i < length; ++i) {
      const uint64_t v = run[i];
      total += v;
      if (k == 0) continue;
      bins[i] += v;
      run[i] = 0;
    }
    sums[k] = total;
  }
}

void subtract(int64_t* g, uint64_t* hn, const int64_t* other_g, const uint64_t* other_hn, size_t count) {
  size_t b = 0;
  for (; b + 4 <= count; b += 4) {
    store(g + b, _mm256_sub_epi64(load(g + b), load(other_g + b)));
    store(hn + b, _mm256_sub_epi64(load(hn + b), load(other_hn + b)));
  }
  for (; b < count; ++b) {
    g[b] -= other_g[b];
    hn[b] -= other_hn[b];
  }
}

void difference(const uint64_t* from, const uint64_t* less, size_t count, uint64_t* out) {
  size_t b = 0;
  for (; b + 4 <= count; b += 4) store(out + b, _mm256_sub_epi64(load(from + b), load(less + b)));
  for (; b < count; ++b) out[b] = from[b] - less[b];
}

size_t mark(const uint8_t* codes, const uint32_t* rows, size_t first, size_t n, const uint32_t* set, uint16_t* masks) {
  // The set is 32 bytes: bits 3-7 of a code choose the byte, bits 0-2 the bit.
  const __m256i words = load(set);
  const __m256i low_bytes = _mm256_permute2x128_si256(words, words, 0x00);
  const __m256i high_bytes = _mm256_permute2x128_si256(words, words, 0x11);
  const __m256i bits = _mm256_set1_epi64x(int64_t(0x8040201008040201u));
  const auto in_set = [&](__m256i code) {
    const __m256i at = _mm256_and_si256(_mm256_srli_epi16(code, 3), _mm256_set1_epi8(31));
    const __m256i byte =
        _mm256_blendv_epi8(_mm256_shuffle_epi8(low_bytes, at), _mm256_shuffle_epi8(high_bytes, at), code);
    const __m256i bit = _mm256_shuffle_epi8(bits, _mm256_and_si256(code, _mm256_set1_epi8(7)));
    return uint32_t(_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_and_si256(byte, bit), bit)));
  };
  constexpr size_t block = 256;
  alignas(32) uint8_t listed[block];
  size_t count = 0;
  for (size_t begin = 0; begin < n; begin += block) {
    const size_t m = n - begin < block ? n - begin : block;
    const uint8_t* from = codes + first + begin;
    if (rows || m < block) {
      // Written long before they are read as vectors: a load of what was just stored in parts would wait.
      const uint32_t* r = rows + begin;
      size_t i = 0;
      if (rows)
        for (; i + 8 <= m; i += 8)
          for (size_t k = 0; k < 8; ++k) listed[i + k] = codes[r[i + k]];
      for (; i < m; ++i) listed[i] = rows ? codes[r[i]] : from[i];
      for (; i % 32 != 0; ++i) listed[i] = 0;
      from = listed;
    }
    for (size_t i = 0; i < m; i += 32) {
      uint32_t in = in_set(load(from + i));
      if (m - i < 32) in &= (1u << (m - i)) - 1;
      count += size_t(__builtin_popcount(in));
      masks[(begin + i) / 16] = uint16_t(in);
      if (m - i > 16) masks[(begin + i) / 16 + 1] = uint16_t(in >> 16);
    }
  }
  return count;
}

/// Entry m: the places of the bits of m, a byte each, then zeros.
struct Packing {
  uint64_t places[256];
  constexpr Packing() : places() {
    for (unsigned m = 0; m < 256; ++m) {
      unsigned to = 0;
      for (unsigned bit = 0; bit < 8; ++bit)
        if (m >> bit & 1) places[m] |= uint64_t{bit} << 8 * to++;
    }
  }
};
constexpr Packing packing;

__m256i packed(__m256i v, unsigned mask) {
  return _mm256_permutevar8x32_epi32(v, _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(int64_t(packing.places[mask]))));
}

void split(const uint32_t* rows, size_t first, const uint32_t* pairs, const uint16_t* masks, size_t n, size_t lefts,
           uint32_t* left_rows, uint32_t* left_pairs, uint32_t* right_rows, uint32_t* right_pairs) {
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const size_t rights = n - lefts;
  size_t l = 0, r = 0, i = 0;
  // Eight are stored, of which some count, as long as both sides have room for eight.
  for (; l + 8 <= lefts && r + 8 <= rights; i += 8) {
    const unsigned left = masks[i / 16] >> (i % 16) & 255, right = left ^ 255;
    const __m256i row = rows ? load(rows + i) : _mm256_add_epi32(_mm256_set1_epi32(int(uint32_t(first + i))), lanes);
    const __m256i pair = load(pairs + i);
    store(left_rows + l, packed(row, left));
    store(left_pairs + l, packed(pair, left));
    store(right_rows + r, packed(row, right));
    store(right_pairs + r, packed(pair, right));
    const size_t to_left = size_t(__builtin_popcount(left));
    l += to_left;
    r += 8 - to_left;
  }
  const auto row_at = [&](size_t k) { return rows ? rows[k] : uint32_t(first + k); };
  // What is left over is mostly of one side: eight of a kind at once.
  for (; i + 8 <= n; i += 8) {
    const unsigned left = masks[i / 16] >> (i % 16) & 255;
    if (left == 255 || left == 0) {
      uint32_t* to_rows = left ? left_rows + l : right_rows + r;
      uint32_t* to_pairs = left ? left_pairs + l : right_pairs + r;
      store(to_rows, rows ? load(rows + i) : _mm256_add_epi32(_mm256_set1_epi32(int(uint32_t(first + i))), lanes));
      store(to_pairs, load(pairs + i));
      (left ? l : r) += 8;
      continue;
    }
    for (size_t k = 0; k < 8; ++k) {
      const bool to_left = left >> k & 1;
      (to_left ? left_rows[l] : right_rows[r]) = row_at(i + k);
      (to_left ? left_pairs[l] : right_pairs[r]) = pairs[i + k];
      l += to_left;
      r += !to_left;
    }
  }
  for (; i < n; ++i) {
    const bool to_left = masks[i / 16] >> (i % 16) & 1;
    (to_left ? left_rows[l] : right_rows[r]) = row_at(i);
    (to_left ? left_pairs[l] : right_pairs[r]) = pairs[i];
    l += to_left;
    r += !to_left;
  }
}

void stream(const uint32_t* src, size_t n, uint32_t* dst) {
  size_t i = 0;
  for (; i < n && (uintptr_t(dst + i) & 63); ++i) dst[i] = src[i];
  for (; i + 16 <= n; i += 16) {
    _mm256_stream_si256((__m256i*)(dst + i), load(src + i));
    _mm256_stream_si256((__m256i*)(dst + i + 8), load(src + i + 8));
  }
  for (; i < n; ++i) dst[i] = src[i];
  _mm_sfence();
}

/// Sums of lanes 0 .. i.
__m256i prefix(__m256i x) {
  x = _mm256_add_epi64(x, _mm256_slli_si256(x, 8));
  const __m256i low = _mm256_permute4x64_epi64(x, 0x55);
  return _mm256_add_epi64(x, _mm256_blend_epi32(_mm256_setzero_si256(), low, 0xf0));
}

__m256i last_lane(__m256i x) { return _mm256_permute4x64_epi64(x, 0xff); }

/// Exact below 2^51: sums of 2^32 rows are below 2^46.
__m256d to_double(__m256i x) {
  const __m256d magic = _mm256_set1_pd(6755399441055744.0);  // 3 * 2^51
  return _mm256_sub_pd(_mm256_castsi256_pd(_mm256_add_epi64(x, _mm256_castpd_si256(magic))), magic);
}

/// a < b, as integers below 2^63.
__m256i less(__m256i a, __m256i b) { return _mm256_cmpgt_epi64(b, a); }

struct Scanner {
  __m256i total_g, total_h, total_n, min_rows, min_h;
  __m256d l2, best;
  __m256i best_at;

  /// ordered: whether places come in ascending order.
  template <bool ordered>
  void consider(__m256i left_g, __m256i left_h, __m256i left_n, __m256i at, __m256i not_here) {
    const __m256i right_h = _mm256_sub_epi64(total_h, left_h), right_n = _mm256_sub_epi64(total_n, left_n);
    const __m256i few = _mm256_or_si256(less(left_n, min_rows), less(right_n, min_rows));
    const __m256i light = _mm256_or_si256(less(left_h, min_h), less(right_h, min_h));
    const __m256d bad = _mm256_castsi256_pd(_mm256_or_si256(_mm256_or_si256(few, light), not_here));
    if (_mm256_movemask_pd(bad) == 15) return;
    const __m256d gl = to_double(left_g), gr = to_double(_mm256_sub_epi64(total_g, left_g));
    const __m256d hl = _mm256_add_pd(to_double(left_h), l2), hr = _mm256_add_pd(to_double(right_h), l2);
    const __m256d a = _mm256_mul_pd(_mm256_mul_pd(gl, gl), hr), b = _mm256_mul_pd(_mm256_mul_pd(gr, gr), hl);
    const __m256d score = _mm256_div_pd(_mm256_add_pd(a, b), _mm256_mul_pd(hl, hr));
    __m256d better = _mm256_cmp_pd(score, best, _CMP_GT_OQ);
    if constexpr (!ordered)
      better = _mm256_or_pd(
          better, _mm256_and_pd(_mm256_cmp_pd(score, best, _CMP_EQ_OQ), _mm256_castsi256_pd(less(at, best_at))));
    better = _mm256_andnot_pd(bad, better);
    best = _mm256_blendv_pd(best, score, better);
    best_at = _mm256_castpd_si256(_mm256_blendv_pd(_mm256_castsi256_pd(best_at), _mm256_castsi256_pd(at), better));
  }
};

enum class Bins { plain, sums, apart };

/// apart: each bin against the rest, without missing ones. sums: in the format of a bin.
template <Bins kind>
void scan_bins(const SplitScan& in, SplitFound* out) {
  const __m128i shift = _mm_cvtsi64_si128(int64_t(in.count_bits));
  const __m256i rows_mask = _mm256_set1_epi64x((int64_t{1} << in.count_bits) - 1);
  Scanner s;
  s.total_g = _mm256_set1_epi64x(in.total_g);
  s.total_h = _mm256_set1_epi64x(int64_t(in.total_hn >> in.count_bits));
  s.total_n = _mm256_and_si256(_mm256_set1_epi64x(int64_t(in.total_hn)), rows_mask);
  s.min_rows = _mm256_set1_epi64x(int64_t(in.min_rows));
  s.min_h = _mm256_set1_epi64x(int64_t(in.min_hessian));
  s.l2 = _mm256_set1_pd(in.l2);
  s.best = _mm256_set1_pd(-1);
  s.best_at = _mm256_setzero_si256();
  const __m256i missing_g = _mm256_set1_epi64x(in.missing_g);
  const __m256i missing_h = _mm256_set1_epi64x(int64_t(in.missing_hn >> in.count_bits));
  const __m256i missing_n = _mm256_and_si256(_mm256_set1_epi64x(int64_t(in.missing_hn)), rows_mask);
  const __m256i zero = _mm256_setzero_si256(), end = _mm256_set1_epi64x(int64_t{in.bins} * 2 - 1);
  __m256i at = _mm256_setr_epi64x(0, 2, 4, 6);  // twice the bin, and 1 if the missing go left
  __m256i carry = zero, hn_carry = zero;
  for (uint32_t b = 0; b < in.bins; b += 4) {
    // What is read behind the last bin changes only sums that are not used.
    __m256i g, h, n;
    if constexpr (kind == Bins::sums) {
      const __m256i block = prefix(load(in.sums + b)), sums = _mm256_add_epi64(block, carry);
      carry = _mm256_add_epi64(carry, last_lane(block));
      const __m256i sign = _mm256_set1_epi64x(int64_t{1} << (63 - grow_g_at));
      g = _mm256_sub_epi64(_mm256_xor_si256(_mm256_srli_epi64(sums, grow_g_at), sign), sign);
      h = _mm256_srli_epi64(_mm256_slli_epi64(sums, 64 - grow_g_at), 64 - grow_g_at + grow_h_at);
      n = _mm256_and_si256(sums, _mm256_set1_epi64x(grow_n_mask));
    } else {
      g = load(in.g + b);
      __m256i hn = load(in.hn + b);
      if constexpr (kind == Bins::plain) {
        const __m256i g_block = prefix(g), hn_block = prefix(hn);
        g = _mm256_add_epi64(g_block, carry);
        hn = _mm256_add_epi64(hn_block, hn_carry);
        carry = _mm256_add_epi64(carry, last_lane(g_block));
        hn_carry = _mm256_add_epi64(hn_carry, last_lane(hn_block));
      }
      h = _mm256_srl_epi64(hn, shift);
      n = _mm256_and_si256(hn, rows_mask);
    }
    const __m256i behind = _mm256_cmpgt_epi64(at, end);
    if constexpr (kind == Bins::apart) {
      __m256i place = at, not_here = behind;
      if (in.ids) {  // above the place
        const __m256i ids = _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i*)(in.ids + b)));
        place = _mm256_or_si256(place, _mm256_slli_epi64(ids, 32));
        not_here = _mm256_or_si256(not_here, less(ids, zero));
      }
      s.consider<false>(g, h, n, place, not_here);
    } else {
      s.consider<true>(g, h, n, at, behind);
      if (in.missing_hn)
        s.consider<true>(_mm256_add_epi64(g, missing_g), _mm256_add_epi64(h, missing_h), _mm256_add_epi64(n, missing_n),
                         _mm256_add_epi64(at, _mm256_set1_epi64x(1)),
                         _mm256_or_si256(behind, _mm256_cmpeq_epi64(n, zero)));
    }
    at = _mm256_add_epi64(at, _mm256_set1_epi64x(8));
  }
  double scores[4];
  int64_t places[4];
  _mm256_storeu_pd(scores, s.best);
  store(places, s.best_at);
  double best = scores[0];
  int64_t where = places[0];
  for (size_t k = 1; k < 4; ++k) {
    if (scores[k] > best || (scores[k] == best && places[k] < where)) {
      best = scores[k];
      where = places[k];
    }
  }
  out->score = best;
  out->bin = best < 0 ? 0 : uint32_t(where) >> 1;
  out->missing_left = best < 0 ? 0 : uint32_t(where & 1);
}

void scan(const SplitScan& in, SplitFound* out) {
  in.sums ? scan_bins<Bins::sums>(in, out) : scan_bins<Bins::plain>(in, out);
}

void scan_each(const SplitScan& in, SplitFound* out) { scan_bins<Bins::apart>(in, out); }

void assign(const float* x, size_t stride, size_t n, const float* cuts, size_t count, uint8_t* out) {
  // Which sixteenth, then how many within it: all cuts are compared at once and the lesser ones counted.
  float coarse[16];
  for (size_t k = 0; k < 15; ++k) coarse[k] = cuts[16 * k + 15];
  coarse[15] = __builtin_inff();  // there is no seventeenth
  const __m256 low = _mm256_loadu_ps(coarse), high = _mm256_loadu_ps(coarse + 8);
  const auto below = [](__m256 a, __m256 b, __m256 v) {
    const int m = _mm256_movemask_ps(_mm256_cmp_ps(a, v, _CMP_LT_OQ));
    return size_t(__builtin_popcount(unsigned(m | _mm256_movemask_ps(_mm256_cmp_ps(b, v, _CMP_LT_OQ)) << 8)));
  };
  for (size_t i = 0; i < n; ++i) {
    const float value = x[i * stride];
    const __m256 v = _mm256_set1_ps(value);
    const float* fine = cuts + 16 * below(low, high, v);
    const size_t found = size_t(fine - cuts) + below(_mm256_loadu_ps(fine), _mm256_loadu_ps(fine + 8), v);
    out[i] = uint8_t(value == value ? found : count);
  }
}

}  // namespace

extern constexpr GrowTable avx2_grow_table = {
    1,      bounds, quantise,  expand,   gather,     accumulate, accumulate_by_column,
    flush,  take,   fold,      subtract, difference, mark,       split,
    stream, scan,   scan_each, assign};

}  // namespace redoubt::kernels::detail
