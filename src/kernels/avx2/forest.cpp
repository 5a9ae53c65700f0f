// The compiled forest on AVX2. Compiled with the flags of this level: no other includes, see body.hpp.
#include <immintrin.h>

#include "kernels/forest_table.hpp"

namespace redoubt::kernels::detail {
namespace {

constexpr size_t words = 4, rows_of_block = 64 * words;

/// How many of 16 thresholds are below.
template <int Below>
inline unsigned count_below(const float* thresholds, __m256 x) {
  const int low = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_load_ps(thresholds), x, Below));
  const int high = _mm256_movemask_ps(_mm256_cmp_ps(_mm256_load_ps(thresholds + 8), x, Below));
  return static_cast<unsigned>(__builtin_popcount(static_cast<unsigned>(low | high << 8)));
}

/// Two looks of 16 thresholds each. A NaN is below all thresholds, or above all if `High`.
template <bool High, bool Zero>
[[gnu::hot]] void code_columns(size_t count, const unsigned* input, const float* thresholds, const float* src,
                               size_t src_row, size_t rows, unsigned char* dst, size_t dst_col) {
  constexpr int below = High ? _CMP_NGE_UQ : _CMP_LT_OQ;
  for (size_t c = 0; c < count; ++c, thresholds += forest_column_floats, dst += dst_col) {
    const float* x = src + input[c];
    for (size_t r = 0; r < rows; ++r, x += src_row) {
      float value = *x;
      if (Zero) value = __builtin_fabsf(value) <= 1e-35f ? __builtin_nanf("") : value;
      const __m256 v = _mm256_set1_ps(value);
      const unsigned block = count_below<below>(thresholds, v);
      const unsigned code = 16 * block + count_below<below>(thresholds + 16 + 16 * block, v);
      dst[r] = static_cast<unsigned char>(code < 255 ? code : 255);
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

inline __m256i load(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }

void tests(const ForestTests* tests, size_t count, const unsigned char* codes, uint64_t* masks) {
  for (; count-- > 0; ++tests) {
    __m256i row[8];
    for (int i = 0; i < 8; ++i) row[i] = load(codes + rows_of_block * tests->column + 32 * i);
    int* mask = reinterpret_cast<int*>(masks + words * tests->slot);
    for (size_t t = 0; t < tests->count; ++t, mask += 8) {
      // Thresholds are at most 254; x > t iff max(x, t + 1) = x.
      const __m256i above = _mm256_set1_epi8(static_cast<char>(tests->thresholds[t] + 1));
      for (int i = 0; i < 8; ++i)
        mask[i] = _mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_max_epu8(row[i], above), row[i]));
    }
  }
}

/// The four slots of a select come with one load: three more would cost as much as the rest.
void select(const ForestSliceTree& tree, uint64_t* masks) {
  constexpr uint64_t slot = 0xffff * 32;
  char* const base = reinterpret_cast<char*>(masks);
  const ForestSelect* s = tree.selects;
  for (const ForestSelect* const end = s + tree.select_count; s < end; ++s) {
    uint64_t q;
    __builtin_memcpy(&q, s, sizeof q);
    const __m256i condition = load(base + (q << 5 & slot));
    const __m256i left = load(base + (q >> 11 & slot));
    const __m256i right = load(base + (q >> 27 & slot));
    _mm256_store_si256(reinterpret_cast<__m256i*>(base + (q >> 43 & slot)),
                       _mm256_xor_si256(left, _mm256_and_si256(condition, _mm256_xor_si256(left, right))));
  }
}

/// Bit planes to bytes, 32 rows at a time.
void unslice(const ForestSliceTree& tree, const uint64_t* masks, unsigned char* leaf_codes) {
  const __m256i spread =
      _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
  const __m256i own_bit = _mm256_set1_epi64x(static_cast<long long>(0x8040201008040201ull));
  for (size_t part = 0; part < 2 * words; ++part) {
    __m256i code = _mm256_setzero_si256();
    for (int j = 0; j < tree.bits; ++j) {
      const int plane = reinterpret_cast<const int*>(masks + words * tree.planes[j])[part];
      const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(plane), spread);
      const __m256i on = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, own_bit), own_bit);
      code = _mm256_or_si256(code, _mm256_and_si256(on, _mm256_set1_epi8(static_cast<char>(1 << j))));
    }
    _mm256_store_si256(reinterpret_cast<__m256i*>(leaf_codes + 32 * part), code);
  }
}

/// The tables hold whole values. Four places of a sum in a row belong to four rows in a row, the next four to those 16
/// rows further (REDOUBT_FOREST_POSITION).
void add(const ForestSliceTree& tree, size_t leaf_width, const unsigned char* leaf_codes, uint32_t* sums) {
  const size_t size = size_t{1} << (tree.bits < 6 ? 6 : tree.bits);
  for (size_t k = 0; k < leaf_width; ++k) {
    const int* const table = reinterpret_cast<const int*>(tree.tables) + k * size;
    uint32_t* out = sums + rows_of_block * (leaf_width > 1 ? k : tree.output);
    for (size_t w = 0; w < words; ++w)
      for (size_t p = 0; p < 64; p += 8, out += 8) {
        const unsigned char* const code = leaf_codes + 64 * w + (p >> 4 << 2) + ((p & 15) << 2);
        int first, second;
        __builtin_memcpy(&first, code, 4);
        __builtin_memcpy(&second, code + 16, 4);
        const __m256i index = _mm256_cvtepu8_epi32(_mm_insert_epi32(_mm_cvtsi32_si128(first), second, 1));
        __m256i* const sum = reinterpret_cast<__m256i*>(out);
        _mm256_storeu_si256(sum, _mm256_add_epi32(_mm256_loadu_si256(sum), _mm256_i32gather_epi32(table, index, 4)));
      }
  }
}

void slice(const ForestSliceTree* trees, size_t count, size_t leaf_width, uint64_t* masks, unsigned char* leaf_codes,
           uint32_t* sums) {
  for (; count-- > 0; ++trees) {
    select(*trees, masks);
    unslice(*trees, masks, leaf_codes);
    add(*trees, leaf_width, leaf_codes, sums);
  }
}

}  // namespace

const ForestTable forest_avx2_table = {1, code, nullptr, nullptr, words, tests, slice};

}  // namespace redoubt::kernels::detail
