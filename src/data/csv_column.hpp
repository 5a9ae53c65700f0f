#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/release.hpp"
#include "data/dictionary.hpp"
#include "data/large_pages.hpp"
#include "data/number.hpp"
#include "redoubt/data/column.hpp"

namespace redoubt::detail {

inline constexpr double bad_cell_share = 0.01;  // a column of numbers or times may have this share of other cells

/// The cells that mean "no value".
class MissingTokens {
 public:
  explicit MissingTokens(const std::vector<std::string>& tokens) {
    for (const std::string& token : tokens) {
      double ignored = 0;
      if (token.empty())
        empty_ = true;
      else
        first_[static_cast<unsigned char>(token[0])] = true;
      longest_ = std::max(longest_, token.size());
      numeric_ = numeric_ || parse_number(token.data(), token.data() + token.size(), ignored);
      tokens_.insert(token);
    }
  }
  bool contains(std::string_view cell) const {
    if (cell.empty()) return empty_;
    if (cell.size() > longest_ || !first_[static_cast<unsigned char>(cell[0])]) return false;
    return tokens_.contains(std::string(cell));
  }
  bool any_numeric() const noexcept { return numeric_; }  // "-999" must be looked up before it is read as a number

 private:
  std::unordered_set<std::string> tokens_;
  std::array<bool, 256> first_{};
  std::size_t longest_ = 0;
  bool empty_ = false, numeric_ = false;
};

inline std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

enum class CellFault : std::uint8_t { number, time, encoding, weight, label };

struct BadCell {
  std::size_t row;  // position among the rows that are kept so far
  CellFault fault;
};

enum class Kind : std::uint8_t { skipped, number, time, dictionary, text };

// One column while it is being read.
struct Builder {
  ColumnSpec spec;
  Kind kind = Kind::number;
  bool forced = false;  // the type is not inferred
  bool inferred_target = false;
  std::string_view suffix;  // cut from cells
  std::size_t max_distinct = 0;
  std::vector<double> numbers;
  std::vector<std::int64_t> times;
  std::vector<std::int32_t> codes;
  Dictionary dictionary;
  TextColumn texts;
  double mean_bytes = 0;  // of a cell in the first block
  std::size_t present = 0;
  std::size_t number_like = 0;  // cells of a string column that begin like a number or a time
  std::vector<BadCell> bad;

  void reset(Kind to) {
    kind = to;
    numbers.clear();
    times.clear();
    codes.clear();
    dictionary = {};
    texts = {};
    present = number_like = 0;
    bad.clear();
  }
  // For the rows that are expected; `limit` bounds the bytes of texts.
  void reserve(std::size_t rows, std::size_t limit) {
    if (kind == Kind::number) reserve_large(numbers, rows);
    if (kind == Kind::time) reserve_large(times, rows);
    if (kind == Kind::dictionary) reserve_large(codes, rows);
    if (kind == Kind::text) {
      reserve_large(texts.offsets, rows + 1);
      reserve_large(texts.bytes, std::min(limit, static_cast<std::size_t>(mean_bytes * static_cast<double>(rows)) + 1));
    }
  }
  bool too_many_bad() const { return static_cast<double>(bad.size()) > bad_cell_share * static_cast<double>(present); }
  std::string_view string_at(std::size_t row) const {
    if (kind == Kind::text) return texts[row];
    return codes[row] < 0 ? std::string_view{} : dictionary[codes[row]];
  }
  void dictionary_to_text() {
    texts = {};
    texts.offsets.reserve(codes.capacity() + 1);
    texts.bytes.reserve(static_cast<std::size_t>(std::ceil(mean_bytes * static_cast<double>(codes.capacity()))));
    for (const std::int32_t code : codes) texts.push_back(code < 0 ? std::string_view{} : dictionary[code]);
    release(codes);
    dictionary = {};
    kind = Kind::text;
  }
};

}  // namespace redoubt::detail
