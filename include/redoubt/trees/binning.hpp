#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/view.hpp"

namespace redoubt {

struct BinningOptions {
  int max_bins = 255;                 ///< per column, without the bin of missing values; 2 .. 255
  std::size_t sample_rows = 200'000;  ///< cut points come from at most so many rows
  std::uint64_t seed = 0;             ///< of that sample
  Arena* arena = nullptr;
};

/// How one encoded column is cut into at most 255 bins and one more, the last, for missing values.
struct ColumnBins {
  std::uint32_t categories = 0;  ///< number of category codes; 0: a numeric column
  /// Numeric: bin b holds upper[b-1] < x <= upper[b]; the last is +infinity. A cut point is a float that the
  /// forest compares with, so going left of bin b and going left of upper[b] are the same thing.
  std::vector<float> upper;
  /// Categorical: bin of each code. Codes that are too rare for a bin of their own count as missing.
  std::vector<std::uint8_t> bin_of_code;
  std::uint32_t count = 0;  ///< bins without the one of missing values

  std::uint8_t missing() const noexcept { return static_cast<std::uint8_t>(count); }
  std::uint8_t operator()(float x) const noexcept;  ///< bin of a value
};

/// An encoded matrix as bin numbers, one byte per cell: what the tree learners work on. Build it once to train many
/// times on the same rows or on subsets of them. Immutable, thread-safe.
class BinnedMatrix {
 public:
  /// `category_counts` as from `Encoder::category_counts()`; empty: all numeric. Error(shape_mismatch) if its length
  /// is not x.cols(), Error(invalid_argument) for max_bins outside its range.
  BinnedMatrix(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
               const BinningOptions& options = {});

  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return columns_.size(); }
  const ColumnBins& column(std::size_t c) const noexcept { return columns_[c]; }
  const std::uint8_t* row(std::size_t r) const noexcept { return codes_.data() + r * columns_.size(); }

  /// Where column c starts in a histogram over all columns; entry cols() is its size.
  std::span<const std::uint32_t> offsets() const noexcept { return offsets_; }

  /// The bin that holds most rows of column c.
  std::uint8_t common_bin(std::size_t c) const noexcept { return common_[c]; }
  /// Columns in which few rows leave one common bin (text features, mostly zero). A histogram needs only their other
  /// cells.
  struct Sparse {
    std::vector<std::uint32_t> columns;      ///< ascending
    std::vector<std::uint64_t> row_offsets;  ///< rows + 1, into `bins`
    std::vector<std::uint32_t> bins;         ///< histogram index of each uncommon cell, row by row
  };
  /// In a few groups, so that they can be worked on in parallel.
  std::span<const Sparse> sparse() const noexcept { return sparse_; }
  std::span<const std::uint32_t> dense_columns() const noexcept { return dense_columns_; }

 private:
  void find_sparse_columns(Arena* arena);

  std::size_t rows_ = 0;
  std::vector<ColumnBins> columns_;
  std::vector<std::uint32_t> offsets_;
  std::vector<std::uint8_t> codes_;
  std::vector<std::uint8_t> common_;
  std::vector<std::uint32_t> dense_columns_;
  std::vector<Sparse> sparse_;
};

}  // namespace redoubt
