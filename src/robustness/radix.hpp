#pragma once
// Order of floats by radix sort: a few passes over whole columns, several times as fast as comparing.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <numeric>
#include <utility>
#include <vector>

namespace redoubt::detail {

/// Orders values ascending, equal ones by position. Keeps its memory for the next call.
class FloatOrder {
 public:
  /// value(i) is finite. Afterwards position(r) and key(r) are those of the r-th smallest.
  template <class Value>
  void sort(std::size_t count, Value value) {
    entries_.resize(count);
    other_.resize(count);
    if (count == 0) return;
    // In places between the smallest and the largest, values that share one are few as a rule, and neighbours then. If
    // they are not, as most values lie close together, digits of the values themselves tell them apart.
    const auto [low, high] = range_of(count, value);
    if (by_place(value, low, high - low) && insert(4 * count)) return;
    by_digits(value, 1);
    if (insert(4 * count)) return;
    by_digits(value, 0);
  }

  std::size_t size() const noexcept { return entries_.size(); }
  std::uint32_t position(std::size_t rank) const noexcept { return static_cast<std::uint32_t>(entries_[rank]); }
  /// Equal keys, equal values; ordered as the values are.
  std::uint32_t key(std::size_t rank) const noexcept { return static_cast<std::uint32_t>(entries_[rank] >> 32); }

 private:
  static constexpr std::size_t digits = 2048;

  static std::uint32_t key_of(float value) noexcept {
    const std::uint32_t bits = std::bit_cast<std::uint32_t>(value + 0.0f);  // no minus zero
    // Without a branch, which signs at random would mislead.
    return bits ^ (static_cast<std::uint32_t>(static_cast<std::int32_t>(bits) >> 31) | 0x80000000u);
  }
  static float value_of(std::uint32_t key) noexcept {
    return std::bit_cast<float>(key ^
                                (~static_cast<std::uint32_t>(static_cast<std::int32_t>(key) >> 31) | 0x80000000u));
  }
  static std::uint64_t entry_of(float value, std::size_t i) noexcept { return std::uint64_t{key_of(value)} << 32 | i; }

  template <class Value>
  static std::pair<float, float> range_of(std::size_t count, Value value) noexcept {
    constexpr std::size_t lanes = 16;  // none of which waits for another
    std::array<float, lanes> low, high;
    low.fill(value(0));
    high.fill(value(0));
    std::size_t i = 0;
    for (; i + lanes <= count; i += lanes) {
      for (std::size_t k = 0; k < lanes; ++k) {
        const float v = value(i + k);
        low[k] = v < low[k] ? v : low[k];
        high[k] = v > high[k] ? v : high[k];
      }
    }
    for (; i < count; ++i) low[0] = std::min(low[0], value(i)), high[0] = std::max(high[0], value(i));
    return {*std::min_element(low.begin(), low.end()), *std::max_element(high.begin(), high.end())};
  }
  /// Where the values of each digit begin.
  std::array<std::uint32_t, digits> places_of(std::size_t digit) const noexcept {
    std::array<std::uint32_t, digits> places;
    std::exclusive_scan(histogram_[digit].begin(), histogram_[digit].end(), places.begin(), 0u);
    return places;
  }
  void clear() {
    for (auto& h : histogram_) h.fill(0);
  }

  /// By 2^22 places between low and low + spread, fewer if that is tiny. False, and nothing was done: too many values
  /// would share a place, as those of a long tail leave the others little room.
  template <class Value>
  bool by_place(Value value, float low, float spread) {
    if (!(spread <= std::numeric_limits<float>::max())) return false;
    // Rounding may add 2^-22 of them. Values may lie so close together that the quotient is infinite.
    const float scale =
        spread > 0 ? std::min(static_cast<float>(digits * digits - 8) / spread, std::numeric_limits<float>::max()) : 0;
    const auto place_of = [=](float v) {
      return static_cast<std::uint32_t>(static_cast<std::int32_t>((v - low) * scale));
    };
    clear();
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const std::uint32_t place = place_of(value(i));
      ++histogram_[0][place % digits];
      ++histogram_[1][place / digits];
    }
    // Moves of the insertion, if values are even within a digit: a quarter of the pairs in a place.
    double moves = 0;
    for (const double c : histogram_[1]) moves += c * c / (4 * digits);
    if (spread > 0 && moves > 2 * static_cast<double>(entries_.size())) return false;
    auto begins = places_of(0);
    for (std::size_t i = 0; i < entries_.size(); ++i)
      other_[begins[place_of(value(i)) % digits]++] = entry_of(value(i), i);
    begins = places_of(1);
    for (const std::uint64_t e : other_)
      entries_[begins[place_of(value_of(static_cast<std::uint32_t>(e >> 32))) / digits]++] = e;
    return true;
  }

  /// By the digits of the keys, from `first` on, the last of which is 2.
  template <class Value>
  void by_digits(Value value, std::size_t first) {
    const auto digit_of = [](std::uint32_t key, std::size_t d) { return key >> (11 * d) & (digits - 1); };
    clear();
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      const std::uint32_t key = key_of(value(i));
      for (std::size_t d = first; d < 3; ++d) ++histogram_[d][digit_of(key, d)];
    }
    auto begins = places_of(first);
    for (std::size_t i = 0; i < entries_.size(); ++i)
      entries_[begins[digit_of(key_of(value(i)), first)]++] = entry_of(value(i), i);
    for (std::size_t d = first + 1; d < 3; ++d) {
      const auto digit = [&](std::uint64_t e) { return digit_of(static_cast<std::uint32_t>(e >> 32), d); };
      if (histogram_[d][digit(entries_[0])] == entries_.size()) continue;  // all the same
      begins = places_of(d);
      for (const std::uint64_t e : entries_) other_[begins[digit(e)]++] = e;
      entries_.swap(other_);
    }
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
  std::array<std::array<std::uint32_t, digits>, 3> histogram_;
};

}  // namespace redoubt::detail
