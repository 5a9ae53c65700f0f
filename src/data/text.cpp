#include "redoubt/data/text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <unordered_map>

#include "redoubt/core/error.hpp"
#include "redoubt/core/hash.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/data/column.hpp"

namespace redoubt {

namespace {

constexpr std::uint32_t malformed = 0xffffffffu;

struct CodePoint {
  std::uint32_t value;
  std::size_t bytes;
};

/// Next code point at `i`; a malformed, overlong or surrogate sequence counts as one malformed byte.
CodePoint decode(std::string_view text, std::size_t i) noexcept {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[k]); };
  const auto tail = [&](std::size_t k) { return k < text.size() && (byte(k) & 0xc0u) == 0x80u; };
  const std::uint32_t a = byte(i);
  if (a < 0x80) return {a, 1};
  if (a >= 0xc2 && a < 0xe0 && tail(i + 1)) return {(a & 0x1fu) << 6 | (byte(i + 1) & 0x3fu), 2};
  if (a >= 0xe0 && a < 0xf0 && tail(i + 1) && tail(i + 2)) {
    const std::uint32_t c = (a & 0x0fu) << 12 | (byte(i + 1) & 0x3fu) << 6 | (byte(i + 2) & 0x3fu);
    if (c >= 0x800 && (c < 0xd800 || c > 0xdfff)) return {c, 3};
  }
  if (a >= 0xf0 && a < 0xf5 && tail(i + 1) && tail(i + 2) && tail(i + 3)) {
    const std::uint32_t c =
        (a & 0x07u) << 18 | (byte(i + 1) & 0x3fu) << 12 | (byte(i + 2) & 0x3fu) << 6 | (byte(i + 3) & 0x3fu);
    if (c >= 0x10000 && c <= 0x10ffff) return {c, 4};
  }
  return {malformed, 1};
}

bool is_word(std::uint32_t c) noexcept {
  if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  if (c < 0xc0) return c == 0xaa || c == 0xb5 || c == 0xba;
  if (c == 0xd7 || c == 0xf7) return false;      // multiplication and division sign
  if (c >= 0x2000 && c <= 0x2bff) return false;  // punctuation, currency, arrows, mathematics, boxes, dingbats
  if (c >= 0x2e00 && c <= 0x2e7f) return false;  // supplemental punctuation
  if (c >= 0x3000 && c <= 0x3004) return false;  // CJK space, comma, full stop
  if (c >= 0x3008 && c <= 0x3020) return false;  // CJK brackets
  if (c >= 0xe000 && c <= 0xf8ff) return false;  // private use
  if (c >= 0xfe00 && c <= 0xfe6f) return false;  // variation selectors, small and vertical punctuation
  if (c == 0xfeff) return false;                 // byte order mark
  if (c >= 0xff00 && c <= 0xff65) {              // full-width ASCII: its letters and digits are words
    const std::uint32_t ascii = c - 0xff00 + 0x20;
    return ascii < 0x80 && is_word(ascii);
  }
  if (c >= 0xfff0 && c <= 0xffff) return false;    // specials
  if (c >= 0x1f000 && c <= 0x1faff) return false;  // emoji and pictographs
  return c < 0xe0000;                              // tags, private planes and malformed bytes are not
}

/// Lower case for the scripts named in the header; never changes the UTF-8 length.
std::uint32_t lower(std::uint32_t c) noexcept {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if (c >= 0xc0 && c <= 0xde) return c == 0xd7 ? c : c + 32;
  if ((c >= 0x100 && c <= 0x12f) || (c >= 0x132 && c <= 0x137) || (c >= 0x14a && c <= 0x177)) return c | 1u;
  if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17e)) return c + (c & 1u);
  if (c == 0x178) return 0xff;
  if (c >= 0x391 && c <= 0x3a9 && c != 0x3a2) return c + 32;
  if (c >= 0x410 && c <= 0x42f) return c + 32;
  if (c >= 0x400 && c <= 0x40f) return c + 80;
  return c;
}

std::size_t encode(std::uint32_t c, char* out) noexcept {
  if (c < 0x80) {
    out[0] = static_cast<char>(c);
    return 1;
  }
  if (c < 0x800) {
    out[0] = static_cast<char>(0xc0u | c >> 6);
    out[1] = static_cast<char>(0x80u | (c & 0x3fu));
    return 2;
  }
  if (c < 0x10000) {
    out[0] = static_cast<char>(0xe0u | c >> 12);
    out[1] = static_cast<char>(0x80u | (c >> 6 & 0x3fu));
    out[2] = static_cast<char>(0x80u | (c & 0x3fu));
    return 3;
  }
  out[0] = static_cast<char>(0xf0u | c >> 18);
  out[1] = static_cast<char>(0x80u | (c >> 12 & 0x3fu));
  out[2] = static_cast<char>(0x80u | (c >> 6 & 0x3fu));
  out[3] = static_cast<char>(0x80u | (c & 0x3fu));
  return 4;
}

/// Finaliser of MurmurHash3 (Appleby): a bijection that spreads every bit.
constexpr std::uint64_t mix(std::uint64_t x) noexcept {
  x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
  x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
  return x ^ x >> 33;
}

/// Hash of a sequence from the hash of its beginning and of its last element; order matters.
constexpr std::uint64_t extend(std::uint64_t beginning, std::uint64_t last) noexcept {
  return mix(std::rotl(beginning, 23) * 0x9e3779b97f4a7c15ull + last);
}

/// Odd multiplier and offset of each of the 64 hash functions of a signature.
struct MinHashFamily {
  std::array<std::uint64_t, MinHash::size> multiplier{}, offset{};
  constexpr MinHashFamily() {
    for (std::size_t i = 0; i < MinHash::size; ++i) {
      multiplier[i] = mix(0x9e3779b97f4a7c15ull * (2 * i + 1)) | 1u;
      offset[i] = mix(0x9e3779b97f4a7c15ull * (2 * i + 2));
    }
  }
};
constexpr MinHashFamily family;

}  // namespace

void for_each_token(std::string_view text, function_ref<void(std::string_view)> visit) {
  std::array<char, max_token_bytes> token;
  std::size_t used = 0;
  bool full = false;
  for (std::size_t i = 0; i < text.size();) {
    const auto [c, bytes] = decode(text, i);
    i += bytes;
    if (is_word(c)) {
      if (used + bytes > token.size()) full = true;
      if (!full) used += encode(lower(c), token.data() + used);
    } else if (used != 0) {
      visit({token.data(), used});
      used = 0;
      full = false;
    }
  }
  if (used != 0) visit({token.data(), used});
}

void for_each_ngram(std::string_view text, int longest, function_ref<void(std::uint64_t)> visit) {
  const auto most = static_cast<std::size_t>(std::clamp(longest, 1, max_text_ngrams));
  std::array<std::uint64_t, max_text_ngrams> ending{};  // ending[n - 1]: the n-gram that ends with the last word
  std::size_t words = 0;
  for_each_token(text, [&](std::string_view token) {
    const std::uint64_t word = hash64(token);
    words = std::min(words + 1, most);
    for (std::size_t n = words; n > 1; --n) ending[n - 1] = extend(ending[n - 2], word);
    ending[0] = word;
    for (std::size_t n = 0; n < words; ++n) visit(ending[n]);
  });
}

std::vector<std::string> tokenise(std::string_view text) {
  std::vector<std::string> tokens;
  for_each_token(text, [&](std::string_view token) { tokens.emplace_back(token); });
  return tokens;
}

MinHash minhash(std::string_view text, int longest) noexcept {
  MinHash result;
  result.values.fill(0xffffffffu);
  for_each_ngram(text, longest, [&](std::uint64_t hash) {
    result.empty = false;
    for (std::size_t i = 0; i < MinHash::size; ++i) {
      const auto value = static_cast<std::uint32_t>((hash * family.multiplier[i] + family.offset[i]) >> 32);
      result.values[i] = std::min(result.values[i], value);
    }
  });
  return result;
}

double similarity(const MinHash& a, const MinHash& b) noexcept {
  if (a.empty || b.empty) return 0;
  std::size_t equal = 0;
  for (std::size_t i = 0; i < MinHash::size; ++i) equal += a.values[i] == b.values[i];
  return static_cast<double>(equal) / MinHash::size;
}

std::uint64_t simhash(std::string_view text, int longest) noexcept {
  std::array<std::int32_t, 64> votes{};
  for_each_ngram(text, longest, [&](std::uint64_t hash) {
    for (std::size_t bit = 0; bit < 64; ++bit) votes[bit] += (hash >> bit & 1u) != 0 ? 1 : -1;
  });
  std::uint64_t result = 0;
  for (std::size_t bit = 0; bit < 64; ++bit) result |= static_cast<std::uint64_t>(votes[bit] > 0) << bit;
  return result;
}

std::vector<std::uint32_t> near_duplicate_groups(const TextColumn& texts, double threshold, int longest, Arena* arena) {
  if (!(threshold > 0 && threshold <= 1))
    detail::fail(errc::invalid_argument, fmt::format("near-duplicate threshold {} is not in (0, 1]", threshold));
  constexpr std::size_t bands = 16, band_rows = MinHash::size / bands;
  std::vector<MinHash> signatures(texts.size());
  parallel_for(
      texts.size(), 256,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) signatures[i] = minhash(texts[i], longest);
      },
      arena);

  std::vector<std::uint32_t> group(texts.size());
  for (std::uint32_t i = 0; i < group.size(); ++i) group[i] = i;
  const auto root = [&](std::uint32_t i) {
    while (group[i] != i) i = group[i] = group[group[i]];
    return i;
  };
  std::unordered_map<std::uint64_t, std::uint32_t> first;
  for (std::size_t band = 0; band < bands; ++band) {
    first.clear();
    for (std::uint32_t i = 0; i < group.size(); ++i) {
      if (signatures[i].empty) continue;
      std::uint64_t key = band;
      for (std::size_t k = 0; k < band_rows; ++k) key = extend(key, signatures[i].values[band * band_rows + k]);
      const auto [entry, fresh] = first.try_emplace(key, i);
      if (fresh || similarity(signatures[entry->second], signatures[i]) < threshold) continue;
      const std::uint32_t a = root(entry->second), b = root(i);
      group[std::max(a, b)] = std::min(a, b);  // the root of a group is its smallest row
    }
  }
  for (std::uint32_t i = 0; i < group.size(); ++i) group[i] = root(i);
  return group;
}

}  // namespace redoubt
