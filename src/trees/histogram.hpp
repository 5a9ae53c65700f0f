#pragma once
// Sums of gradients per bin of a node. Gradients are integers here: sums are exact, so neither the order of the rows
// nor the number of threads changes them, and a sibling is its parent minus the other child, exactly.
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/grow_table.hpp"
#include "redoubt/trees/binning.hpp"
#include "trees/team.hpp"

namespace redoubt::detail {

/// Sums over some rows. `hn` = (hessian << count_bits) + number of rows.
struct GradientSum {
  std::int64_t g = 0;
  std::uint64_t hn = 0;

  GradientSum& operator+=(const GradientSum& o) noexcept {
    g += o.g;
    hn += o.hn;
    return *this;
  }
  friend GradientSum operator+(GradientSum a, const GradientSum& b) noexcept { return a += b; }
  friend GradientSum operator-(const GradientSum& a, const GradientSum& b) noexcept { return {a.g - b.g, a.hn - b.hn}; }
};

/// One entry per code of the stored columns and per bin of the listed ones, where `HistogramLayout` says. A view into
/// a pool.
struct Histogram {
  std::span<std::int64_t> g;
  std::span<std::uint64_t> hn;
  std::span<std::uint64_t> sums;  ///< instead of both: all in one, as while a block of rows is summed

  bool compact() const noexcept { return !sums.empty(); }
};

struct HistogramLayout {
  explicit HistogramLayout(const BinnedMatrix& bins);

  std::vector<std::uint32_t> stored;  ///< start of each stored column, by eights
  std::vector<std::uint32_t> groups;  ///< start of each group of listed columns
  std::uint32_t size = 0;
  bool plain = true;  ///< all columns are stored, none is bundled

  /// Start of column c: of its bins, or, if it is bundled, of the codes of its bundle.
  std::uint32_t start(const BinnedMatrix& bins, std::size_t c) const noexcept {
    const BinnedMatrix::Place& place = bins.place(c);
    if (place.stored != BinnedMatrix::Place::none) return stored[place.stored];
    return groups[place.group] + bins.sparse()[place.group].offsets[place.listed];
  }
};

/// Memory of histograms. What was two arrays can be two compact histograms later: large nodes come first in a tree.
class HistogramPool {
 public:
  explicit HistogramPool(const HistogramLayout& layout) : length_(layout.size + 8) {}
  HistogramPool(const HistogramPool&) = delete;  // the histograms point into it

  Histogram take(bool compact);
  void give_back(Histogram& histogram);  ///< which then has no memory

 private:
  std::span<std::uint64_t> take_array();

  std::size_t length_;
  std::vector<PageVector<std::uint64_t>> arrays_;
  std::vector<std::span<std::uint64_t>> free_;
};

/// Gradient pairs as exact as 32 bits allow, for small data.
struct WidePairs {
  std::vector<std::int32_t> g;
  std::vector<std::uint32_t> h;
};

/// The rows of a node. `rows` null: first, first + 1, ...
struct NodeRows {
  const std::uint32_t* rows = nullptr;
  const std::uint32_t* pairs = nullptr;  ///< quantised pairs (kernels/grow_table.hpp), or numbers of wide ones
  std::size_t count = 0;
};

class HistogramBuilder {
 public:
  HistogramBuilder(const BinnedMatrix& bins, Team& team);
  HistogramBuilder(const HistogramBuilder&) = delete;  // points into itself

  const HistogramLayout& layout() const noexcept { return layout_; }
  /// Columns with `column_on` 0 may be left undefined from now on.
  void use_columns(std::span<const std::uint8_t> column_on);
  /// Bits for the number of rows, and pairs of the tree; wide null: narrow ones.
  void use_pairs(unsigned count_bits, const WidePairs* wide) noexcept {
    count_bits_ = count_bits;
    wide_ = wide;
  }
  /// Whether the histogram of a node of so many rows is compact.
  bool compact(std::size_t rows) const noexcept;
  /// `out` is compact if `compact(node.count)`. The entries of the common bins of listed columns are left undefined.
  /// With `threads` 1 on the calling thread alone, which others may do at the same time for other nodes; otherwise with
  /// all of the team.
  void build(const NodeRows& node, Histogram& out, std::size_t threads);

 private:
  /// Bytes by rows, of stored columns or of packs of them.
  struct Source {
    const std::uint8_t* rows;
    std::size_t stride, columns;
    bool packed;
    std::size_t width = 8;                // columns of a group, whose bytes are gathered together
    const std::uint8_t* order = nullptr;  // their places in a row, by eights; null: the columns' numbers
    std::vector<std::uint8_t> group_on;   // of these groups
    std::size_t groups() const noexcept { return (columns + width - 1) / width; }
    std::size_t columns_on = 0;  // in groups that are on
    void switch_on(std::size_t column) noexcept;
    void count();
  };
  /// Places that are read soon: codes + rows[i] * step, or without rows codes + i * step.
  struct Near {
    const std::uint8_t* codes = nullptr;
    std::size_t step = 0;
    const std::uint32_t* rows = nullptr;
    std::size_t count = 0;
  };
  static Near next_rows(const Source& source, const NodeRows& node, std::size_t from, std::size_t n, std::size_t tile,
                        std::size_t first_group, std::size_t last_group);
  /// `add`: to what is there.
  void add_stored(const Source& source, const NodeRows& node, std::size_t begin, std::size_t end,
                  std::size_t first_group, std::size_t last_group, bool add, Histogram& out) const;
  void unpack(std::size_t pack, std::uint64_t* bins, bool add, Histogram& out) const;
  void flush(std::uint64_t* bins, std::size_t stored, bool add, Histogram& out) const;
  void add_listed(const NodeRows& node, std::size_t begin, std::size_t end, std::size_t group, bool add,
                  Histogram& out) const;
  void add_wide(const NodeRows& node, Histogram& out) const;

  const BinnedMatrix& bins_;
  HistogramLayout layout_;
  Team& team_;
  unsigned count_bits_ = 0;
  const WidePairs* wide_ = nullptr;
  Source stored_, packed_;
  std::array<std::uint8_t, 32> order_{};  // of packed_, if its bytes are in the padding
  std::size_t unpacked_ = 0;              // what a block's unpacking costs, in packs
  std::vector<std::uint32_t> pack_of_;    // of stored columns
  HistogramPool pool_{layout_};
  std::vector<Histogram> parts_;  // of other threads
};

/// large = parent - small, for entries [start, start + count); large may be the parent itself. A compact parent has
/// compact children.
void subtract(Histogram& large, const Histogram& parent, const Histogram& small, std::size_t start, std::size_t count,
              unsigned count_bits);

/// An entry of a compact histogram.
inline GradientSum sum_of(std::uint64_t sums, unsigned count_bits) noexcept {
  using namespace kernels::detail;
  constexpr std::uint64_t h_mask = (std::uint64_t{1} << (grow_g_at - grow_h_at)) - 1;
  return {static_cast<std::int64_t>(sums) >> grow_g_at,
          ((sums >> grow_h_at & h_mask) << count_bits) + (sums & grow_n_mask)};
}

}  // namespace redoubt::detail
