#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "redoubt/core/function_ref.hpp"
#include "redoubt/fwd.hpp"

namespace redoubt {

struct TextColumn;

// Text is cut into tokens once, here, for the TF-IDF features as well as for the checks that look for copied texts.
//
// A token is a longest run of letters and digits of UTF-8 text, in lower case. Letters and digits are: ASCII letters
// and digits, and every code point from U+00AA up that is not in a block of punctuation, space, symbol, emoji or
// private use. Everything else, malformed UTF-8 included, separates tokens. Lower case covers ASCII, Latin-1, Latin
// Extended-A, Greek and Cyrillic; other scripts stay as they are. Of a longer token the first `max_token_bytes` bytes
// (whole code points) count. All functions are pure and thread-safe; results are equal on every machine.

inline constexpr std::size_t max_token_bytes = 64;
inline constexpr int max_text_ngrams = 8;  ///< longest word n-gram

/// Calls `visit` with every token in order. The view is valid during the call only. Allocates nothing.
void for_each_token(std::string_view text, function_ref<void(std::string_view token)> visit);

/// Calls `visit` with a 64-bit hash of every word n-gram of length 1..longest (longest is clamped to
/// 1..max_text_ngrams), in the order of their last word. Allocates nothing.
void for_each_ngram(std::string_view text, int longest, function_ref<void(std::uint64_t hash)> visit);

std::vector<std::string> tokenise(std::string_view text);

/// MinHash signature of the set of word n-grams of a text (Broder, "On the resemblance and containment of documents",
/// 1997): the share of equal entries of two signatures estimates the Jaccard similarity of the two sets, with a
/// standard error of at most 1/16. 256 bytes, no allocation.
struct MinHash {
  static constexpr std::size_t size = 64;
  std::array<std::uint32_t, size> values{};
  bool empty = true;  ///< no token: similar to nothing

  bool operator==(const MinHash&) const = default;
};

/// Signature over word n-grams of length 1..longest.
MinHash minhash(std::string_view text, int longest = 2) noexcept;
/// Estimated Jaccard similarity in [0, 1]; 0 if either text is empty.
double similarity(const MinHash& a, const MinHash& b) noexcept;

/// SimHash (Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002) over word n-grams of
/// length 1..longest, repeats counted: near-duplicate texts differ in few of the 64 bits. 0 for a text without tokens.
std::uint64_t simhash(std::string_view text, int longest = 2) noexcept;

/// Groups of near-duplicate texts. Element i is the smallest row whose group text i belongs to (its own index if it is
/// alone; empty texts are always alone). Texts are linked if they share one of 16 bands of four signature entries
/// with the first text of that band and their estimated similarity reaches `threshold`; links are transitive. The band
/// scheme finds a pair of similarity 0.8 / 0.6 / 0.5 with probability about 1.00 / 0.89 / 0.64, so thresholds below 0.5
/// lose pairs. Linear in the number of texts. Threshold in (0, 1], otherwise Error(invalid_argument).
std::vector<std::uint32_t> near_duplicate_groups(const TextColumn& texts, double threshold = 0.6, int longest = 2,
                                                 Arena* arena = nullptr);

}  // namespace redoubt
