// The block engine on AVX2. Compiled with the flags of this level: no other includes, see body.hpp.
#include "kernels/forest_block_table.hpp"

#include <immintrin.h>

namespace redoubt::kernels::detail {
namespace {

constexpr size_t most_lanes = 64 * forest_block_groups_at_once;

inline __m256i both(const void* low, const void* high) {
  return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_load_si128(static_cast<const __m128i*>(low))),
                                 _mm_load_si128(static_cast<const __m128i*>(high)), 1);
}

/// A row of up to 16 * Parts codes: each 16 of them are looked up by the low bits, the others give 0 there.
template <int Parts>
struct Row {
  const __m128i* codes;
  __m256i pick(__m256i column) const {
    __m256i code = _mm256_setzero_si256();
    for (int i = 0; i < Parts; ++i) {
      const __m256i own = _mm256_adds_epu8(_mm256_sub_epi8(column, _mm256_set1_epi8(static_cast<char>(16 * i))),
                                           _mm256_set1_epi8(0x70));
      code = _mm256_or_si256(code, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(codes + i)), own));
    }
    return code;
  }
};

/// All bits where code <= threshold.
inline __m256i not_above(__m256i code, __m256i threshold) {
  return _mm256_cmpeq_epi8(_mm256_max_epu8(code, threshold), threshold);
}

/// Upper nodes of a group; then the bytes at which the blocks of their exits begin.
template <int Parts>
[[gnu::hot]] void enter(const ForestBlockGroup& group, const Row<Parts>& row, uint32_t* at) {
  const __m256i one = _mm256_set1_epi8(1);
  __m256i exit[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()}, next = one;
  for (size_t i = 0; i < group.top.slots; ++i) {
    const __m256i* const p = reinterpret_cast<const __m256i*>(group.top.nodes + 192 * i);
    for (int h = 0; h < 2; ++h) {
      const __m256i left = not_above(row.pick(_mm256_load_si256(p + h)), _mm256_load_si256(p + 2 + h));
      const __m256i here = _mm256_cmpeq_epi8(exit[h], _mm256_load_si256(p + 4 + h));
      exit[h] = _mm256_blendv_epi8(exit[h], next, _mm256_andnot_si256(left, here));
    }
    next = _mm256_add_epi8(next, one);
  }
  alignas(32) unsigned char exits[64];
  for (int h = 0; h < 2; ++h) _mm256_store_si256(reinterpret_cast<__m256i*>(exits) + h, exit[h]);
  const __m256i stride = _mm256_set1_epi32(static_cast<int>(group.stride));
  __m256i base = _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(group.first)),
                                  _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), stride));
  for (int l = 0; l < 64; l += 8) {
    const __m256i e = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(exits + l)));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at + l), _mm256_slli_epi32(_mm256_add_epi32(base, e), 7));
    base = _mm256_add_epi32(base, _mm256_slli_epi32(stride, 3));
  }
}

/// Which exits the nodes of two blocks forbid: eight numbers for the first, eight for the second.
template <int Parts>
inline __m256i forbidden(const Row<Parts>& row, const char* a, const char* b) {
  const __m256i left = not_above(row.pick(both(a + 32, b + 32)), both(a + 48, b + 48));
  return _mm256_or_si256(_mm256_andnot_si256(_mm256_unpacklo_epi8(left, left), both(a, b)),
                         _mm256_andnot_si256(_mm256_unpackhi_epi8(left, left), both(a + 16, b + 16)));
}

/// Places of the exits of 8 blocks, in bytes.
template <int Parts>
inline __m256i leave(const Row<Parts>& row, const char* blocks, const uint32_t* at) {
  const auto part = [&](int i) { return forbidden(row, blocks + at[i], blocks + at[4 + i]); };
  const auto fold = [](__m256i a, __m256i b) {
    return _mm256_castsi256_ps(_mm256_or_si256(_mm256_unpacklo_epi64(a, b), _mm256_unpackhi_epi64(a, b)));
  };
  const __m256 a = fold(part(0), part(1)), b = fold(part(2), part(3));
  const __m256i two = _mm256_or_si256(_mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88)),
                                      _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd)));
  const __m256i all = _mm256_or_si256(two, _mm256_srli_epi32(two, 16));
  // The lowest exit that is not forbidden, as a power of two; its exponent, from the bits of a float.
  const __m256i first = _mm256_andnot_si256(all, _mm256_add_epi32(all, _mm256_set1_epi32(1)));
  const __m256i exponent = _mm256_srli_epi32(_mm256_castps_si256(_mm256_cvtepi32_ps(first)), 21);
  return _mm256_add_epi32(
      _mm256_add_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)), _mm256_set1_epi32(64 - 4 * 127)),
      exponent);
}

inline int32_t read(const char* blocks, uint32_t place) {
  int32_t result;
  __builtin_memcpy(&result, blocks + place, sizeof result);
  return result;
}

/// Sum over blocks at[0 .. count), a multiple of 8; at has room for 8 more.
template <int Parts>
[[gnu::hot]] uint32_t run(const Row<Parts>& row, const ForestBlock* all, uint32_t* at, size_t count) {
  const char* const blocks = reinterpret_cast<const char*>(all);
  uint32_t sum = 0;
  while (count > 0) {
    for (size_t i = 0; i < count; i += 8)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(at + i), leave(row, blocks, at + i));
    size_t open = 0;
    for (size_t i = 0; i < count; ++i) {
      const int32_t result = read(blocks, at[i]);
      const bool more = result < forest_block_results;
      sum += more ? 0 : static_cast<uint32_t>(result);
      at[open] = static_cast<uint32_t>(result) << 7;
      open += more;
    }
    count = (open + 7) / 8 * 8;
    if (count > 0) _mm256_storeu_si256(reinterpret_cast<__m256i*>(at + open), _mm256_setzero_si256());
  }
  return sum;
}

template <int Parts>
[[gnu::hot]] uint32_t sum_alike(const ForestBlockGroup* groups, size_t count, const unsigned char* codes,
                                const ForestBlock* blocks) {
  alignas(32) uint32_t at[most_lanes + 8];
  const Row<Parts> row{reinterpret_cast<const __m128i*>(codes)};
  for (size_t g = 0; g < count; ++g) enter(groups[g], row, at + 64 * g);
  return run(row, blocks, at, 64 * (count - 1) + (groups[count - 1].lanes + 7) / 8 * 8);
}

template <int Parts>
void find_alike(const ForestBlockGroup* groups, size_t count, const unsigned char* codes, const ForestBlock* all,
                uint32_t* places) {
  const char* const blocks = reinterpret_cast<const char*>(all);
  const Row<Parts> row{reinterpret_cast<const __m128i*>(codes)};
  for (size_t g = 0; g < count; ++g, places += 64) {
    enter(groups[g], row, places);
    for (size_t l = 0; l < groups[g].lanes; l += 8) {
      uint32_t at[8], found[8];
      __builtin_memcpy(at, places + l, sizeof at);
      for (bool open = true; open;) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(found), leave(row, blocks, at));
        open = false;
        for (int i = 0; i < 8; ++i) {
          if (at[i] == 0) continue;  // found before
          const int32_t result = read(blocks, found[i]);
          const bool more = result < forest_block_results;
          places[l + static_cast<size_t>(i)] = found[i] >> 2;
          at[i] = more ? static_cast<uint32_t>(result) << 7 : 0;
          open = open || more;
        }
      }
    }
  }
}

/// How many of the groups read the same codes as the first one.
size_t alike(const ForestBlockGroup* groups, size_t count, const unsigned char* const* codes) {
  size_t same = 1;
  while (same < count && same < forest_block_groups_at_once && codes[same] == codes[0] &&
         groups[same].top.vectors == groups[0].top.vectors && groups[same - 1].lanes == 64)
    ++same;
  return same;
}

void find(const ForestBlockGroup* groups, size_t count, const unsigned char* const* codes, const ForestBlock* blocks,
          uint32_t* places) {
  for (size_t same; count > 0; groups += same, codes += same, count -= same, places += 64 * same) {
    same = alike(groups, count, codes);
    (groups[0].columns <= 32      ? find_alike<2>
     : groups[0].columns <= 48    ? find_alike<3>
     : groups[0].top.vectors <= 1 ? find_alike<4>
     : groups[0].top.vectors == 2 ? find_alike<8>
                                  : find_alike<16>)(groups, same, codes[0], blocks, places);
  }
}

[[gnu::hot]] uint32_t sum(const ForestBlockGroup* groups, size_t count, const unsigned char* const* codes,
                          const ForestBlock* blocks) {
  uint32_t total = 0;
  for (size_t same; count > 0; groups += same, codes += same, count -= same) {
    same = alike(groups, count, codes);
    total += (groups[0].columns <= 32      ? sum_alike<2>
              : groups[0].columns <= 48    ? sum_alike<3>
              : groups[0].top.vectors <= 1 ? sum_alike<4>
              : groups[0].top.vectors == 2 ? sum_alike<8>
                                           : sum_alike<16>)(groups, same, codes[0], blocks);
  }
  return total;
}

}  // namespace

const ForestBlockTable forest_block_avx2_table = {1, find, sum};

}  // namespace redoubt::kernels::detail
