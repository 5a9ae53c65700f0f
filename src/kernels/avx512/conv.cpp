// AVX-512 with BF16: see body.hpp for the rules.
#include <immintrin.h>

#include "kernels/avx512/pairs.hpp"
#include "kernels/conv_table.hpp"

namespace redoubt::kernels::detail {
namespace {

void pairs(const unsigned short* first, const unsigned short* second, size_t count, unsigned short* dst) {
  const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6, 37,
                                       5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
  const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    const __m512i x = _mm512_loadu_si512(first + i), y = _mm512_loadu_si512(second + i);
    _mm512_storeu_si512(dst + 2 * i, _mm512_permutex2var_epi16(x, low, y));
    _mm512_storeu_si512(dst + 2 * i + 32, _mm512_permutex2var_epi16(x, high, y));
  }
  for (; i < count; ++i) dst[2 * i] = first[i], dst[2 * i + 1] = second[i];
}

void slopes(const float* src, size_t height, size_t width, size_t pitch, size_t filters, unsigned char* dst,
            size_t group, size_t part, float* sums) {
  const size_t places = (height - 1) * pitch + width;
  for (size_t f = 0; f < filters; f += 16) {
    const __mmask16 m = first16(filters - f);
    __m512 sum = _mm512_setzero_ps(), other = _mm512_setzero_ps();
    size_t x = 0;
    const float* from = src + f;  // of the next place inside
    const auto next = [&](size_t place) {
      __m512 value = _mm512_setzero_ps();
      if (x < width && place < places) value = _mm512_maskz_loadu_ps(m, from), from += filters;
      if (++x == pitch) x = 0;
      return value;
    };
    unsigned char* at = dst + f / 16 * group;
    for (size_t p = 0; p < places; p += 32, at += 1024) {
      __m512i lead[16], rest[16];
      for (size_t i = 0; i < 16; ++i) {
        const __m512 one = next(p + 2 * i), two = next(p + 2 * i + 1);
        sum = _mm512_add_ps(sum, one), other = _mm512_add_ps(other, two);
        lead[i] = pairs_of(one, two, rest[i], part > 0);
      }
      transpose(lead);
      for (size_t i = 0; i < 16; ++i) _mm512_storeu_si512(at + i * 64, lead[i]);
      if (part == 0) continue;
      transpose(rest);
      for (size_t i = 0; i < 16; ++i) _mm512_storeu_si512(at + part + i * 64, rest[i]);
    }
    if (sums)
      _mm512_mask_storeu_ps(sums + f, m, _mm512_add_ps(_mm512_maskz_loadu_ps(m, sums + f), _mm512_add_ps(sum, other)));
  }
}

}  // namespace

extern constexpr ConvPacks avx512_conv_packs = {pairs, slopes};

}  // namespace redoubt::kernels::detail
