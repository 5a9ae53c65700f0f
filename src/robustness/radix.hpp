#pragma once
// Order of floats by radix sort: a few passes over whole columns, several times as fast as comparing.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace redoubt::detail {

/// Orders values ascending, equal ones by position. Keeps its memory for the next call.
class FloatOrder {
 public:
  /// value(i) is finite. Afterwards entries()[r] is the r-th smallest.
  template <class Value>
  void sort(std::size_t count, Value value) {
    entries_.resize(count);
    other_.resize(count);
    for (auto& h : histogram_) h.fill(0);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t key = key_of(value(i));
      ++histogram_[1][key >> 11 & 2047];
      ++histogram_[2][key >> 22];
    }
    // Values that are alike in the upper digits are few, as a rule, and neighbours after those have been sorted.
    start(1, value);
    by_digit(2);
    if (insert(4 * count)) return;
    for (std::size_t i = 0; i < count; ++i) ++histogram_[0][key_of(value(i)) & 2047];
    start(0, value);
    by_digit(1);
    by_digit(2);
  }

  std::size_t size() const noexcept { return entries_.size(); }
  std::uint32_t position(std::size_t rank) const noexcept { return static_cast<std::uint32_t>(entries_[rank]); }
  /// Equal keys, equal values; ordered as the values are.
  std::uint32_t key(std::size_t rank) const noexcept { return static_cast<std::uint32_t>(entries_[rank] >> 32); }

 private:
  static std::uint32_t key_of(float value) noexcept {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value + 0.0f);  // no minus zero
    // Without a branch, which signs at random would mislead.
    return bits ^ (static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31) | 0x80000000u);
  }
  /// Where the values of each digit begin.
  std::array<std::uint32_t, 2048> places_of(std::size_t digit) const noexcept {
    std::array<std::uint32_t, 2048> places;
    std::exclusive_scan(histogram_[digit].begin(), histogram_[digit].end(), places.begin(), 0u);
    return places;
  }
  /// All values, by a digit.
  template <class Value>
  void start(std::size_t digit, Value value) {
    auto places = places_of(digit);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const std::uint32_t key = key_of(value(i));
      entries_[places[key >> (11 * digit) & 2047]++] = std::uint64_t{key} << 32 | i;
    }
  }
  void by_digit(std::size_t digit) {
    const unsigned shift = 32 + 11 * static_cast<unsigned>(digit);
    if (entries_.empty() || histogram_[digit][entries_[0] >> shift & 2047] == entries_.size()) return;  // all the same
    auto places = places_of(digit);
    for (const std::uint64_t e : entries_) other_[places[e >> shift & 2047]++] = e;
    entries_.swap(other_);
  }
  /// By insertion, of whole entries. False: it took more than `most` moves, and the order is some other.
  bool insert(std::size_t most) {
    std::size_t moves = 0;
    for (std::size_t i = 1; i < entries_.size(); ++i) {
      const std::uint64_t e = entries_[i];
      std::size_t to = i;
      for (; to > 0 && entries_[to - 1] > e; --to) entries_[to] = entries_[to - 1];
      entries_[to] = e;
      moves += i - to;
      if (moves > most) return false;
    }
    return true;
  }

  std::vector<std::uint64_t> entries_, other_;
  std::array<std::array<std::uint32_t, 2048>, 3> histogram_;
};

}  // namespace redoubt::detail
