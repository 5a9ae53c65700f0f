// The block engine on AVX-512 F/BW/DQ/VL/VBMI. Compiled with the flags of this level: no other includes, see body.hpp.
#include "kernels/forest_block_table.hpp"

#include <immintrin.h>

namespace redoubt::kernels::detail {
namespace {

constexpr size_t most_lanes = 64 * forest_block_groups_at_once;

template <int Vectors>
struct Row {
  __m512i v[Vectors];
  explicit Row(const unsigned char* codes) {
    for (int i = 0; i < Vectors; ++i) v[i] = _mm512_load_si512(codes + 64 * i);
  }
  __m512i pick(__m512i column) const {
    if constexpr (Vectors == 1) return _mm512_permutexvar_epi8(column, v[0]);
    if constexpr (Vectors == 2) return _mm512_permutex2var_epi8(v[0], column, v[1]);
    if constexpr (Vectors == 4) {
      const __m512i low = _mm512_permutex2var_epi8(v[0], column, v[1]);
      const __m512i high = _mm512_permutex2var_epi8(v[2], column, v[3]);
      return _mm512_mask_blend_epi8(_mm512_movepi8_mask(column), low, high);
    }
  }
};

/// The sweep of forest.cpp over the upper nodes of `Groups` groups; then the bytes at which the blocks of their exits
/// begin. These are fetched, all before the first is needed: 4 us of 18 where the caches are cold, for 0.1 of 1.6.
template <int Vectors, int Groups>
[[gnu::hot]] void enter(const ForestBlockGroup* groups, const Row<Vectors>& row, const ForestBlock* blocks,
                        uint32_t* at) {
  __m512i exit[Groups];
  size_t slots = 0;
  for (int g = 0; g < Groups; ++g) {
    exit[g] = _mm512_setzero_si512();
    slots = slots < groups[g].top.slots ? groups[g].top.slots : slots;
  }
  __m512i next = _mm512_set1_epi8(1);
  const __m512i one = next;
  for (size_t i = 0; i < slots; ++i) {
    for (int g = 0; g < Groups; ++g) {
      const unsigned char* const p = groups[g].top.nodes + 192 * i;
      const __mmask64 right = _mm512_cmpgt_epu8_mask(row.pick(_mm512_load_si512(p)), _mm512_load_si512(p + 64));
      const __mmask64 here = _mm512_mask_cmpeq_epi8_mask(right, exit[g], _mm512_load_si512(p + 128));
      exit[g] = _mm512_mask_mov_epi8(exit[g], here, next);
    }
    next = _mm512_add_epi8(next, one);
  }
  const __m512i lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  for (int g = 0; g < Groups; ++g) {
    alignas(64) unsigned char exits[64];
    _mm512_store_si512(exits, exit[g]);
    const __m512i stride = _mm512_set1_epi32(static_cast<int>(groups[g].stride));
    __m512i base =
        _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(groups[g].first)), _mm512_mullo_epi32(lane, stride));
    for (int l = 0; l < 64; l += 16) {
      const __m512i e = _mm512_cvtepu8_epi32(_mm_load_si128(reinterpret_cast<const __m128i*>(exits + l)));
      _mm512_storeu_si512(at + 64 * g + l, _mm512_slli_epi32(_mm512_add_epi32(base, e), 7));
      base = _mm512_add_epi32(base, _mm512_slli_epi32(stride, 4));
    }
    for (size_t l = 0; l < groups[g].lanes; ++l)
      _mm_prefetch(reinterpret_cast<const char*>(blocks) + at[64 * g + l], _MM_HINT_T1);
  }
}

/// Which exits the nodes of a block forbid, still spread over 16 numbers.
template <int Vectors>
inline __m256i forbidden(const Row<Vectors>& row, const char* block) {
  const __m512i column = _mm512_castsi128_si512(_mm_load_si128(reinterpret_cast<const __m128i*>(block + 32)));
  const __mmask16 right = _mm_cmpgt_epu8_mask(_mm512_castsi512_si128(row.pick(column)),
                                              _mm_load_si128(reinterpret_cast<const __m128i*>(block + 48)));
  return _mm256_maskz_loadu_epi16(right, block);
}

/// Places of the exits of 16 blocks, in bytes.
template <int Vectors>
inline __m512i leave(const Row<Vectors>& row, const char* blocks, const uint32_t* at) {
  __m512i part[4];
  for (int i = 0; i < 4; ++i) {  // trees i, 4 + i, 8 + i, 12 + i: eight numbers in each quarter
    const auto two = [&](int a, int b) {
      return _mm512_inserti64x4(_mm512_castsi256_si512(forbidden(row, blocks + at[a])), forbidden(row, blocks + at[b]),
                                1);
    };
    const __m512i low = two(i, 4 + i), high = two(8 + i, 12 + i);
    part[i] = _mm512_or_si512(_mm512_shuffle_i64x2(low, high, 0x88), _mm512_shuffle_i64x2(low, high, 0xdd));
  }
  const auto fold = [](__m512i a, __m512i b) {
    return _mm512_castsi512_ps(_mm512_or_si512(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b)));
  };
  const __m512 a = fold(part[0], part[1]), b = fold(part[2], part[3]);
  const __m512i two = _mm512_or_si512(_mm512_castps_si512(_mm512_shuffle_ps(a, b, 0x88)),
                                      _mm512_castps_si512(_mm512_shuffle_ps(a, b, 0xdd)));
  const __m512i all = _mm512_or_si512(two, _mm512_rol_epi32(two, 16));
  // The lowest exit that is not forbidden, as a power of two; its exponent, from the bits of a float.
  const __m512i first = _mm512_andnot_si512(all, _mm512_add_epi32(all, _mm512_set1_epi32(1)));
  const __m512i exponent = _mm512_srli_epi32(_mm512_castps_si512(_mm512_cvtepi32_ps(first)), 21);
  return _mm512_add_epi32(_mm512_add_epi32(_mm512_loadu_si512(at), _mm512_set1_epi32(64 - 4 * 127)), exponent);
}

inline void read(const char* blocks, const uint32_t* at, int32_t* results, size_t count) {
  for (size_t i = 0; i < count; ++i) __builtin_memcpy(results + i, blocks + at[i], sizeof *results);
}

/// Sum over blocks at[0 .. count), a multiple of 16; at has room for 16 more.
template <int Vectors>
[[gnu::hot]] uint32_t run(const Row<Vectors>& row, const ForestBlock* all, uint32_t* at, size_t count) {
  const char* const blocks = reinterpret_cast<const char*>(all);
  const __m512i least = _mm512_set1_epi32(forest_block_results);
  alignas(64) int32_t results[most_lanes];
  __m512i sum = _mm512_setzero_si512();
  while (count > 0) {
    for (size_t i = 0; i < count; i += 16) {
      if (i + 16 < count)  // the second halves of the next blocks
        for (size_t l = 16; l < 32; ++l) _mm_prefetch(blocks + at[i + l] + 64, _MM_HINT_T0);
      _mm512_storeu_si512(at + i, leave(row, blocks, at + i));
    }
    read(blocks, at, results, count);
    size_t open = 0;
    for (size_t i = 0; i < count; i += 16) {
      const __m512i result = _mm512_load_si512(results + i);
      const __mmask16 more = _mm512_cmplt_epi32_mask(result, least);
      sum = _mm512_mask_add_epi32(sum, static_cast<__mmask16>(~more), sum, result);
      _mm512_storeu_si512(at + open, _mm512_maskz_compress_epi32(more, _mm512_slli_epi32(result, 7)));
      open += static_cast<size_t>(__builtin_popcount(more));
    }
    count = (open + 15) / 16 * 16;
    if (count > 0) _mm512_storeu_si512(at + open, _mm512_setzero_si512());
  }
  return static_cast<uint32_t>(_mm512_reduce_add_epi32(sum));
}

template <int Vectors>
[[gnu::hot]] void enter_all(const ForestBlockGroup* groups, size_t count, const Row<Vectors>& row,
                            const ForestBlock* blocks, uint32_t* at) {
  for (; count >= 4; count -= 4, groups += 4, at += 256) enter<Vectors, 4>(groups, row, blocks, at);
  for (; count > 0; --count, ++groups, at += 64) enter<Vectors, 1>(groups, row, blocks, at);
}

template <int Vectors>
[[gnu::hot]] uint32_t sum_alike(const ForestBlockGroup* groups, size_t count, const unsigned char* codes,
                                const ForestBlock* blocks) {
  alignas(64) uint32_t at[most_lanes + 16];
  const Row<Vectors> row(codes);
  enter_all(groups, count, row, blocks, at);
  return run(row, blocks, at, 64 * (count - 1) + (groups[count - 1].lanes + 15) / 16 * 16);
}

template <int Vectors>
void find_alike(const ForestBlockGroup* groups, size_t count, const unsigned char* codes, const ForestBlock* all,
                uint32_t* places) {
  const char* const blocks = reinterpret_cast<const char*>(all);
  const Row<Vectors> row(codes);
  enter_all(groups, count, row, all, places);
  const __m512i least = _mm512_set1_epi32(forest_block_results);
  for (size_t i = 0; i < 64 * count; i += 16) {
    if (i % 64 >= groups[i / 64].lanes) continue;
    alignas(64) uint32_t at[16];
    alignas(64) int32_t results[16];
    _mm512_store_si512(at, _mm512_loadu_si512(places + i));
    __m512i place = _mm512_setzero_si512();
    for (__mmask16 open = 0xffff; open != 0;) {
      place = _mm512_mask_mov_epi32(place, open, leave(row, blocks, at));
      _mm512_store_si512(at, place);
      read(blocks, at, results, 16);
      const __m512i result = _mm512_load_si512(results);
      open = _mm512_cmplt_epi32_mask(result, least);
      _mm512_store_si512(at, _mm512_maskz_slli_epi32(open, result, 7));
    }
    _mm512_storeu_si512(places + i, _mm512_srli_epi32(place, 2));
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
    (groups[0].top.vectors <= 1   ? find_alike<1>
     : groups[0].top.vectors == 2 ? find_alike<2>
                                  : find_alike<4>)(groups, same, codes[0], blocks, places);
  }
}

[[gnu::hot]] uint32_t sum(const ForestBlockGroup* groups, size_t count, const unsigned char* const* codes,
                          const ForestBlock* blocks) {
  uint32_t total = 0;
  for (size_t same; count > 0; groups += same, codes += same, count -= same) {
    same = alike(groups, count, codes);
    total += (groups[0].top.vectors <= 1   ? sum_alike<1>
              : groups[0].top.vectors == 2 ? sum_alike<2>
                                           : sum_alike<4>)(groups, same, codes[0], blocks);
  }
  return total;
}

}  // namespace

const ForestBlockTable forest_block_avx512_table = {2, find, sum};

}  // namespace redoubt::kernels::detail
