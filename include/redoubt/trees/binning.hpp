#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "redoubt/core/memory.hpp"
#include "redoubt/core/view.hpp"

namespace redoubt {

struct CsrView;  // redoubt/data/sparse.hpp

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

/// An encoded matrix as bin numbers: what the tree learners work on. Build it once to train many times on the same rows
/// or on subsets of them. Immutable, thread-safe.
///
/// Memory: made from a dense matrix, two bytes per cell, once by rows and once by columns. Made from a sparse one,
/// nothing of size rows x cols: columns with few cells that never meet in a row are bundled into one byte (Ke et al.,
/// "LightGBM", NIPS'17), and the cells of the others are listed, nine bytes each.
class BinnedMatrix {
 public:
  /// `category_counts` as from `Encoder::category_counts()`; empty: all numeric. Error(shape_mismatch) if its length
  /// is not x.cols(), Error(invalid_argument) for max_bins outside its range, Error(unsupported) from 2^31 rows on.
  BinnedMatrix(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
               const BinningOptions& options = {});
  /// The same for a sparse matrix; also Error(invalid_argument) for a view that is not well formed, with the row.
  BinnedMatrix(const CsrView& x, std::span<const std::uint32_t> category_counts, const BinningOptions& options = {});

  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return columns_.size(); }
  const ColumnBins& column(std::size_t c) const noexcept { return columns_[c]; }
  /// Whether it was made from a dense matrix.
  bool dense() const noexcept { return dense_; }
  /// Bins of row r, one per column. Error(unsupported) if the matrix was made from a sparse one.
  const std::uint8_t* row(std::size_t r) const {
    if (!dense_) fail_sparse();
    return codes_.data() + r * stride_;
  }
  /// Bin of one cell. Quick for a dense matrix; a search in the row for a sparse one.
  std::uint8_t code(std::size_t r, std::size_t c) const noexcept {
    return dense_ ? codes_[r * stride_ + c] : find_code(r, c);
  }

  /// The bin that holds most rows of column c; of a sparse matrix, that of 0.
  std::uint8_t common_bin(std::size_t c) const noexcept { return common_[c]; }

  /// How column c is stored for the growers of trees.
  struct Place {
    static constexpr std::uint32_t none = 0xffffffffu;
    std::uint32_t stored = none;  ///< number of the stored column of bytes that holds it; none: its cells are listed
    bool bundled = false;         ///< whether the stored column holds other columns too
    bool any_missing = false;
    /// Bundled: the stored code is 0 in rows where all columns of the bundle have their common bin. Otherwise bin b of
    /// this column is first + b, less 1 if b is above its common bin.
    std::uint16_t first = 0, codes = 0;
    std::uint32_t group = 0, listed = 0;  ///< listed: number of the group, and of the column in it
  };
  const Place& place(std::size_t c) const noexcept { return places_[c]; }
  /// The stored columns of bytes: by rows, `stored_stride` apart, readable up to there; and by columns, of which 3
  /// bytes beyond the last row can be read.
  std::size_t stored_columns() const noexcept { return stored_bins_.size(); }
  std::size_t stored_stride() const noexcept { return bundles_.empty() ? stride_ : bundles_stride_; }
  const std::uint8_t* stored_rows() const noexcept { return bundles_.empty() ? codes_.data() : bundles_.data(); }
  const std::uint8_t* stored_column(std::size_t s) const noexcept { return by_column_.data() + s * column_stride_; }
  /// Codes of a stored column, at most 256.
  std::uint32_t stored_bins(std::size_t s) const noexcept { return stored_bins_[s]; }

  /// Stored columns of few codes share a byte for histograms: fewer additions for each row. The byte is the code of the
  /// first + its radix * (the code of the second + ..), below 256; each stored column is in one pack.
  struct Pack {
    std::vector<std::uint32_t> stored, radices;
  };
  /// Empty if too few bytes would be saved; otherwise byte k of a row, `packed_stride` apart, is of pack k. For a small
  /// saving packs of several columns go into the padding of the stored rows: then byte packed_at()[k] is of pack k.
  std::span<const Pack> packs() const noexcept { return packs_; }
  std::size_t packed_stride() const noexcept { return packed_stride_; }
  const std::uint8_t* packed_rows() const noexcept { return packed_.empty() ? codes_.data() : packed_.data(); }
  std::span<const std::uint8_t> packed_at() const noexcept { return packed_at_; }
  bool packed_in_padding() const noexcept { return !packs_.empty() && packed_.empty(); }

  /// Columns in which few rows leave one common bin (text features, mostly zero), and that found no bundle. A histogram
  /// needs only their other cells.
  struct Sparse {
    std::vector<std::uint32_t> columns;      ///< ascending
    std::vector<std::uint32_t> offsets;      ///< where each column starts in the group's histogram; the end; by eights
    std::vector<std::uint64_t> row_offsets;  ///< rows + 1, into `bins`
    std::vector<std::uint16_t> bins;         ///< histogram index of each uncommon cell, row by row
    std::vector<std::uint64_t> column_offsets;  ///< columns + 1, into the following
    std::vector<std::uint32_t> cell_rows;       ///< of each uncommon cell, column by column, ascending
    std::vector<std::uint8_t> cell_bins;
  };
  /// In groups whose histogram stays in the cache.
  std::span<const Sparse> sparse() const noexcept { return sparse_; }

 private:
  struct Cells;
  void check_options(std::size_t rows, std::size_t cols, std::span<const std::uint32_t> category_counts,
                     const BinningOptions& options) const;
  void store(const Cells& cells, Arena* arena);
  void pack(Arena* arena);
  void list(const Cells& cells, std::span<const std::uint32_t> columns, Arena* arena);
  void transpose(const std::uint8_t* by_column, std::size_t columns, std::size_t stride,
                 detail::PageVector<std::uint8_t>& out, Arena* arena) const;
  std::uint8_t find_code(std::size_t r, std::size_t c) const noexcept;
  [[noreturn]] void fail_sparse() const;

  std::size_t rows_ = 0;
  bool dense_ = true;
  std::vector<ColumnBins> columns_;
  std::vector<std::uint8_t> common_;
  std::vector<Place> places_;
  std::vector<std::uint32_t> stored_bins_;
  std::size_t stride_ = 0, bundles_stride_ = 0, packed_stride_ = 0, column_stride_ = 0;
  detail::PageVector<std::uint8_t> codes_;      // by rows, of a dense matrix
  detail::PageVector<std::uint8_t> bundles_;    // by rows, if what is stored is something else
  detail::PageVector<std::uint8_t> by_column_;  // what is stored
  std::vector<Pack> packs_;
  std::vector<std::uint8_t> packed_at_;
  detail::PageVector<std::uint8_t> packed_;  // by rows, if there are packs
  std::vector<Sparse> sparse_;
};

}  // namespace redoubt
