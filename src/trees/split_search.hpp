#pragma once
// The best split of a node, from its histogram.
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "kernels/grow_table.hpp"
#include "trees/grower.hpp"
#include "trees/histogram.hpp"

namespace redoubt::detail {

/// What one unit of the integer sums is worth.
struct GradientScale {
  double g = 1, h = 1;
  unsigned count_bits = 1;

  double gradient(const GradientSum& s) const noexcept { return static_cast<double>(s.g) * g; }
  double hessian(const GradientSum& s) const noexcept { return static_cast<double>(s.hn >> count_bits) * h; }
  std::int64_t rows(const GradientSum& s) const noexcept {
    return static_cast<std::int64_t>(s.hn & ((std::uint64_t{1} << count_bits) - 1));
  }
};

struct Split {
  double gain = 0;  ///< 0: none
  std::uint32_t column = 0, last_bin = 0;
  bool missing_left = false;
  BinSet left_bins;
  GradientSum left;
};

/// What the search knows of a node.
struct SearchedNode {
  GradientSum total;
  double output = 0;  ///< the value it would have as a leaf
  double lower = -std::numeric_limits<double>::infinity(), upper = std::numeric_limits<double>::infinity();
  std::uint64_t random_stream = 0;
  std::span<const std::uint8_t> columns;  ///< that may split it
};

class SplitSearch {
 public:
  SplitSearch(const BinnedMatrix& bins, const HistogramLayout& layout, const GrowerOptions& options, Team& team);

  /// Of the tree that is grown next.
  void use(const GradientScale& scale, std::span<const std::uint8_t> column_on);
  /// Value of a leaf with these sums below a parent of that value.
  double output(const GradientSum& sum, double parent, double lower, double upper) const noexcept;
  double output(double g, double h, std::int64_t rows, double parent, double lower, double upper) const noexcept;
  /// Rows and hessian are enough.
  bool allowed(const GradientSum& side) const noexcept;
  /// Splits of `small`, whose histogram is there, and of its sibling `large`, whose histogram is made from that of
  /// their parent, and may be the same, if both are compact or neither is. Either may be null; small's histogram is
  /// needed if large is given. With `threads` 1 on the calling thread alone.
  void find(const SearchedNode* small, Histogram* small_histogram, const SearchedNode* large,
            Histogram* large_histogram, const Histogram* parent, std::span<const std::uint8_t> column_on,
            Split* small_best, Split* large_best, std::size_t threads);

 private:
  /// The bins of one column, for one node.
  struct Bins {
    const std::int64_t* g;
    const std::uint64_t* hn;
    const std::uint64_t* sums = nullptr;  // instead of g and hn
    unsigned count_bits = 0;
    GradientSum operator[](std::uint32_t b) const noexcept {
      return sums ? sum_of(sums[b], count_bits) : GradientSum{g[b], hn[b]};
    }
  };
  struct Local;
  /// A node while it is searched.
  struct Searching {
    const SearchedNode& node;
    Histogram& histogram;
    double gain;                      // of the node as a leaf
    kernels::detail::SplitScan scan;  // what is the same for all columns
    bool all_columns;                 // all that are on may split it
    Split best;
  };
  /// A stored column or a listed one: what is next to each other in a histogram.
  struct Unit {
    std::uint32_t start, bins;
    std::uint32_t first, count;  // of its columns, in unit_columns_
    bool each;                   // each of its entries is one column's, or one category of a few
    bool on, all_on;
  };

  Searching searching(const SearchedNode& node, Histogram& histogram, std::span<const std::uint8_t> column_on) const;
  Bins bins_of(std::uint32_t column, const SearchedNode& node, Histogram& histogram, Local& local, bool* skip) const;
  double side_gain(const GradientSum& sum, double l2, double output) const noexcept;
  double node_gain(const SearchedNode& node) const noexcept;
  bool takes(Searching& s, std::uint32_t column, double score) const;
  bool consider(Searching& s, const GradientSum& left, double l2, int sign) const;
  void search_units(std::size_t begin, std::size_t end, Searching& s, Local& local) const;
  void search_unit(const Unit& unit, Searching& s, Local& local) const;
  void search_column(std::uint32_t column, Searching& s, Local& local) const;
  void search_entries(std::uint32_t begin, std::uint32_t end, Searching& s) const;
  void plain_numeric(std::uint32_t column, Searching& s, Bins bins) const;
  void two_bins(std::uint32_t column, Searching& s) const;
  void robust_numeric(std::uint32_t column, Searching& s, Bins bins) const;
  void any_numeric(std::uint32_t column, Searching& s, Bins bins) const;
  void one_category(std::uint32_t column, Searching& s, Bins bins, std::uint32_t end) const;
  void categorical(std::uint32_t column, Searching& s, Bins bins, Local& local) const;
  void finish(Searching& s, Local& local) const;

  const BinnedMatrix& bins_;
  const HistogramLayout& layout_;
  const GrowerOptions& options_;
  Team& team_;
  const kernels::detail::GrowTable& kernels_;
  GradientScale scale_;
  bool simple_;                               // no option that needs the slow search
  std::vector<Unit> units_;                   // ascending
  std::size_t each_ = 0;                      // so many first ones are searched entry by entry
  std::vector<std::uint32_t> entry_columns_;  // of those; no_bin: of none
  std::vector<std::uint32_t> unit_columns_;
  bool all_on_ = false;
};

}  // namespace redoubt::detail
