#pragma once
// Order of floats by radix sort: a few passes over whole columns, several times as fast as comparing.
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
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
      const std::uint32_t bits = std::bit_cast<std::uint32_t>(value(i) + 0.0f);  // no minus zero
      const std::uint32_t key = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
      entries_[i] = std::uint64_t{key} << 32 | i;
      ++histogram_[0][key & 2047];
      ++histogram_[1][key >> 11 & 2047];
      ++histogram_[2][key >> 22];
    }
    for (std::size_t pass = 0; pass < 3; ++pass) {
      auto& places = histogram_[pass];
      const unsigned shift = 32 + 11 * static_cast<unsigned>(pass);
      if (count > 0 && places[entries_[0] >> shift & 2047] == count) continue;  // all the same
      std::uint32_t place = 0;
      for (auto& p : places) {
        const std::uint32_t here = p;
        p = place;
        place += here;
      }
      for (const std::uint64_t e : entries_) other_[places[e >> shift & 2047]++] = e;
      entries_.swap(other_);
    }
  }

  std::size_t size() const noexcept { return entries_.size(); }
  std::uint32_t position(std::size_t rank) const noexcept { return static_cast<std::uint32_t>(entries_[rank]); }
  /// Equal keys, equal values; ordered as the values are.
  std::uint32_t key(std::size_t rank) const noexcept { return static_cast<std::uint32_t>(entries_[rank] >> 32); }

 private:
  std::vector<std::uint64_t> entries_, other_;
  std::array<std::array<std::uint32_t, 2048>, 3> histogram_;
};

}  // namespace redoubt::detail
