#include "redoubt/trees/binning.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "core/release.hpp"
#include "kernels/grow.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/data/sparse.hpp"
#include "trees/cells.hpp"

namespace redoubt {
namespace {

constexpr double smallest_bin = 8;  // bins of a cut column are wanted no smaller than the mean size by this
constexpr std::size_t columns_per_task = 16;
constexpr std::size_t rows_per_block = 4096;
constexpr std::size_t radix_from = 4096;  // fewer values are sorted by comparing

/// A float t with low <= t < high, half way where floats are dense enough.
float cut_between(float low, float high) {
  const auto middle = static_cast<float>((static_cast<double>(low) + static_cast<double>(high)) / 2);
  return middle >= low && middle < high ? middle : low;  // false also for NaN, the middle of the infinities
}

/// The distinct values of a column, ascending, and how often each is there.
struct Distinct {
  std::vector<float> values;
  std::vector<std::uint32_t> counts;
  std::size_t total = 0;

  /// For at most so many values.
  void start(std::size_t most) {
    values.clear();
    counts.clear();
    values.reserve(most);
    counts.reserve(most);
    total = 0;
  }
  void add(float v, std::size_t count) {
    if (values.empty() || v != values.back()) {
      values.push_back(v);
      counts.push_back(0);
    }
    counts.back() += static_cast<std::uint32_t>(count);
    total += count;
  }
};

/// Sorts numbers without NaN: three passes of 11 bits over keys in the order of the floats, to and fro.
void sort_floats(std::vector<float>& values, std::vector<std::uint32_t>& scratch) {
  const std::size_t n = values.size();
  if (n < radix_from) {
    std::sort(values.begin(), values.end());
    return;
  }
  const auto key_of = [](float v) {
    const auto bits = std::bit_cast<std::uint32_t>(v);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
  };
  std::array<std::array<std::uint32_t, 2048>, 3> starts{};
  for (const float v : values) {
    const std::uint32_t key = key_of(v);
    ++starts[0][key & 2047];
    ++starts[1][key >> 11 & 2047];
    ++starts[2][key >> 22];
  }
  for (auto& of_pass : starts) {
    std::uint32_t sum = 0;
    for (auto& start : of_pass) sum += std::exchange(start, sum);
  }
  scratch.resize(n);
  for (const float v : values) scratch[starts[0][key_of(v) & 2047]++] = key_of(v);
  for (const auto key : scratch) values[starts[1][key >> 11 & 2047]++] = std::bit_cast<float>(key);
  for (const float v : values) {
    const auto key = std::bit_cast<std::uint32_t>(v);
    scratch[starts[2][key >> 22]++] = key;
  }
  for (std::size_t i = 0; i < n; ++i)
    values[i] = std::bit_cast<float>(scratch[i] >> 31 ? scratch[i] & 0x7fffffffu : ~scratch[i]);
}

/// Cut points. Few distinct values: between all of them. Otherwise bins of about equal size, in which frequent values
/// have a bin of their own; numbers below zero share none with others.
std::vector<float> find_cuts(const Distinct& column, std::size_t max_bins) {
  const auto& distinct = column.values;
  const auto& counts = column.counts;
  std::vector<float> upper;
  const std::size_t n = distinct.size();
  if (n <= max_bins) {
    for (std::size_t i = 0; i + 1 < n; ++i) upper.push_back(cut_between(distinct[i], distinct[i + 1]));
  } else {
    const std::size_t mean = column.total / max_bins + 1;
    std::size_t rest_rows = column.total, rest_bins = max_bins;
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
      const bool signs = distinct[i] < 0 && distinct[i + 1] >= 0;
      if (!frequent && !signs && filled < wanted && !(next_frequent && filled >= wanted / 2)) continue;
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

/// `count_codes(counts)` is called only if there are more codes than bins.
template <class Count>
ColumnBins bin_categories(std::uint32_t categories, std::size_t max_bins, Count count_codes) {
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
  count_codes(counts);
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

namespace {

std::vector<std::uint32_t> sample_rows(std::size_t rows, const BinningOptions& options) {
  std::vector<std::uint32_t> sample(std::min(rows, options.sample_rows));
  if (sample.size() == rows) {
    std::iota(sample.begin(), sample.end(), 0u);
  } else {
    Random random(options.seed, 0x62696e73);
    std::size_t taken = 0;  // sorted, so that sampled columns are read in order
    for (std::size_t r = 0; r < rows && taken < sample.size(); ++r)
      if (random.below(rows - r) < sample.size() - taken) sample[taken++] = static_cast<std::uint32_t>(r);
  }
  return sample;
}

/// Cuts as the kernel reads them.
std::array<float, 256> padded(const ColumnBins& bins) {
  std::array<float, 256> cuts;
  cuts.fill(std::numeric_limits<float>::infinity());
  std::copy(bins.upper.begin(), bins.upper.end(), cuts.begin());
  return cuts;
}

}  // namespace

void BinnedMatrix::check_options(std::size_t rows, std::size_t cols, std::span<const std::uint32_t> category_counts,
                                 const BinningOptions& options) const {
  if (!category_counts.empty() && category_counts.size() != cols)
    detail::fail(errc::shape_mismatch, fmt::format("binning: {} category counts for a matrix of {} x {}",
                                                   category_counts.size(), rows, cols));
  if (options.max_bins < 2 || options.max_bins > 255)
    detail::fail(errc::invalid_argument, fmt::format("max_bins is {}, must be 2 .. 255", options.max_bins));
  if (options.sample_rows == 0) detail::fail(errc::invalid_argument, "sample_rows is 0, must be at least 1");
  if (rows > std::numeric_limits<std::int32_t>::max())
    detail::fail(errc::unsupported, fmt::format("binning: {} rows, at most 2147483647 are supported", rows));
}

BinnedMatrix::BinnedMatrix(MatrixView<const float> x, std::span<const std::uint32_t> category_counts,
                           const BinningOptions& options)
    : rows_(x.rows()), columns_(x.cols()) {
  check_options(x.rows(), x.cols(), category_counts, options);
  const std::vector<std::uint32_t> sample = sample_rows(rows_, options);
  const auto max_bins = static_cast<std::size_t>(options.max_bins);
  const auto categories = [&](std::size_t c) { return category_counts.empty() ? 0 : category_counts[c]; };
  parallel_for(
      cols(), std::min(columns_per_task, std::max<std::size_t>(cols() / 8, 1)),
      [&](std::size_t begin, std::size_t end) {
        std::vector<std::vector<float>> values(end - begin);
        std::vector<std::uint32_t> scratch;
        Distinct distinct;
        for (auto& v : values) v.reserve(sample.size());
        for (const auto r : sample)
          for (std::size_t c = begin; c < end; ++c)
            if (const float v = x(r, c); v == v) values[c - begin].push_back(v);
        for (std::size_t c = begin; c < end; ++c) {
          if (categories(c) > 0) {
            columns_[c] = bin_categories(categories(c), max_bins, [&](std::vector<std::size_t>& counts) {
              for (std::size_t r = 0; r < rows_; ++r)
                if (const auto code = code_of(x(r, c), categories(c)); code >= 0) ++counts[code];
            });
            continue;
          }
          sort_floats(values[c - begin], scratch);
          distinct.start(values[c - begin].size());
          for (const float v : values[c - begin]) distinct.add(v, 1);
          columns_[c].upper = find_cuts(distinct, max_bins);
          columns_[c].count = static_cast<std::uint32_t>(columns_[c].upper.size());
        }
      },
      options.arena);

  column_stride_ = (rows_ + 3 + 63) / 64 * 64;
  detail::PageVector<std::uint8_t> by_column(cols() * column_stride_);
  std::vector<std::array<float, 256>> cuts(cols());
  for (std::size_t c = 0; c < cols(); ++c) cuts[c] = padded(columns_[c]);
  const auto& kernels = kernels::detail::grow_table();
  parallel_for(
      rows_, rows_per_block,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t c = 0; c < cols(); ++c) {
          std::uint8_t* out = by_column.data() + c * column_stride_;
          if (categories(c) > 0) {
            for (std::size_t r = begin; r < end; ++r) out[r] = columns_[c](x(r, c));
          } else {
            kernels.assign(x.data() + begin * x.stride() + c, x.stride(), end - begin, cuts[c].data(),
                           columns_[c].count, out + begin);
          }
        }
      },
      options.arena);
  Cells cells;
  cells.by_column = by_column.data();
  cells.stride = column_stride_;
  cells.uncommon.resize(cols());
  common_.resize(cols());
  places_.resize(cols());
  parallel_for(
      cols(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t c = begin; c < end; ++c) {
          std::uint8_t* codes = by_column.data() + c * column_stride_;
          std::fill(codes + rows_, codes + column_stride_, std::uint8_t{0});
          std::array<std::array<std::uint32_t, 256>, 4> counts{};  // several, as one bin may have most rows
          for (std::size_t r = 0; r < rows_; ++r) ++counts[r % 4][codes[r]];
          for (std::size_t b = 0; b < 256; ++b) counts[0][b] += counts[1][b] + counts[2][b] + counts[3][b];
          const auto most = std::max_element(counts[0].begin(), counts[0].end());
          cells.uncommon[c] = rows_ - *most;
          common_[c] = static_cast<std::uint8_t>(most - counts[0].begin());
          places_[c].any_missing = counts[0][columns_[c].missing()] > 0;
        }
      },
      options.arena);
  stride_ = row_stride(cols());
  transpose(by_column.data(), cols(), stride_, codes_, options.arena);
  store(cells, options.arena);
  if (bundles_.empty()) by_column_ = std::move(by_column);
  pack(options.arena);
}

BinnedMatrix::BinnedMatrix(const CsrView& x, std::span<const std::uint32_t> category_counts,
                           const BinningOptions& options)
    : rows_(x.rows()), dense_(false), columns_(x.cols) {
  check_options(x.rows(), x.cols, category_counts, options);
  const auto bad = [](std::size_t r, const std::string& what) {
    detail::fail(errc::invalid_argument, fmt::format("sparse matrix: row {} {}", r, what));
  };
  if (x.columns.size() != x.values.size())
    detail::fail(errc::shape_mismatch,
                 fmt::format("sparse matrix: {} column numbers for {} values", x.columns.size(), x.values.size()));
  if (rows_ > 0 ? x.row_offsets[0] != 0 || x.row_offsets[rows_] != x.values.size() : !x.values.empty())
    detail::fail(errc::invalid_argument,
                 fmt::format("sparse matrix: row offsets do not span the {} values", x.values.size()));
  // By columns.
  Cells cells;
  cells.offsets.assign(cols() + 1, 0);
  {
    std::vector<std::uint32_t> last_row(cols(), 0);
    for (std::size_t r = 0; r < rows_; ++r) {
      if (x.row_offsets[r] > x.row_offsets[r + 1]) bad(r, "ends before it starts");
      if (x.row_offsets[r + 1] > x.values.size()) bad(r, "ends beyond the values");
      for (auto i = x.row_offsets[r]; i < x.row_offsets[r + 1]; ++i) {
        const auto c = x.columns[i];
        if (c >= cols()) bad(r, fmt::format("has a value in column {}, there are {} columns", c, cols()));
        if (last_row[c] == r + 1) bad(r, fmt::format("has column {} twice", c));
        last_row[c] = static_cast<std::uint32_t>(r + 1);
        ++cells.offsets[c + 1];
      }
    }
  }
  for (std::size_t c = 0; c < cols(); ++c) cells.offsets[c + 1] += cells.offsets[c];
  cells.rows.resize(x.values.size());
  cells.bins.resize(x.values.size());
  std::vector<float> values(x.values.size());
  {
    std::vector<std::uint64_t> next(cells.offsets.begin(), cells.offsets.end() - 1);
    for (std::size_t r = 0; r < rows_; ++r)
      for (auto i = x.row_offsets[r]; i < x.row_offsets[r + 1]; ++i) {
        const auto at = next[x.columns[i]]++;
        cells.rows[at] = static_cast<std::uint32_t>(r);
        values[at] = x.values[i];
      }
  }
  cells.uncommon.resize(cols());
  common_.resize(cols());
  places_.resize(cols());
  const auto max_bins = static_cast<std::size_t>(options.max_bins);
  const auto& kernels = kernels::detail::grow_table();
  parallel_for(
      cols(), columns_per_task,
      [&](std::size_t begin, std::size_t end) {
        std::vector<float> sorted;
        std::vector<std::uint32_t> scratch;
        Distinct distinct;
        for (std::size_t c = begin; c < end; ++c) {
          const auto first = cells.offsets[c], past = cells.offsets[c + 1];
          const std::uint32_t categories = category_counts.empty() ? 0 : category_counts[c];
          ColumnBins& bins = columns_[c];
          if (categories > 0) {
            bins = bin_categories(categories, max_bins, [&](std::vector<std::size_t>& counts) {
              counts[0] += rows_ - (past - first);
              for (auto i = first; i < past; ++i)
                if (const auto code = code_of(values[i], categories); code >= 0) ++counts[code];
            });
            for (auto i = first; i < past; ++i) cells.bins[i] = bins(values[i]);
          } else {
            // Of a long column every k-th value, and as many zeros less.
            const std::uint64_t step = (past - first) / options.sample_rows + 1;
            sorted.clear();
            for (auto i = first; i < past; i += step)
              if (values[i] == values[i]) sorted.push_back(values[i]);
            sort_floats(sorted, scratch);
            distinct.start(sorted.size() + 1);
            const std::size_t zeros = (rows_ - (past - first)) / step;
            std::size_t i = 0;
            for (; i < sorted.size() && sorted[i] < 0; ++i) distinct.add(sorted[i], 1);
            if (zeros > 0) distinct.add(0, zeros);
            for (; i < sorted.size(); ++i) distinct.add(sorted[i], 1);
            bins.upper = find_cuts(distinct, max_bins);
            bins.count = static_cast<std::uint32_t>(bins.upper.size());
            const auto cuts = padded(bins);
            kernels.assign(values.data() + first, 1, past - first, cuts.data(), bins.count, cells.bins.data() + first);
          }
          common_[c] = bins(0.0f);
          for (auto i = first; i < past; ++i) {
            cells.uncommon[c] += cells.bins[i] != common_[c];
            places_[c].any_missing = places_[c].any_missing || cells.bins[i] == bins.missing();
          }
          if (common_[c] == bins.missing()) places_[c].any_missing = true;
        }
      },
      options.arena);
  detail::release(values);
  store(cells, options.arena);
  pack(options.arena);
}

}  // namespace redoubt
