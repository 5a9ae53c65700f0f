#pragma once
// Rows of a matrix, without four bytes for each where they are all of them.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace redoubt::detail {

/// A view of row numbers, ascending: those of a list, or all below a number.
class RowList {
 public:
  RowList() = default;
  RowList(std::span<const std::uint32_t> list) noexcept : list_(list.data()), size_(list.size()) {}  // NOLINT
  RowList(const std::vector<std::uint32_t>& list) noexcept : RowList(std::span(list)) {}             // NOLINT
  static RowList all(std::size_t rows) noexcept {
    RowList out;
    out.size_ = rows;
    return out;
  }

  std::size_t size() const noexcept { return size_; }
  bool empty() const noexcept { return size_ == 0; }
  /// Null: row i is number i.
  const std::uint32_t* list() const noexcept { return list_; }
  std::uint32_t operator[](std::size_t i) const noexcept { return list_ ? list_[i] : static_cast<std::uint32_t>(i); }
  /// Index of the first one that is at least `row`, or size().
  std::size_t first_from(std::size_t row) const noexcept {
    return list_ ? static_cast<std::size_t>(std::lower_bound(list_, list_ + size_, row) - list_) : std::min(row, size_);
  }
  std::vector<std::uint32_t> listed() const {
    std::vector<std::uint32_t> out(size_);
    for (std::size_t i = 0; i < size_; ++i) out[i] = (*this)[i];
    return out;
  }

 private:
  const std::uint32_t* list_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace redoubt::detail
