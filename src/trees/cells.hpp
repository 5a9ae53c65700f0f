#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "redoubt/trees/binning.hpp"

namespace redoubt {

/// Bytes between rows of so many columns: whole words, and no row of up to 32 crosses a cache line.
constexpr std::size_t row_stride(std::size_t columns) noexcept {
  return columns <= 16 ? (columns + 7) / 8 * 8 : columns <= 32 ? 32 : (columns + 15) / 16 * 16;
}

/// Bins by columns, while a matrix is made: whole columns of bytes, or cells in lists.
struct BinnedMatrix::Cells {
  const std::uint8_t* by_column = nullptr;
  std::size_t stride = 0;
  std::vector<std::uint64_t> offsets;
  std::vector<std::uint32_t> rows;
  std::vector<std::uint8_t> bins;
  std::vector<std::size_t> uncommon;  ///< cells that are not in the column's common bin

  /// Calls f(row, bin) for the cells of column c that are not in bin `common`, by ascending row, until it gives false.
  template <class F>
  void each(std::size_t c, std::uint8_t common, std::size_t all_rows, F f) const {
    if (by_column) {
      const std::uint8_t* codes = by_column + c * stride;
      for (std::size_t r = 0; r < all_rows; ++r)
        if (codes[r] != common && !f(static_cast<std::uint32_t>(r), codes[r])) return;
    } else {
      for (auto i = offsets[c]; i < offsets[c + 1]; ++i)
        if (bins[i] != common && !f(rows[i], bins[i])) return;
    }
  }
};

}  // namespace redoubt
