#pragma once
// The best split of a node, from its histogram.
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

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
  SplitSearch(const BinnedMatrix& bins, const HistogramLayout& layout, const GrowerOptions& options);

  void use_scale(const GradientScale& scale) noexcept { scale_ = scale; }
  /// Value of a leaf with these sums below a parent of that value.
  double output(const GradientSum& sum, double parent, double lower, double upper) const noexcept;
  double output(double g, double h, std::int64_t rows, double parent, double lower, double upper) const noexcept;
  /// Rows and hessian are enough.
  bool allowed(const GradientSum& side) const noexcept;
  /// Splits of `small`, whose histogram is there, and of its sibling `large`, whose histogram is still that of their
  /// parent: it is made the sibling's. Either may be null; small's histogram is needed if large is given.
  void find(const SearchedNode* small, Histogram* small_histogram, const SearchedNode* large,
            Histogram* large_histogram, std::span<const std::uint8_t> column_on, Split* small_best,
            Split* large_best) const;

 private:
  /// The bins of one column, for one node.
  struct Bins {
    const std::int64_t* g;
    const std::uint64_t* hn;
    GradientSum operator[](std::uint32_t b) const noexcept { return {g[b], hn[b]}; }
  };
  struct Local;

  bool plain(std::uint32_t column) const noexcept;
  Bins bins_of(std::uint32_t column, const SearchedNode& node, Histogram& histogram, Local& local, bool* skip) const;
  double side_gain(const GradientSum& sum, double l2, double output) const noexcept;
  double node_gain(const SearchedNode& node) const noexcept;
  void consider(Split& best, const SearchedNode& node, const GradientSum& left, double l2, double node_gain, int sign,
                bool& better) const;
  void search_column(std::uint32_t column, const SearchedNode& node, double node_gain, Histogram& histogram,
                     Local& local, Split& best) const;
  void plain_numeric(std::uint32_t column, const SearchedNode& node, double node_gain, Bins bins, Split& best) const;
  void two_bins(std::uint32_t column, const SearchedNode& node, double node_gain, const Histogram& histogram,
                Split& best) const;
  void any_numeric(std::uint32_t column, const SearchedNode& node, double node_gain, Bins bins, Split& best) const;
  void categorical(std::uint32_t column, const SearchedNode& node, double node_gain, Bins bins, Split& best) const;
  void finish(const SearchedNode& node, Histogram& histogram, Local& local, Split& best) const;

  const BinnedMatrix& bins_;
  const HistogramLayout& layout_;
  const GrowerOptions& options_;
  GradientScale scale_;
  bool simple_;                                        // no option that needs the slow search
  std::vector<std::vector<std::uint32_t>> of_stored_;  // columns of each stored column
  std::vector<std::uint32_t> listed_;
};

}  // namespace redoubt::detail
