// AVX-512 F/BW/DQ/VL. Compiled with the flags of this level (cmake/RedoubtIsa.cmake): no other includes, see body.hpp.
// Every kernel gives the bits of the naive one; products and sums are not contracted.
#include <immintrin.h>

#include "kernels/accumulate_body.hpp"
#include "kernels/grow_table.hpp"

namespace redoubt::kernels::detail {
namespace {

__mmask16 first16(size_t n) { return n >= 16 ? __mmask16(0xffff) : __mmask16((1u << n) - 1); }
__mmask8 first8(size_t n) { return n >= 8 ? __mmask8(0xff) : __mmask8((1u << n) - 1); }

void bounds(const float* x, const uint32_t* rows, size_t n, float* least, float* largest) {
  const __m512 start = _mm512_set1_ps(x[rows ? rows[0] : 0]);
  __m512 low = start, high = start;
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 m = first16(n - i);
    const __m512 v = rows ? _mm512_mask_i32gather_ps(start, m, _mm512_maskz_loadu_epi32(m, rows + i), x, 4)
                          : _mm512_mask_loadu_ps(start, m, x + i);
    low = _mm512_min_ps(low, v);
    high = _mm512_max_ps(high, v);
  }
  *least = _mm512_reduce_min_ps(low);
  *largest = _mm512_reduce_max_ps(high);
}

void quantise(const float* g, const float* h, const uint32_t* rows, size_t first, size_t n, float g_scale,
              float h_scale, uint64_t key, uint32_t* out, int64_t* sums) {
  const __m512 unit = _mm512_set1_ps(1.0f / 1024), gs = _mm512_set1_ps(g_scale), hs = _mm512_set1_ps(h_scale);
  const __m512i key0 = _mm512_set1_epi32(int(uint32_t(key))), key1 = _mm512_set1_epi32(int(uint32_t(key >> 32)));
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  __m512i g_sum = _mm512_setzero_si512(), h_sum = g_sum;
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 m = first16(n - i);
    const __m512i row = rows ? _mm512_maskz_loadu_epi32(m, rows + i)
                             : _mm512_add_epi32(_mm512_set1_epi32(int(uint32_t(first + i))), lanes);
    __m512 gv, hv;
    if (rows) {
      gv = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, row, g, 4);
      hv = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), m, row, h, 4);
    } else {
      gv = _mm512_maskz_loadu_ps(m, g + first + i);
      hv = _mm512_maskz_loadu_ps(m, h + first + i);
    }
    __m512i x = _mm512_xor_si512(row, key0);
    x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 16)), _mm512_set1_epi32(int(0x85ebca6bu)));
    x = _mm512_add_epi32(x, key1);
    x = _mm512_mullo_epi32(_mm512_xor_si512(x, _mm512_srli_epi32(x, 13)), _mm512_set1_epi32(int(0xc2b2ae35u)));
    x = _mm512_xor_si512(x, _mm512_srli_epi32(x, 16));
    const __m512 g_noise = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srli_epi32(x, 22)), unit);
    const __m512 h_noise = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_and_si512(x, _mm512_set1_epi32(1023))), unit);
    constexpr int down = _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC;
    const __m512i a = _mm512_cvttps_epi32(_mm512_roundscale_ps(_mm512_add_ps(_mm512_mul_ps(gv, gs), g_noise), down));
    const __m512i b = _mm512_cvttps_epi32(_mm512_roundscale_ps(_mm512_add_ps(_mm512_mul_ps(hv, hs), h_noise), down));
    _mm512_mask_storeu_epi32(out + i, m, _mm512_or_si512(_mm512_slli_epi32(a, 16), b));
    const __m512i am = _mm512_maskz_mov_epi32(m, a), bm = _mm512_maskz_mov_epi32(m, b);
    const __m512i a2 = _mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(am)),
                                        _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(am, 1)));
    const __m512i b2 = _mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(bm)),
                                        _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(bm, 1)));
    g_sum = _mm512_add_epi64(g_sum, a2);
    h_sum = _mm512_add_epi64(h_sum, b2);
  }
  sums[0] += _mm512_reduce_add_epi64(g_sum);
  sums[1] += _mm512_reduce_add_epi64(h_sum);
}

void expand(const uint32_t* pairs, size_t n, uint64_t* out) {
  const __m512i low = _mm512_set1_epi64(0xffff), one = _mm512_set1_epi64(1);
  for (size_t i = 0; i < n; i += 8) {
    const __mmask8 m = first8(n - i);
    const __m512i pair = _mm512_cvtepi32_epi64(_mm256_maskz_loadu_epi32(m, pairs + i));
    const __m512i g = _mm512_slli_epi64(_mm512_srai_epi64(pair, 16), grow_g_at);
    const __m512i h = _mm512_slli_epi64(_mm512_and_si512(pair, low), grow_h_at);
    _mm512_mask_storeu_epi64(out + i, m, _mm512_add_epi64(_mm512_add_epi64(g, h), one));
  }
}

/// Rows i .. n - 1 of so many words each.
template <size_t groups>
void gather_words(const uint8_t* codes, size_t stride, const uint32_t* rows, size_t first, size_t i, size_t n,
                  uint64_t* out, size_t out_stride) {
  using Word = uint64_t __attribute__((may_alias, aligned(1)));
  constexpr size_t ahead = 32;
  const auto copy = [&](size_t k, const uint8_t* row) {
#pragma GCC unroll 4
    for (size_t g = 0; g < groups; ++g) out[g * out_stride + k] = *(const Word*)(row + 8 * g);
  };
  if (!rows) {
    for (; i < n; ++i) copy(i, codes + (first + i) * stride);
    return;
  }
  for (; i + ahead + 4 <= n; i += 4)
#pragma GCC unroll 4
    for (size_t k = i; k < i + 4; ++k) {
      _mm_prefetch((const char*)(codes + rows[k + ahead] * stride), _MM_HINT_T0);
      copy(k, codes + rows[k] * stride);
    }
  for (; i < n; ++i) copy(i, codes + rows[i] * stride);
}

/// Four words of each row, eight rows at a time; returns how many rows. known_stride: 0, or the stride, which then
/// costs no multiplication per row.
template <size_t known_stride>
size_t gather_four(const uint8_t* codes, size_t stride, const uint32_t* rows, size_t first, size_t n,
                   const uint8_t* order, uint64_t* out, size_t out_stride) {
  constexpr size_t ahead = 16;
  if (known_stride) stride = known_stride;
  const auto row = [&](size_t k) { return codes + (rows ? rows[k] : first + k) * stride; };
  const __m512i first_two = _mm512_set_epi64(13, 9, 5, 1, 12, 8, 4, 0);
  const __m512i last_two = _mm512_set_epi64(15, 11, 7, 3, 14, 10, 6, 2);
  // Of two rows at a time.
  __m512i places = _mm512_setzero_si512();
  if (order) {
    places = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i*)order));
    places = _mm512_mask_add_epi8(places, ~__mmask64(0) << 32, places, _mm512_set1_epi8(32));
  }
  size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    if (rows && i + ahead + 8 <= n)
      for (size_t k = 0; k < 8; ++k) _mm_prefetch((const char*)row(i + ahead + k), _MM_HINT_T0);
    const auto two = [&](size_t k) {
      const __m512i x = _mm512_inserti64x4(_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i*)row(i + k))),
                                           _mm256_loadu_si256((const __m256i*)row(i + k + 1)), 1);
      return order ? _mm512_permutexvar_epi8(places, x) : x;
    };
    const __m512i a = two(0), b = two(2), c = two(4), d = two(6);
    const __m512i ab01 = _mm512_permutex2var_epi64(a, first_two, b), cd01 = _mm512_permutex2var_epi64(c, first_two, d);
    const __m512i ab23 = _mm512_permutex2var_epi64(a, last_two, b), cd23 = _mm512_permutex2var_epi64(c, last_two, d);
    _mm512_storeu_si512(out + i, _mm512_shuffle_i64x2(ab01, cd01, 0x44));
    _mm512_storeu_si512(out + out_stride + i, _mm512_shuffle_i64x2(ab01, cd01, 0xee));
    _mm512_storeu_si512(out + 2 * out_stride + i, _mm512_shuffle_i64x2(ab23, cd23, 0x44));
    _mm512_storeu_si512(out + 3 * out_stride + i, _mm512_shuffle_i64x2(ab23, cd23, 0xee));
  }
  return i;
}

void gather(const uint8_t* codes, size_t stride, const uint32_t* rows, size_t first, size_t n, size_t groups,
            const uint8_t* order, uint64_t* out, size_t out_stride) {
  size_t i = 0;
  if (groups == 4)
    i = stride == 32 ? gather_four<32>(codes, stride, rows, first, n, order, out, out_stride)
                     : gather_four<0>(codes, stride, rows, first, n, order, out, out_stride);
  if (order) {
    for (; i < n; ++i) {
      const uint8_t* r = codes + (rows ? rows[i] : first + i) * stride;
      for (size_t g = 0; g < groups; ++g) {
        uint64_t bytes = 0;
        for (size_t b = 0; b < 8; ++b) bytes |= uint64_t(r[order[8 * g + b]]) << (8 * b);
        out[g * out_stride + i] = bytes;
      }
    }
    return;
  }
  switch (groups) {
    case 1: return gather_words<1>(codes, stride, rows, first, i, n, out, out_stride);
    case 2: return gather_words<2>(codes, stride, rows, first, i, n, out, out_stride);
    case 3: return gather_words<3>(codes, stride, rows, first, i, n, out, out_stride);
    default: return gather_words<4>(codes, stride, rows, first, i, n, out, out_stride);
  }
}

void flush(uint64_t* bins, size_t count, unsigned count_bits, bool add, int64_t* g, uint64_t* hn) {
  const __m512i h_mask = _mm512_set1_epi64((int64_t{1} << (grow_g_at - grow_h_at)) - 1);
  const __m512i n_mask = _mm512_set1_epi64(grow_n_mask);
  const __m128i shift = _mm_cvtsi64_si128(int64_t(count_bits));
  for (size_t b = 0; b < count; b += 8) {
    const __m512i v = _mm512_loadu_si512(bins + b);
    _mm512_storeu_si512(bins + b, _mm512_setzero_si512());
    __m512i gv = _mm512_srai_epi64(v, grow_g_at);
    __m512i hv = _mm512_add_epi64(_mm512_sll_epi64(_mm512_and_si512(_mm512_srli_epi64(v, grow_h_at), h_mask), shift),
                                  _mm512_and_si512(v, n_mask));
    if (add) {
      gv = _mm512_add_epi64(gv, _mm512_loadu_si512(g + b));
      hv = _mm512_add_epi64(hv, _mm512_loadu_si512(hn + b));
    }
    _mm512_storeu_si512(g + b, gv);
    _mm512_storeu_si512(hn + b, hv);
  }
}

void take(uint64_t* bins, size_t count, uint64_t* out) {
  for (size_t b = 0; b < count; b += 8) {
    _mm512_storeu_si512(out + b, _mm512_loadu_si512(bins + b));
    _mm512_storeu_si512(bins + b, _mm512_setzero_si512());
  }
}

/// Runs of up to 8 * blocks bins: their sum stays in registers.
template <size_t blocks>
void fold_short(uint64_t* bins, size_t length, size_t runs, uint64_t* sums) {
  __m512i all[blocks];
  __mmask8 lanes[blocks];
#pragma GCC unroll 4
  for (size_t b = 0; b < blocks; ++b) {
    all[b] = _mm512_setzero_si512();
    lanes[b] = first8(length - 8 * b);
  }
  for (size_t k = 0; k < runs; ++k) {
    __m512i sum = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (size_t b = 0; b < blocks; ++b) {
      uint64_t* const at = bins + k * length + 8 * b;
      const __m512i v = _mm512_maskz_loadu_epi64(lanes[b], at);
      _mm512_mask_storeu_epi64(at, lanes[b], _mm512_setzero_si512());
      all[b] = _mm512_add_epi64(all[b], v);
      sum = _mm512_add_epi64(sum, v);
    }
    sums[k] = uint64_t(_mm512_reduce_add_epi64(sum));
  }
#pragma GCC unroll 4
  for (size_t b = 0; b < blocks; ++b) _mm512_mask_storeu_epi64(bins + 8 * b, lanes[b], all[b]);
}

void fold(uint64_t* bins, size_t length, size_t runs, uint64_t* sums) {
  switch ((length + 7) / 8) {
    case 1: return fold_short<1>(bins, length, runs, sums);
    case 2: return fold_short<2>(bins, length, runs, sums);
    case 3: return fold_short<3>(bins, length, runs, sums);
    case 4: return fold_short<4>(bins, length, runs, sums);
    default: break;
  }
  for (size_t k = 0; k < runs; ++k) {
    uint64_t* const run = bins + k * length;
    __m512i sum = _mm512_setzero_si512();
    for (size_t i = 0; i < length; i += 8) {
      const __mmask8 m = first8(length - i);
      const __m512i v = _mm512_maskz_loadu_epi64(m, run + i);
      sum = _mm512_add_epi64(sum, v);
      if (k == 0) continue;
      _mm512_mask_storeu_epi64(bins + i, m, _mm512_add_epi64(v, _mm512_maskz_loadu_epi64(m, bins + i)));
      _mm512_mask_storeu_epi64(run + i, m, _mm512_setzero_si512());
    }
    sums[k] = uint64_t(_mm512_reduce_add_epi64(sum));
  }
}

void subtract(int64_t* g, uint64_t* hn, const int64_t* other_g, const uint64_t* other_hn, size_t count) {
  for (size_t b = 0; b < count; b += 8) {
    const __mmask8 m = first8(count - b);
    _mm512_mask_storeu_epi64(
        g + b, m, _mm512_sub_epi64(_mm512_maskz_loadu_epi64(m, g + b), _mm512_maskz_loadu_epi64(m, other_g + b)));
    _mm512_mask_storeu_epi64(
        hn + b, m, _mm512_sub_epi64(_mm512_maskz_loadu_epi64(m, hn + b), _mm512_maskz_loadu_epi64(m, other_hn + b)));
  }
}

void difference(const uint64_t* from, const uint64_t* less, size_t count, uint64_t* out) {
  for (size_t b = 0; b < count; b += 8) {
    const __mmask8 m = first8(count - b);
    _mm512_mask_storeu_epi64(
        out + b, m, _mm512_sub_epi64(_mm512_maskz_loadu_epi64(m, from + b), _mm512_maskz_loadu_epi64(m, less + b)));
  }
}

/// Bit i: whether codes[i] is in the set, whose 32 bytes are those of `set`, twice.
__mmask64 members(__m512i codes, __m512i set) {
  const __m512i bits = _mm512_set1_epi64(int64_t(0x8040201008040201u));
  // The byte of the set, and in it the bit of the code's low three bits. Shifted bits of the neighbour do no harm: the
  // permutation reads six bits, and the sixth chooses between equal halves.
  const __m512i byte = _mm512_permutexvar_epi8(_mm512_srli_epi16(codes, 3), set);
  const __m512i low = _mm512_and_si512(codes, _mm512_set1_epi8(7));
  return _mm512_test_epi8_mask(byte, _mm512_shuffle_epi8(bits, low));
}

size_t mark(const uint8_t* codes, const uint32_t* rows, size_t first, size_t n, const uint32_t* set, uint16_t* masks) {
  constexpr size_t piece = 1024;
  alignas(64) uint8_t fetched[piece];
  const __m512i bytes = _mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i*)set));
  size_t count = 0;
  for (size_t i = 0; i < n; i += piece) {
    const size_t here = n - i < piece ? n - i : piece;
    const uint8_t* from = rows ? fetched : codes + first + i;
    // One load after the other: gathering instructions keep fewer of them waiting for the memory.
    if (rows)
      for (size_t k = 0; k < here; ++k) fetched[k] = codes[rows[i + k]];
    for (size_t k = 0; k < here; k += 64) {
      const size_t left = here - k;
      const __mmask64 m = left >= 64 ? ~__mmask64(0) : (__mmask64(1) << left) - 1;
      const __mmask64 in = members(_mm512_maskz_loadu_epi8(m, from + k), bytes) & m;
      count += size_t(__builtin_popcountll(in));
      if (left >= 64)
        _mm_storeu_si64(masks + (i + k) / 16, _mm_cvtsi64_si128(int64_t(in)));
      else
        for (size_t b = 0; b < left; b += 16) masks[(i + k + b) / 16] = uint16_t(in >> b);
    }
  }
  return count;
}

void split(const uint32_t* rows, size_t first, const uint32_t* pairs, const uint16_t* masks, size_t n, size_t lefts,
           uint32_t* left_rows, uint32_t* left_pairs, uint32_t* right_rows, uint32_t* right_pairs) {
  const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  size_t l = 0, r = 0;
  const size_t rights = n - lefts;
  for (size_t i = 0; i < n; i += 16) {
    const __mmask16 m = first16(n - i), left = masks[i / 16], right = __mmask16(m & ~left);
    const __m512i row = rows ? _mm512_maskz_loadu_epi32(m, rows + i)
                             : _mm512_add_epi32(_mm512_set1_epi32(int(uint32_t(first + i))), lanes);
    const __m512i pair = _mm512_maskz_loadu_epi32(m, pairs + i);
    const size_t nl = size_t(__builtin_popcount(left)), nr = size_t(__builtin_popcount(right));
    // Compressed in registers and stored whole where there is room: compressing stores are slow on Zen.
    const __mmask16 l_out = l + 16 <= lefts ? __mmask16(0xffff) : first16(nl);
    const __mmask16 r_out = r + 16 <= rights ? __mmask16(0xffff) : first16(nr);
    _mm512_mask_storeu_epi32(left_rows + l, l_out, _mm512_maskz_compress_epi32(left, row));
    _mm512_mask_storeu_epi32(left_pairs + l, l_out, _mm512_maskz_compress_epi32(left, pair));
    _mm512_mask_storeu_epi32(right_rows + r, r_out, _mm512_maskz_compress_epi32(right, row));
    _mm512_mask_storeu_epi32(right_pairs + r, r_out, _mm512_maskz_compress_epi32(right, pair));
    l += nl;
    r += nr;
  }
}

void stream(const uint32_t* src, size_t n, uint32_t* dst) {
  size_t i = (64 - (uintptr_t(dst) & 63)) % 64 / 4;
  if (i > n) i = n;
  _mm512_mask_storeu_epi32(dst, first16(i), _mm512_maskz_loadu_epi32(first16(i), src));
  for (; i + 16 <= n; i += 16) _mm512_stream_si512((__m512i*)(dst + i), _mm512_loadu_si512(src + i));
  const __mmask16 rest = first16(n - i);
  _mm512_mask_storeu_epi32(dst + i, rest, _mm512_maskz_loadu_epi32(rest, src + i));
  _mm_sfence();
}

constexpr double nearly = 1 - 1e-9;  // of a score: more than rounding can hide

/// Sums of lanes 0 .. i, plus `carry`.
__m512i prefix(__m512i x, __m512i carry) {
  const __m512i zero = _mm512_setzero_si512();
  x = _mm512_add_epi64(x, _mm512_alignr_epi64(x, zero, 7));
  x = _mm512_add_epi64(x, _mm512_alignr_epi64(x, zero, 6));
  x = _mm512_add_epi64(x, _mm512_alignr_epi64(x, zero, 4));
  return _mm512_add_epi64(x, carry);
}

/// The best cut so far, in each lane.
struct Scanner {
  __m512i total_g, total_h, total_n, missing_g, missing_h, missing_n, min_rows, min_h;
  __m512d l2, best;
  __m512i best_at;
  double near;  // a little less than the best score or the floor
  bool any = false;

  /// ordered: whether places come in ascending order.
  template <bool ordered>
  void consider(__m512i left_g, __m512i left_h, __m512i left_n, __m512i at, __mmask8 lanes) {
    const __m512i right_h = _mm512_sub_epi64(total_h, left_h), right_n = _mm512_sub_epi64(total_n, left_n);
    __mmask8 ok = _mm512_mask_cmpge_epu64_mask(lanes, left_n, min_rows);
    ok = _mm512_mask_cmpge_epu64_mask(ok, right_n, min_rows);
    ok = _mm512_mask_cmpge_epu64_mask(ok, left_h, min_h);
    ok = _mm512_mask_cmpge_epu64_mask(ok, right_h, min_h);
    if (!ok) return;
    const __m512d gl = _mm512_cvtepi64_pd(left_g), gr = _mm512_cvtepi64_pd(_mm512_sub_epi64(total_g, left_g));
    const __m512d hl = _mm512_add_pd(_mm512_cvtepi64_pd(left_h), l2);
    const __m512d hr = _mm512_add_pd(_mm512_cvtepi64_pd(right_h), l2);
    const __m512d a = _mm512_mul_pd(_mm512_mul_pd(gl, gl), hr), b = _mm512_mul_pd(_mm512_mul_pd(gr, gr), hl);
    const __m512d above = _mm512_add_pd(a, b), below = _mm512_mul_pd(hl, hr);
    // Dividing takes longest: only for what may be better.
    ok = _mm512_mask_cmp_pd_mask(ok, above, _mm512_mul_pd(_mm512_set1_pd(near), below), _CMP_GE_OQ);
    if (!ok) return;
    any = true;
    const __m512d score = _mm512_div_pd(above, below);
    __mmask8 better = _mm512_mask_cmp_pd_mask(ok, score, best, _CMP_GT_OQ);
    if constexpr (!ordered)
      better |= _mm512_mask_cmplt_epu64_mask(_mm512_mask_cmp_pd_mask(ok, score, best, _CMP_EQ_OQ), at, best_at);
    best = _mm512_mask_mov_pd(best, better, score);
    best_at = _mm512_mask_mov_epi64(best_at, better, at);
    const double best_nearly = _mm512_reduce_max_pd(best) * nearly;
    if (best_nearly > near) near = best_nearly;
  }

  /// Places are twice the bins, and 1 more if the missing go left.
  void consider_cut(__m512i left_g, __m512i left_h, __m512i left_n, __m512i at, __mmask8 lanes, bool missing) {
    consider<true>(left_g, left_h, left_n, at, lanes);
    if (missing)
      consider<true>(_mm512_add_epi64(left_g, missing_g), _mm512_add_epi64(left_h, missing_h),
                     _mm512_add_epi64(left_n, missing_n), _mm512_add_epi64(at, _mm512_set1_epi64(1)),
                     _mm512_mask_test_epi64_mask(lanes, left_n, left_n));
  }
};

Scanner scanner(const SplitScan& in, double floor) {
  Scanner s;
  s.total_g = _mm512_set1_epi64(in.total_g);
  s.total_h = _mm512_set1_epi64(int64_t(in.total_hn >> in.count_bits));
  s.total_n = _mm512_set1_epi64(int64_t(in.total_hn & ((uint64_t{1} << in.count_bits) - 1)));
  s.missing_g = _mm512_set1_epi64(in.missing_g);
  s.missing_h = _mm512_set1_epi64(int64_t(in.missing_hn >> in.count_bits));
  s.missing_n = _mm512_set1_epi64(int64_t(in.missing_hn & ((uint64_t{1} << in.count_bits) - 1)));
  s.min_rows = _mm512_set1_epi64(int64_t(in.min_rows));
  s.min_h = _mm512_set1_epi64(int64_t(in.min_hessian));
  s.l2 = _mm512_set1_pd(in.l2);
  s.best = _mm512_set1_pd(-1);
  s.near = floor > 0 ? floor * nearly : 0;
  s.best_at = _mm512_setzero_si512();
  return s;
}

/// with_missing: places are those of consider_cut, otherwise the bins.
void finish(const Scanner& s, bool with_missing, SplitFound* out) {
  if (!s.any) {  // as in most nodes for rare values
    *out = {-1, 0, 0};
    return;
  }
  const double best = _mm512_reduce_max_pd(s.best);
  const __mmask8 equal = _mm512_cmp_pd_mask(s.best, _mm512_set1_pd(best), _CMP_EQ_OQ);
  const uint64_t where = _mm512_mask_reduce_min_epu64(equal, s.best_at);
  out->score = best;
  out->bin = with_missing ? uint32_t(where >> 1) : uint32_t(where);
  out->missing_left = with_missing ? uint32_t(where & 1) : 0;
}

void scan_bins(const SplitScan& in, SplitFound* out) {
  const __m128i shift = _mm_cvtsi64_si128(int64_t(in.count_bits));
  const __m512i rows_mask = _mm512_set1_epi64((int64_t{1} << in.count_bits) - 1), last = _mm512_set1_epi64(7);
  Scanner s = scanner(in, in.floor);
  __m512i at = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), g_carry = _mm512_setzero_si512(), hn_carry = g_carry;
  for (uint32_t b = 0; b < in.bins; b += 8) {
    const __mmask8 m = first8(in.bins - b);
    const __m512i g = prefix(_mm512_maskz_loadu_epi64(m, in.g + b), g_carry);
    const __m512i hn = prefix(_mm512_maskz_loadu_epi64(m, in.hn + b), hn_carry);
    g_carry = _mm512_permutexvar_epi64(last, g);
    hn_carry = _mm512_permutexvar_epi64(last, hn);
    s.consider_cut(g, _mm512_srl_epi64(hn, shift), _mm512_and_si512(hn, rows_mask), at, m, in.missing_hn != 0);
    at = _mm512_add_epi64(at, _mm512_set1_epi64(16));
  }
  finish(s, true, out);
}

/// Of 16 cuts at once, in single precision, whose error is below 10^-6 here: which may be nearly as good as the best.
struct Coarse {
  __m512i total_g, total_h, total_n, min_rows;
  __m512 l2;

  __mmask16 worth(__m512i first, __m512i second, double near) const {
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    const __m512i low = _mm512_permutex2var_epi32(first, even, second);
    const __m512i high = _mm512_permutex2var_epi32(first, odd, second);
    constexpr int g_at = grow_g_at - 32, h_at = grow_h_at;  // in the high and in the low half
    const __m512i g = _mm512_srai_epi32(high, g_at), n = _mm512_and_si512(low, _mm512_set1_epi32(grow_n_mask));
    const __m512i h_high = _mm512_srli_epi32(_mm512_slli_epi32(high, 32 - g_at), h_at - g_at);
    const __m512i h = _mm512_or_si512(h_high, _mm512_srli_epi32(low, h_at));
    __mmask16 ok = _mm512_cmpge_epi32_mask(n, min_rows);
    ok = _mm512_mask_cmpge_epi32_mask(ok, _mm512_sub_epi32(total_n, n), min_rows);
    const __m512 gl = _mm512_cvtepi32_ps(g), gr = _mm512_cvtepi32_ps(_mm512_sub_epi32(total_g, g));
    const __m512 hl = _mm512_add_ps(_mm512_cvtepi32_ps(h), l2);
    const __m512 hr = _mm512_add_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(total_h, h)), l2);
    const __m512 above = _mm512_fmadd_ps(_mm512_mul_ps(gl, gl), hr, _mm512_mul_ps(_mm512_mul_ps(gr, gr), hl));
    const __m512 least = _mm512_mul_ps(_mm512_mul_ps(hl, hr), _mm512_set1_ps(float(near * (1 - 1e-5))));
    return _mm512_mask_cmp_ps_mask(ok, above, least, _CMP_GE_OQ);
  }
};

/// Bins in the format of sums over a block of rows.
void scan_sums(const SplitScan& in, SplitFound* out) {
  const __m512i last = _mm512_set1_epi64(7), eight = _mm512_set1_epi64(16);
  Scanner s = scanner(in, in.floor);
  const int64_t rows = int64_t(in.total_hn & ((uint64_t{1} << in.count_bits) - 1));
  const Coarse coarse{_mm512_set1_epi32(int(in.total_g)), _mm512_set1_epi32(int(in.total_hn >> in.count_bits)),
                      _mm512_set1_epi32(int(rows)),
                      _mm512_set1_epi32(int(in.min_rows < grow_block_rows ? in.min_rows : grow_block_rows)),
                      _mm512_set1_ps(float(in.l2))};
  const bool missing = in.missing_hn != 0, exact_only = missing || in.l2 > 0x1p40;
  __m512i at = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), carry = _mm512_setzero_si512();
  const auto consider = [&](__m512i sums, __m512i place, __mmask8 lanes) {
    s.consider_cut(_mm512_srai_epi64(sums, grow_g_at),
                   _mm512_srli_epi64(_mm512_slli_epi64(sums, 64 - grow_g_at), 64 - grow_g_at + grow_h_at),
                   _mm512_and_si512(sums, _mm512_set1_epi64(grow_n_mask)), place, lanes, missing);
  };
  for (uint32_t b = 0; b < in.bins; b += 16) {
    const __mmask16 m = first16(in.bins - b);
    const __m512i first = prefix(_mm512_maskz_loadu_epi64(__mmask8(m), in.sums + b), carry);
    const __m512i second =
        prefix(_mm512_maskz_loadu_epi64(__mmask8(m >> 8), in.sums + b + 8), _mm512_permutexvar_epi64(last, first));
    carry = _mm512_permutexvar_epi64(last, second);
    const __mmask16 worth = exact_only ? m : __mmask16(m & coarse.worth(first, second, s.near));
    if (worth & 0xff) consider(first, at, __mmask8(worth));
    if (worth >> 8) consider(second, _mm512_add_epi64(at, eight), __mmask8(worth >> 8));
    at = _mm512_add_epi64(at, _mm512_add_epi64(eight, eight));
  }
  finish(s, true, out);
}

void scan(const SplitScan& in, SplitFound* out) { in.sums ? scan_sums(in, out) : scan_bins(in, out); }

void scan_each(const SplitScan& in, SplitFound* out) {
  const __m128i shift = _mm_cvtsi64_si128(int64_t(in.count_bits));
  const __m512i rows_mask = _mm512_set1_epi64((int64_t{1} << in.count_bits) - 1);
  const __m512i lanes = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
  Scanner s = scanner(in, 0);
  for (uint32_t b = 0; b < in.bins; b += 8) {
    __mmask8 m = first8(in.bins - b);
    const __m512i g = _mm512_maskz_loadu_epi64(m, in.g + b), hn = _mm512_maskz_loadu_epi64(m, in.hn + b);
    __m512i place = _mm512_add_epi64(lanes, _mm512_set1_epi64(b));
    if (in.ids) {  // above the place
      const __m256i ids = _mm256_maskz_loadu_epi32(m, in.ids + b);
      m = _mm256_mask_cmpneq_epi32_mask(m, ids, _mm256_set1_epi32(-1));
      place = _mm512_or_si512(place, _mm512_slli_epi64(_mm512_cvtepu32_epi64(ids), 32));
    }
    s.consider<false>(g, _mm512_srl_epi64(hn, shift), _mm512_and_si512(hn, rows_mask), place, m);
  }
  finish(s, false, out);
}

void assign(const float* x, size_t stride, size_t n, const float* cuts, size_t count, uint8_t* out) {
  // Which sixteenth, then how many within it: 16 cuts are compared at once and the lesser ones counted. A load costs
  // less than its share of a gather.
  float last_of_16[16];
  for (size_t k = 0; k < 15; ++k) last_of_16[k] = cuts[16 * k + 15];
  last_of_16[15] = __builtin_inff();  // there is no seventeenth
  const __m512 coarse = _mm512_loadu_ps(last_of_16);
  const auto below = [](__m512 a, __m512 v) {
    return size_t(__builtin_popcount(_cvtmask16_u32(_mm512_cmp_ps_mask(a, v, _CMP_LT_OQ))));
  };
  for (size_t i = 0; i < n; ++i) {
    const float value = x[i * stride];
    const __m512 v = _mm512_set1_ps(value);
    const size_t sixteenths = 16 * below(coarse, v);
    const size_t found = sixteenths + below(_mm512_loadu_ps(cuts + sixteenths), v);
    out[i] = uint8_t(value == value ? found : count);
  }
}

}  // namespace

extern constexpr GrowTable avx512_grow_table = {
    2,      bounds, quantise,  expand,   gather,     accumulate, accumulate_by_column,
    flush,  take,   fold,      subtract, difference, mark,       split,
    stream, scan,   scan_each, assign};

}  // namespace redoubt::kernels::detail
