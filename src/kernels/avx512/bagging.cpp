// AVX-512 F/BW/DQ/VL. Compiled with the flags of this level (cmake/RedoubtIsa.cmake): no other includes, see body.hpp.
// Every kernel gives the bits of the naive one; products and sums are not contracted.
#include <immintrin.h>

#include "kernels/bagging_table.hpp"

namespace redoubt::kernels::detail {
namespace {

/// Eight cuts at a time, of one node.
struct Scorer {
  __m512d all, all_one, gap_weight, gap_one;
  bool gaps;

  Scorer(uint64_t total, uint64_t missing)
      : all(_mm512_set1_pd(double(total >> 32))),
        all_one(_mm512_set1_pd(double(uint32_t(total)))),
        gap_weight(_mm512_set1_pd(double(missing >> 32))),
        gap_one(_mm512_set1_pd(double(uint32_t(missing)))),
        gaps(missing != 0) {}

  __m512d score(__m512d weight, __m512d one, __mmask8 wanted) const {
    const __m512d right = _mm512_sub_pd(all, weight);
    const __mmask8 valid =
        _mm512_mask_cmp_pd_mask(_mm512_mask_cmp_pd_mask(wanted, right, _mm512_setzero_pd(), _CMP_GT_OQ), weight,
                                _mm512_setzero_pd(), _CMP_GT_OQ);
    const __m512d distance = _mm512_sub_pd(_mm512_mul_pd(one, all), _mm512_mul_pd(all_one, weight));
    return _mm512_mask_div_pd(_mm512_set1_pd(-1), valid, _mm512_mul_pd(distance, distance),
                              _mm512_mul_pd(weight, right));
  }
  /// Scores of `wanted`, the better of both sides for the missing; those of which the left is better.
  __m512d operator()(__m512d weight, __m512d one, __mmask8 wanted, __mmask8* missing_left) const {
    const __m512d first = score(weight, one, wanted);
    *missing_left = 0;
    if (!gaps) return first;
    // Only with values on the left, too.
    const __mmask8 valued = _mm512_mask_cmp_pd_mask(wanted, weight, _mm512_setzero_pd(), _CMP_GT_OQ);
    const __m512d second = score(_mm512_add_pd(weight, gap_weight), _mm512_add_pd(one, gap_one), valued);
    *missing_left = _mm512_cmp_pd_mask(second, first, _CMP_GT_OQ);
    return _mm512_max_pd(first, second);
  }
};

/// Numbers below 2^32 in 64 bits each.
__m512d doubles(__m512i x) { return _mm512_cvtepu64_pd(x); }

void cut(const uint64_t* bins, size_t count, uint64_t missing, uint64_t total, TwoClassCut* found) {
  const Scorer scorer(total, missing);
  const __m512i zero = _mm512_setzero_si512();
  alignas(64) uint64_t sums[256];
  __m512d best = _mm512_set1_pd(-1);
  __m512i best_at = zero;  // 2 * bin + missing_left
  __m512i carry = zero, at = _mm512_slli_epi64(_mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0), 1);
  for (size_t b = 0; b < count; b += 8) {
    const __mmask8 wanted = count - b >= 8 ? __mmask8(0xff) : __mmask8((1u << (count - b)) - 1);
    __m512i sum = _mm512_maskz_loadu_epi64(wanted, bins + b);
    const __mmask8 any = _mm512_test_epi64_mask(sum, sum);
    if (any != 0) {
      sum = _mm512_add_epi64(sum, _mm512_alignr_epi64(sum, zero, 7));
      sum = _mm512_add_epi64(sum, _mm512_alignr_epi64(sum, zero, 6));
      sum = _mm512_add_epi64(sum, _mm512_alignr_epi64(sum, zero, 4));
      sum = _mm512_add_epi64(sum, carry);
      carry = _mm512_permutexvar_epi64(_mm512_set1_epi64(7), sum);
      _mm512_store_si512(sums + b, sum);
      const __m512d weight = doubles(_mm512_srli_epi64(sum, 32));
      const __m512d one = doubles(_mm512_and_si512(sum, _mm512_set1_epi64(0xffffffff)));
      __mmask8 left;
      const __m512d score = scorer(weight, one, any, &left);
      const __mmask8 better = _mm512_cmp_pd_mask(score, best, _CMP_GT_OQ);
      best = _mm512_mask_mov_pd(best, better, score);
      best_at = _mm512_mask_mov_epi64(best_at, better, _mm512_mask_or_epi64(at, left, at, _mm512_set1_epi64(1)));
    }
    at = _mm512_add_epi64(at, _mm512_set1_epi64(16));
  }
  const double highest = _mm512_reduce_max_pd(best);
  if (highest < 0) {
    *found = {-1, 0, 0, 0};
    return;
  }
  const __mmask8 equal = _mm512_cmp_pd_mask(best, _mm512_set1_pd(highest), _CMP_EQ_OQ);
  const auto place = uint32_t(_mm512_mask_reduce_min_epu64(equal, best_at));
  *found = {highest, sums[place / 2], place / 2, place & 1};
}

uint64_t sum_of(const TwoClassPlanes& rows, uint64_t mask) {
  const auto count = [&](const uint64_t* planes) {
    return uint64_t(_mm_popcnt_u64(planes[0] & mask)) + 2 * uint64_t(_mm_popcnt_u64(planes[1] & mask)) +
           4 * uint64_t(_mm_popcnt_u64(planes[2] & mask));
  };
  return count(rows.weight) << 32 | count(rows.one);
}

void cut_rows(const TwoClassRows& rows, const unsigned char* codes, unsigned missing, TwoClassCut* found) {
  const __m512i code = _mm512_loadu_si512(codes);
  const uint64_t here = rows.count == 64 ? ~uint64_t(0) : (uint64_t(1) << rows.count) - 1;
  const uint64_t gaps = _mm512_mask_cmpeq_epu8_mask(here, code, _mm512_set1_epi8(char(missing)));
  const Scorer scorer(rows.total, gaps != 0 ? sum_of(rows.planes, gaps) : 0);
  // What is left of a cut after the code of each row.
  alignas(64) uint64_t sums[64];
  const size_t padded = (rows.count + 7) / 8 * 8;
  for (size_t i = 0; i < padded; ++i)
    sums[i] = sum_of(rows.planes, _mm512_mask_cmple_epu8_mask(here, code, _mm512_set1_epi8(char(codes[i]))));
  __m512d best = _mm512_set1_pd(-1);
  __m512i best_at = _mm512_setzero_si512();  // 2 * code + missing_left
  const uint64_t valued = here & ~gaps;
  for (size_t i = 0; i < padded; i += 8) {
    const __m512i sum = _mm512_load_si512(sums + i);
    const __m512d weight = doubles(_mm512_srli_epi64(sum, 32));
    const __m512d one = doubles(_mm512_and_si512(sum, _mm512_set1_epi64(0xffffffff)));
    __mmask8 left;
    const __m512d score = scorer(weight, one, __mmask8(valued >> i), &left);
    __m512i at = _mm512_slli_epi64(_mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i*)(codes + i))), 1);
    at = _mm512_mask_or_epi64(at, left, at, _mm512_set1_epi64(1));
    // Rows are in no order.
    __mmask8 better = _mm512_cmp_pd_mask(score, best, _CMP_GT_OQ);
    better |= _mm512_mask_cmplt_epu64_mask(_mm512_cmp_pd_mask(score, best, _CMP_EQ_OQ), at, best_at);
    best = _mm512_mask_mov_pd(best, better, score);
    best_at = _mm512_mask_mov_epi64(best_at, better, at);
  }
  const double highest = _mm512_reduce_max_pd(best);
  if (highest < 0) {
    *found = {-1, 0, 0, 0};
    return;
  }
  const __mmask8 equal = _mm512_cmp_pd_mask(best, _mm512_set1_pd(highest), _CMP_EQ_OQ);
  const auto place = uint32_t(_mm512_mask_reduce_min_epu64(equal, best_at));
  const uint64_t left = _mm512_mask_cmple_epu8_mask(here, code, _mm512_set1_epi8(char(place / 2)));
  *found = {highest, sum_of(rows.planes, left), place / 2, place & 1};
}

uint64_t planes(const uint64_t* rows, size_t count, TwoClassPlanes* out) {
  __m512i all = _mm512_setzero_si512();
  for (size_t first = 0; first < count; first += 64, ++out) {
    uint64_t bits[6] = {};
    for (size_t i = first; i < count && i < first + 64; i += 8) {
      const __mmask8 wanted = count - i >= 8 ? __mmask8(0xff) : __mmask8((1u << (count - i)) - 1);
      const __m512i row = _mm512_maskz_loadu_epi64(wanted, rows + i);
      all = _mm512_or_si512(all, row);
      for (int k = 0; k < 6; ++k) {
        const __m512i bit = _mm512_set1_epi64((long long)(1) << (k < 3 ? 32 + k : k - 3));
        bits[k] |= uint64_t(_mm512_test_epi64_mask(row, bit)) << (i - first);
      }
    }
    for (int k = 0; k < 3; ++k) {
      out->weight[k] = bits[k];
      out->one[k] = bits[3 + k];
    }
  }
  return uint64_t(_mm512_reduce_or_epi64(all));
}

__mmask64 first64(size_t n) { return n >= 64 ? ~__mmask64(0) : (__mmask64(1) << n) - 1; }

unsigned char least_byte(__m512i x) {
  const __m256i half = _mm256_min_epu8(_mm512_castsi512_si256(x), _mm512_extracti64x4_epi64(x, 1));
  const __m128i quarter = _mm_min_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
  const __m128i words = _mm_min_epu8(quarter, _mm_srli_epi16(quarter, 8));
  return (unsigned char)(_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_and_si128(words, _mm_set1_epi16(255)))));
}

bool bounds(const unsigned char* codes, size_t count, unsigned missing, unsigned char* least, unsigned char* highest) {
  const __m512i gap = _mm512_set1_epi8(char(missing)), ones = _mm512_set1_epi8(-1);
  __m512i low = ones, high = ones;  // of the codes and of their complements
  __mmask64 gaps = 0;
  for (size_t i = 0; i < count; i += 64) {
    const __mmask64 wanted = first64(count - i);
    const __m512i code = _mm512_maskz_loadu_epi8(wanted, codes + i);
    const __mmask64 here = _mm512_mask_cmpneq_epu8_mask(wanted, code, gap);
    gaps |= wanted & ~here;
    low = _mm512_mask_min_epu8(low, here, low, code);
    high = _mm512_mask_min_epu8(high, here, high, _mm512_xor_si512(code, ones));
  }
  *least = least_byte(low);
  *highest = (unsigned char)(~least_byte(high));
  return gaps != 0;
}

uint64_t sum_to(const TwoClassPlanes* planes, const unsigned char* codes, size_t count, unsigned last) {
  const __m512i cut = _mm512_set1_epi8(char(last));
  uint64_t sum = 0;
  for (size_t i = 0; i < count; i += 64, ++planes)
    sum += sum_of(*planes, _mm512_mask_cmple_epu8_mask(first64(count - i),
                                                       _mm512_maskz_loadu_epi8(first64(count - i), codes + i), cut));
  return sum;
}

}  // namespace

extern constexpr BaggingTable bagging_avx512_table = {2, cut, cut_rows, planes, bounds, sum_to};

}  // namespace redoubt::kernels::detail
