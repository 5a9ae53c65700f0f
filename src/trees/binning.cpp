#include "redoubt/trees/binning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"

namespace redoubt {
namespace {

constexpr double sparse_share = 0.8;  // of the rows in one bin: then a list of the others is shorter than the column
constexpr double smallest_bin = 8;    // bins of a cut column are wanted no smaller than the mean size by this
constexpr std::size_t columns_per_block = 16;
constexpr std::size_t rows_per_block = 4096;

/// A float t with low <= t < high, half way where floats are dense enough.
float cut_between(float low, float high) {
  const auto middle = static_cast<float>((static_cast<double>(low) + static_cast<double>(high)) / 2);
  return middle >= low && middle < high ? middle : low;  // false also for NaN, the middle of the infinities
}

/// Cut points of `values` (sorted, no NaN). Few distinct values: between all of them. Otherwise bins of about equal
/// size, in which frequent values have a bin of their own.
std::vector<float> find_cuts(std::span<const float> values, std::size_t max_bins) {
  std::vector<float> distinct;
  std::vector<std::size_t> counts;
  for (const float v : values) {
    if (distinct.empty() || v != distinct.back()) {
      distinct.push_back(v);
      counts.push_back(0);
    }
    ++counts.back();
  }
  std::vector<float> upper;
  const std::size_t n = distinct.size();
  if (n <= max_bins) {
    for (std::size_t i = 0; i + 1 < n; ++i) upper.push_back(cut_between(distinct[i], distinct[i + 1]));
  } else {
    const std::size_t mean = values.size() / max_bins + 1;
    std::size_t rest_rows = values.size(), rest_bins = max_bins;
    for (const std::size_t count : counts) {
      if (count < mean) continue;
      rest_rows -= count;
      --rest_bins;
    }
    std::size_t in_bin = 0;
    for (std::size_t i = 0; i + 1 < n && upper.size() + 1 < max_bins; ++i) {
      // What the values without a bin of their own still have to share.
      // But not crumbs: where one value takes most rows, far fewer bins do for the others.
      const double wanted =
          std::max(static_cast<double>(rest_rows) / static_cast<double>(std::max<std::size_t>(rest_bins, 1)),
                   static_cast<double>(mean) / smallest_bin);
      const bool frequent = counts[i] >= mean, next_frequent = counts[i + 1] >= mean;
      in_bin += counts[i];
      const auto filled = static_cast<double>(in_bin);
      if (!frequent && filled < wanted && !(next_frequent && filled >= wanted / 2)) continue;
      upper.push_back(cut_between(distinct[i], distinct[i + 1]));
      if (!frequent) {
        rest_rows -= in_bin;
        rest_bins -= rest_bins > 0;
      }
      in_bin = 0;
    }
  }
  upper.push_back(std::numeric_limits<float>::infinity());
  return upper;
}

/// Category code of an encoded cell, or -1: the same rule as the forest's.
std::int64_t code_of(float x, std::uint32_t categories) {
  return x > -1 && static_cast<double>(x) < categories ? static_cast<std::int64_t>(x) : -1;
}

ColumnBins bin_categories(MatrixView<const float> x, std::size_t column, std::uint32_t categories,
                          std::size_t max_bins) {
  ColumnBins bins;
  bins.categories = categories;
  bins.bin_of_code.resize(categories);
  if (categories <= max_bins) {
    std::iota(bins.bin_of_code.begin(), bins.bin_of_code.end(), std::uint8_t{0});
    bins.count = categories;
    return bins;
  }
  // The most frequent codes get a bin each; equal counts: the lower code first.
  std::vector<std::size_t> counts(categories);
  for (std::size_t r = 0; r < x.rows(); ++r)
    if (const auto code = code_of(x(r, column), categories); code >= 0) ++counts[code];
  std::vector<std::uint32_t> by_count(categories);
  std::iota(by_count.begin(), by_count.end(), 0u);
  std::stable_sort(by_count.begin(), by_count.end(), [&](auto a, auto b) { return counts[a] > counts[b]; });
  bins.count = static_cast<std::uint32_t>(max_bins);
  std::fill(bins.bin_of_code.begin(), bins.bin_of_code.end(), bins.missing());
  for (std::uint32_t b = 0; b < bins.count; ++b) bins.bin_of_code[by_count[b]] = static_cast<std::uint8_t>(b);
  return bins;
}

}  // namespace

std::uint8_t ColumnBins::operator()(float x) const noexcept {
  if (categories > 0) {
    const auto code = code_of(x, categories);
    return code < 0 ? missing() : bin_of_code[code];
  }
  if (x != x) return missing();
  // Number of cut points below x, without unpredictable branches.
  const float* base = upper.data();
  for (std::size_t length = upper.size(); length > 1;) {
    const std::size_t half = length / 2;
    base += base[half - 1] < x ? half : 0;
    length -= half;
  }
  return static_cast<std::uint8_t>(base - upper.data());
}

BinnedMatrix::BinnedMatrix(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
                           const BinningOptions& options)
    : rows_(x.rows()), columns_(x.cols()) {
  if (!category_counts.empty() && category_counts.size() != x.cols())
    detail::fail(errc::shape_mismatch, fmt::format("binning: {} category counts for a matrix of {} x {}",
                                                   category_counts.size(), x.rows(), x.cols()));
  if (options.max_bins < 2 || options.max_bins > 255)
    detail::fail(errc::invalid_argument, fmt::format("max_bins is {}, must be 2 .. 255", options.max_bins));
  if (options.sample_rows == 0) detail::fail(errc::invalid_argument, "sample_rows is 0, must be at least 1");
  if (x.rows() > std::numeric_limits<std::uint32_t>::max())
    detail::fail(errc::unsupported, fmt::format("binning: {} rows, at most 4294967295 are supported", x.rows()));

  // Sorted, so that sampled columns are read in order.
  std::vector<std::uint32_t> sample(std::min(rows_, options.sample_rows));
  if (sample.size() == rows_) {
    std::iota(sample.begin(), sample.end(), 0u);
  } else {
    Random random(options.seed, 0x62696e73);
    std::size_t taken = 0;
    for (std::size_t r = 0; r < rows_ && taken < sample.size(); ++r)
      if (random.below(rows_ - r) < sample.size() - taken) sample[taken++] = static_cast<std::uint32_t>(r);
  }
  parallel_for(
      cols(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t c = begin; c < end; ++c) {
          const std::uint32_t categories = category_counts.empty() ? 0 : category_counts[c];
          if (categories > 0) {
            columns_[c] = bin_categories(x, c, categories, static_cast<std::size_t>(options.max_bins));
            continue;
          }
          std::vector<float> values;
          values.reserve(sample.size());
          for (const auto r : sample)
            if (const float v = x(r, c); v == v) values.push_back(v);
          std::sort(values.begin(), values.end());
          columns_[c].upper = find_cuts(values, static_cast<std::size_t>(options.max_bins));
          columns_[c].count = static_cast<std::uint32_t>(columns_[c].upper.size());
        }
      },
      options.arena);

  offsets_.assign(cols() + 1, 0);
  for (std::size_t c = 0; c < cols(); ++c) offsets_[c + 1] = offsets_[c] + columns_[c].count + 1;
  codes_.resize(rows_ * cols());
  parallel_for(
      rows_, rows_per_block,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t c = 0; c < cols(); ++c)
          for (std::size_t r = begin; r < end; ++r) codes_[r * cols() + c] = columns_[c](x(r, c));
      },
      options.arena);
  find_sparse_columns(options.arena);
}

void BinnedMatrix::find_sparse_columns(Arena* arena) {
  std::vector<std::uint8_t> is_sparse(cols());
  std::vector<std::size_t> uncommon(cols());
  common_.resize(cols());
  parallel_for(
      cols(), columns_per_block,
      [&](std::size_t begin, std::size_t end) {
        std::vector<std::size_t> counts((end - begin) * 256);
        for (std::size_t r = 0; r < rows_; ++r)
          for (std::size_t c = begin; c < end; ++c) ++counts[(c - begin) * 256 + row(r)[c]];
        for (std::size_t c = begin; c < end; ++c) {
          const auto first = counts.begin() + static_cast<std::ptrdiff_t>((c - begin) * 256);
          const auto most = std::max_element(first, first + 256);
          uncommon[c] = rows_ - *most;
          common_[c] = static_cast<std::uint8_t>(most - first);
          is_sparse[c] = rows_ > 0 && static_cast<double>(*most) >= sparse_share * static_cast<double>(rows_);
        }
      },
      arena);

  std::size_t cells = 0;
  for (std::size_t c = 0; c < cols(); ++c) {
    if (!is_sparse[c])
      dense_columns_.push_back(static_cast<std::uint32_t>(c));
    else
      cells += uncommon[c];
  }
  if (dense_columns_.size() == cols()) return;
  // Up to 8 groups of about equal numbers of cells.
  const std::size_t per_group = std::max<std::size_t>(cells / 8 + 1, rows_);
  std::size_t in_group = per_group;
  for (std::size_t c = 0; c < cols(); ++c) {
    if (!is_sparse[c]) continue;
    if (in_group >= per_group) {
      sparse_.emplace_back();
      in_group = 0;
    }
    sparse_.back().columns.push_back(static_cast<std::uint32_t>(c));
    in_group += uncommon[c];
  }
  parallel_for(
      sparse_.size(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t g = begin; g < end; ++g) {
          Sparse& group = sparse_[g];
          group.row_offsets.reserve(rows_ + 1);
          group.row_offsets.push_back(0);
          for (std::size_t r = 0; r < rows_; ++r) {
            const std::uint8_t* codes = row(r);
            for (std::size_t i = 0; i < group.columns.size(); ++i)
              if (const auto c = group.columns[i]; codes[c] != common_[c]) group.bins.push_back(offsets_[c] + codes[c]);
            group.row_offsets.push_back(group.bins.size());
          }
        }
      },
      arena);
}

}  // namespace redoubt
