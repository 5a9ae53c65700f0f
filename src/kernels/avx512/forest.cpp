// The compiled forest on AVX-512 F/BW/DQ/VL/VBMI. Compiled with the flags of this level: no other includes, see
// body.hpp.
#include <immintrin.h>

#include "kernels/forest_table.hpp"

namespace redoubt::kernels::detail {
namespace {

// Codes -------------------------------------------------------------------------------------------------------------

/// Two looks of 16 thresholds each. A NaN is below all thresholds, or above all if `High`.
template <bool High, bool Zero>
[[gnu::hot]] void code_columns(size_t count, const unsigned* input, const float* thresholds, const float* src,
                               size_t src_row, size_t rows, unsigned char* dst, size_t dst_col) {
  constexpr int below = High ? _CMP_NGE_UQ : _CMP_LT_OQ;
  for (size_t c = 0; c < count; ++c, thresholds += forest_column_floats, dst += dst_col) {
    const float* x = src + input[c];
    const __m512 first = _mm512_load_ps(thresholds);
    for (size_t r = 0; r < rows; ++r, x += src_row) {
      float value = *x;
      if (Zero) value = __builtin_fabsf(value) <= 1e-35f ? __builtin_nanf("") : value;
      const __m512 v = _mm512_set1_ps(value);
      const unsigned block = __builtin_popcount(_mm512_cmp_ps_mask(first, v, below));
      const __m512 second = _mm512_load_ps(thresholds + 16 + 16 * block);
      const unsigned code = 16 * block + __builtin_popcount(_mm512_cmp_ps_mask(second, v, below));
      dst[r] = High ? static_cast<unsigned char>(code < 255 ? code : 255) : static_cast<unsigned char>(code);
    }
  }
}

[[gnu::hot]] void code(const ForestColumns& columns, const float* src, size_t src_row, size_t rows, unsigned char* dst,
                       size_t dst_col) {
  const unsigned* input = columns.input;
  const float* thresholds = columns.thresholds;
  const auto next = [&](size_t kind) {
    input += columns.count[kind];
    thresholds += columns.count[kind] * forest_column_floats;
    dst += columns.count[kind] * dst_col;
  };
  code_columns<false, false>(columns.count[0], input, thresholds, src, src_row, rows, dst, dst_col);
  next(0);
  code_columns<true, false>(columns.count[1], input, thresholds, src, src_row, rows, dst, dst_col);
  next(1);
  code_columns<false, true>(columns.count[2], input, thresholds, src, src_row, rows, dst, dst_col);
  next(2);
  code_columns<true, true>(columns.count[3], input, thresholds, src, src_row, rows, dst, dst_col);
}

// Sweep -------------------------------------------------------------------------------------------------------------

template <int Vectors>
struct Row {
  __m512i v[Vectors];
  void load(const unsigned char* codes) {
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

/// `Groups` groups in step, so that the latency of one hides behind the others, for `Rows` rows at once, so that each
/// node is read once for all of them. leaves of row r stand 64 * `stride` bytes after those of row r - 1.
template <int Vectors, int Groups, int Rows>
[[gnu::hot]] void sweep_some(const ForestGroup* groups, const unsigned char* const (&codes)[Rows],
                             unsigned char* leaves, size_t stride) {
  __m512i leaf[Rows][Groups];
  const unsigned char* nodes[Groups];
  for (int g = 0; g < Groups; ++g) {
    for (int r = 0; r < Rows; ++r) leaf[r][g] = _mm512_setzero_si512();
    nodes[g] = groups[g].nodes;
  }
  Row<Vectors> row[Rows];
  for (int r = 0; r < Rows; ++r) row[r].load(codes[r]);
  const size_t slots = groups[0].slots;
  __m512i next = _mm512_set1_epi8(1);
  const __m512i one = next;
  for (size_t i = 0; i < slots; ++i) {
    for (int g = 0; g < Groups; ++g) {
      const unsigned char* p = nodes[g] + 192 * i;
      const __m512i column = _mm512_load_si512(p);
      for (int r = 0; r < Rows; ++r) {
        const __mmask64 right = _mm512_cmpgt_epu8_mask(row[r].pick(column), _mm512_load_si512(p + 64));
        const __mmask64 here = _mm512_mask_cmpeq_epi8_mask(right, leaf[r][g], _mm512_load_si512(p + 128));
        leaf[r][g] = _mm512_mask_mov_epi8(leaf[r][g], here, next);
      }
    }
    next = _mm512_add_epi8(next, one);
  }
  for (int r = 0; r < Rows; ++r)
    for (int g = 0; g < Groups; ++g) _mm512_storeu_si512(leaves + 64 * (stride * r + g), leaf[r][g]);
}

template <int Vectors, int Rows>
[[gnu::hot]] void sweep_alike(const ForestGroup* groups, size_t count, const unsigned char* const* codes,
                              size_t codes_stride, unsigned char* leaves, size_t stride) {
  while (count > 0) {
    size_t same = 1;  // groups that read the same codes and have the same number of slots
    while (same < count && same < 4 && codes[same] == codes[0] && groups[same].slots == groups[0].slots) ++same;
    const unsigned char* rows[Rows];
    for (int r = 0; r < Rows; ++r) rows[r] = codes[r * codes_stride];
    if (same == 4 && Rows <= 2)
      sweep_some<Vectors, 4, Rows>(groups, rows, leaves, stride);
    else if (same >= 2)
      sweep_some<Vectors, 2, Rows>(groups, rows, leaves, stride), same = 2;
    else
      sweep_some<Vectors, 1, Rows>(groups, rows, leaves, stride);
    groups += same, codes += same, leaves += 64 * same, count -= same;
  }
}

template <int Rows>
[[gnu::hot]] void sweep(const ForestGroup* groups, size_t count, const unsigned char* const* codes,
                        unsigned char* leaves) {
  const size_t all = count;
  while (count > 0) {
    size_t same = 1;
    while (same < count && groups[same].vectors == groups[0].vectors) ++same;
    if (groups[0].vectors <= 1)
      sweep_alike<1, Rows>(groups, same, codes, all, leaves, all);
    else if (groups[0].vectors == 2)
      sweep_alike<2, Rows>(groups, same, codes, all, leaves, all);
    else
      sweep_alike<4, Rows>(groups, same, codes, all, leaves, all);
    groups += same, codes += same, leaves += 64 * same, count -= same;
  }
}

// Slices ------------------------------------------------------------------------------------------------------------

void tests_512(const ForestTests* tests, size_t count, const unsigned char* codes, uint64_t* masks) {
  for (; count-- > 0; ++tests) {
    __m512i row[8];
    for (int i = 0; i < 8; ++i) row[i] = _mm512_load_si512(codes + 512 * tests->column + 64 * i);
    uint64_t* mask = masks + 8 * tests->slot;
    for (size_t t = 0; t < tests->count; ++t, mask += 8) {
      const __m512i threshold = _mm512_set1_epi8(static_cast<char>(tests->thresholds[t]));
      for (int i = 0; i < 8; ++i) mask[i] = _cvtmask64_u64(_mm512_cmpgt_epu8_mask(row[i], threshold));
    }
  }
}

void tests_64(const ForestTests* tests, size_t count, const unsigned char* codes, uint64_t* masks) {
  for (; count-- > 0; ++tests) {
    const __m512i row = _mm512_load_si512(codes + 64 * tests->column);
    uint64_t* mask = masks + tests->slot;
    for (size_t t = 0; t < tests->count; ++t)
      mask[t] = _cvtmask64_u64(_mm512_cmpgt_epu8_mask(row, _mm512_set1_epi8(static_cast<char>(tests->thresholds[t]))));
  }
}

/// Bits up to 7 of the code are in `code`, the masks of bits 8 and 9 in `high`.
template <int Bits>
inline __m512i look_up(__m512i code, const uint64_t* high, const unsigned char* table) {
  if constexpr (Bits <= 6) return _mm512_permutexvar_epi8(code, _mm512_load_si512(table));
  if constexpr (Bits == 7)
    return _mm512_permutex2var_epi8(_mm512_load_si512(table), code, _mm512_load_si512(table + 64));
  if constexpr (Bits == 8)
    return _mm512_mask_blend_epi8(_mm512_movepi8_mask(code), look_up<7>(code, high, table),
                                  look_up<7>(code, high, table + 128));
  if constexpr (Bits > 8)
    return _mm512_mask_blend_epi8(_cvtu64_mask64(high[Bits - 9]), look_up<Bits - 1>(code, high, table),
                                  look_up<Bits - 1>(code, high, table + (size_t{1} << (Bits - 1))));
}

/// Adds the leaf values of 64 rows.
template <int Bits>
inline void add_values(__m512i code, const uint64_t* high, const unsigned char* table, int bytes, __m512i sum[4]) {
  constexpr size_t size = size_t{1} << (Bits < 6 ? 6 : Bits);
  const __m512i zero = _mm512_setzero_si512();
  const __m512i b0 = look_up<Bits>(code, high, table);
  const __m512i b1 = bytes > 1 ? look_up<Bits>(code, high, table + size) : zero;
  const __m512i b2 = bytes > 2 ? look_up<Bits>(code, high, table + 2 * size) : zero;
  const __m512i b3 = bytes > 3 ? look_up<Bits>(code, high, table + 3 * size) : zero;
  const __m512i low0 = _mm512_unpacklo_epi8(b0, b1), low1 = _mm512_unpackhi_epi8(b0, b1);
  const __m512i high0 = _mm512_unpacklo_epi8(b2, b3), high1 = _mm512_unpackhi_epi8(b2, b3);
  sum[0] = _mm512_add_epi32(sum[0], _mm512_unpacklo_epi16(low0, high0));
  sum[1] = _mm512_add_epi32(sum[1], _mm512_unpackhi_epi16(low0, high0));
  sum[2] = _mm512_add_epi32(sum[2], _mm512_unpacklo_epi16(low1, high1));
  sum[3] = _mm512_add_epi32(sum[3], _mm512_unpackhi_epi16(low1, high1));
}

inline void add_values(const ForestSliceTree& tree, size_t k, const unsigned char* codes, size_t words, size_t word,
                       __m512i sum[4]) {
  const size_t size = size_t{1} << (tree.bits < 6 ? 6 : tree.bits);
  const unsigned char* table = tree.tables + k * tree.bytes * size;
  const __m512i code = _mm512_load_si512(codes + 64 * word);
  const uint64_t* high = reinterpret_cast<const uint64_t*>(codes + 64 * words) + 2 * word;
  if (tree.bits <= 6)
    add_values<6>(code, high, table, tree.bytes, sum);
  else if (tree.bits == 7)
    add_values<7>(code, high, table, tree.bytes, sum);
  else if (tree.bits == 8)
    add_values<8>(code, high, table, tree.bytes, sum);
  else if (tree.bits == 9)
    add_values<9>(code, high, table, tree.bytes, sum);
  else
    add_values<10>(code, high, table, tree.bytes, sum);
}

/// Adds `count` trees of one output (or all outputs, if leaf_width > 1) to the sums of `words` * 64 rows.
template <size_t Words>
inline void add_trees(const ForestSliceTree* trees, size_t count, size_t leaf_width, const unsigned char* leaf_codes,
                      uint32_t* sums) {
  for (size_t k = 0; k < leaf_width; ++k) {
    uint32_t* out = sums + 64 * Words * (leaf_width > 1 ? k : trees->output);
    for (size_t w = 0; w < Words; ++w) {
      __m512i sum[4];
      for (int i = 0; i < 4; ++i) sum[i] = _mm512_loadu_si512(out + 64 * w + 16 * i);
      for (size_t t = 0; t < count; ++t)
        add_values(trees[t], k, leaf_codes + forest_code_bytes * Words * t, Words, w, sum);
      for (int i = 0; i < 4; ++i) _mm512_storeu_si512(out + 64 * w + 16 * i, sum[i]);
    }
  }
}

/// Bit planes to bytes, the planes beyond a byte as they are.
template <size_t Words>
inline void unslice(const ForestSliceTree& tree, const uint64_t* masks, unsigned char* leaf_codes) {
  const int low = tree.bits < 8 ? tree.bits : 8;
  uint64_t* high = reinterpret_cast<uint64_t*>(leaf_codes + 64 * Words);
  for (size_t w = 0; w < Words; ++w) {
    __m512i code = _mm512_setzero_si512();
    __m512i bit = _mm512_set1_epi8(1);
    for (int j = 0; j < low; ++j) {
      code = _mm512_mask_add_epi8(code, _cvtu64_mask64(masks[Words * tree.planes[j] + w]), code, bit);
      bit = _mm512_add_epi8(bit, bit);
    }
    _mm512_store_si512(leaf_codes + 64 * w, code);
    for (int j = 8; j < tree.bits; ++j) high[2 * w + (j - 8)] = masks[Words * tree.planes[j] + w];
  }
}

/// One select. Its four slots come with one load: three more would cost as much as the rest.
inline void select_512(const ForestSelect* s, char* base) {
  constexpr uint64_t slot = 0xffff * 64;
  uint64_t q;
  __builtin_memcpy(&q, s, sizeof q);
  const __m512i condition = _mm512_load_si512(base + (q << 6 & slot));
  const __m512i left = _mm512_load_si512(base + (q >> 10 & slot));
  const __m512i right = _mm512_load_si512(base + (q >> 26 & slot));
  _mm512_store_si512(base + (q >> 42 & slot),
                     _mm512_ternarylogic_epi64(condition, right, left, 0xca));  // condition ? right : left
}

inline void select_64(const ForestSelect* s, uint64_t* masks) {
  uint64_t q;
  __builtin_memcpy(&q, s, sizeof q);
  const uint64_t left = masks[q >> 16 & 0xffff];
  masks[q >> 48] = left ^ (masks[q & 0xffff] & (left ^ masks[q >> 32 & 0xffff]));
}

/// Two trees in step: the selects of one wait for each other.
template <size_t Words>
inline void select(const ForestSliceTree& x, const ForestSliceTree* y, uint64_t* masks) {
  const auto one = [masks](const ForestSelect* s) {
    if constexpr (Words == 8)
      select_512(s, reinterpret_cast<char*>(masks));
    else
      select_64(s, masks);
  };
  const size_t x_count = x.select_count, y_count = y ? y->select_count : 0;
  const size_t both = x_count < y_count ? x_count : y_count;
  const ForestSelect* const s = x.selects;
  const ForestSelect* const t = y ? y->selects : s;
  for (size_t i = 0; i < both; ++i) {
    one(s + i);
    one(t + i);
  }
  for (size_t i = both; i < x_count; ++i) one(s + i);
  for (size_t i = both; i < y_count; ++i) one(t + i);
}

template <size_t Words>
void slice(const ForestSliceTree* trees, size_t count, size_t leaf_width, uint64_t* masks, unsigned char* leaf_codes,
           uint32_t* sums) {
  while (count > 0) {
    size_t n = 0;
    while (n < count && n < forest_trees_at_once && trees[n].output == trees->output) {
      const bool two = n + 1 < count && n + 1 < forest_trees_at_once && trees[n + 1].output == trees->output;
      select<Words>(trees[n], two ? trees + n + 1 : nullptr, masks);
      for (const size_t end = n + 1 + two; n < end; ++n)
        unslice<Words>(trees[n], masks, leaf_codes + forest_code_bytes * Words * n);
    }
    add_trees<Words>(trees, n, leaf_width, leaf_codes, sums);
    trees += n, count -= n;
  }
}

}  // namespace

const ForestTable forest_avx512_table = {2, code, sweep<1>, sweep<4>, 8, tests_512, slice<8>};
const ForestTable forest_avx512_narrow_table = {2, code, sweep<1>, sweep<4>, 1, tests_64, slice<1>};

}  // namespace redoubt::kernels::detail
