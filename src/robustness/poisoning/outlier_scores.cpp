#include "redoubt/robustness/poisoning/outlier_scores.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/neighbors/nearest_neighbors.hpp"
#include "robustness/complete.hpp"
#include "robustness/radix.hpp"

namespace redoubt {
namespace {

constexpr std::size_t columns_at_once = 16;  // one cache line of a row
constexpr std::size_t rows_turned = 16;      // and of a column
constexpr std::size_t rows_at_once = 4096;

bool all_finite(std::span<const float> row) {
  int bad = 0;  // looked at in the end only, or it is not vectorised
  for (const float v : row) bad |= !(std::abs(v) <= std::numeric_limits<float>::max());
  return bad == 0;
}

/// Smallest and largest value of each column.
struct ColumnRanges {
  std::vector<float> low, high;

  void include(const float* row) {
    float *lo = low.data(), *hi = high.data();
    const std::size_t cols = low.size();
#pragma GCC ivdep
    for (std::size_t c = 0; c < cols; ++c) {
      const float v = row[c], l = lo[c], h = hi[c];
      lo[c] = v < l ? v : l;
      hi[c] = v > h ? v : h;
    }
  }
};

/// Error(invalid_argument) where a value is NaN or infinite; there is a row.
ColumnRanges finite_ranges(MatrixView<const float> x, Arena* arena, const char* who) {
  const ColumnRanges first{{x.row(0).begin(), x.row(0).end()}, {x.row(0).begin(), x.row(0).end()}};
  std::vector<ColumnRanges> found((x.rows() + rows_at_once - 1) / rows_at_once, first);
  std::vector<std::uint8_t> finite(found.size(), 1);
  parallel_for(
      x.rows(), rows_at_once,
      [&](std::size_t begin, std::size_t end) {
        const std::size_t block = begin / rows_at_once;
        for (std::size_t r = begin; r < end; ++r) {
          finite[block] &= all_finite(x.row(r));
          found[block].include(x.row(r).data());
        }
      },
      arena);
  if (std::find(finite.begin(), finite.end(), 0) != finite.end()) detail::require_finite(x, who);
  for (const ColumnRanges& other : found) {
    found[0].include(other.low.data());
    found[0].include(other.high.data());
  }
  return found[0];
}

/// Sum of term(x) in lanes, none of which waits for another.
template <class Term>
double sum_of(const float* x, std::size_t n, Term term) {
  constexpr std::size_t lanes = 8;
  double sums[lanes] = {};
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes)
    for (std::size_t k = 0; k < lanes; ++k) sums[k] += term(static_cast<double>(x[i + k]));
  for (; i < n; ++i) sums[0] += term(static_cast<double>(x[i]));
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

Neighbors others(MatrixView<const float> x, std::size_t k, Arena* arena, const char* who) {
  if (k < 1 || k >= x.rows())
    detail::fail(errc::invalid_argument, fmt::format("{}: k is {}; it must be in [1, {}], as there are {} rows", who, k,
                                                     x.rows() - 1, x.rows()));
  return NearestNeighbors(x, {.arena = arena}).find_others(k);
}

}  // namespace

void detail::require_finite(MatrixView<const float> x, const char* who) {
  for (std::size_t r = 0; r < x.rows(); ++r)
    for (std::size_t c = 0; !all_finite(x.row(r)) && c < x.cols(); ++c)
      if (!std::isfinite(x(r, c)))
        fail(errc::invalid_argument,
             fmt::format("{}: row {} has {} in column {}; fill in or drop missing values first", who, r, x(r, c), c));
}

std::vector<double> ecod_scores(MatrixView<const float> x, Arena* arena) {
  const std::size_t n = x.rows(), cols = x.cols(), groups = (cols + columns_at_once - 1) / columns_at_once;
  const double rows = static_cast<double>(n);
  std::vector<double> tail(n + 1, 0);  // -log(i / n), which falls
  for (std::size_t i = 1; i <= n; ++i) tail[i] = -std::log(static_cast<double>(i) / rows);

  // A sum per group of columns, added up in their order. A thread has its memory once.
  std::vector<std::vector<double>> sums(groups);
  const auto threads = static_cast<std::size_t>((arena ? *arena : Arena::default_arena()).threads());
  parallel_for(
      groups, (groups + threads - 1) / threads,
      [&](std::size_t first, std::size_t last) {
        std::vector<float> columns(columns_at_once * n);
        detail::FloatOrder order;
        for (std::size_t g = first; g < last; ++g) {
          const std::size_t begin = g * columns_at_once, count = std::min(columns_at_once, cols - begin);
          for (std::size_t r = 0; r < n; r += rows_turned)  // whole lines of a column at a time
            for (std::size_t c = 0, end = std::min(n, r + rows_turned); c < count; ++c)
              for (std::size_t i = r; i < end; ++i) columns[c * n + i] = x(i, begin + c);
          std::vector<double>& sum = sums[g];
          sum.assign(n, 0);
          for (std::size_t c = 0; c < count; ++c) {
            const float* column = columns.data() + c * n;
            const double mean = sum_of(column, n, [](double v) { return v; }) / rows;
            if (!std::isfinite(mean)) detail::require_finite(x, "ecod_scores");
            const double skew = sum_of(column, n, [mean](double v) { return (v - mean) * (v - mean) * (v - mean); });
            const bool symmetric = !(skew > 0) && !(skew < 0);
            order.sort(n, [&](std::size_t r) { return column[r]; });
            if (n == 0 || order.key(0) == order.key(n - 1)) continue;  // constant: says nothing
            for (std::size_t from = 0, to = 0; from < n; from = to) {
              const std::uint32_t key = order.key(from);
              for (to = from + 1; to < n && order.key(to) == key;) ++to;
              // The largest of both tails and the one on the longer side, or both together if no side is longer.
              const double score = symmetric ? tail[to] + tail[n - from] : tail[std::min(to, n - from)];
              std::size_t i = from;  // a loop that ends before it begins would cost as much as the sum
              do sum[order.position(i)] += score;
              while (++i < to);
            }
          }
        }
      },
      arena);
  std::vector<double> scores(n, 0);
  for (const auto& sum : sums)
    for (std::size_t r = 0; r < n; ++r) scores[r] += sum[r];
  return scores;
}

std::vector<double> hbos_scores(MatrixView<const float> x, const HbosOptions& options) {
  if (options.bins < 2 || options.bins > 256)
    detail::fail(errc::invalid_argument, fmt::format("HbosOptions::bins is {}; it must be in [2, 256]", options.bins));
  if (!(options.alpha > 0 && options.alpha <= 1))
    detail::fail(errc::invalid_argument, fmt::format("HbosOptions::alpha is {}; it must be in (0, 1]", options.alpha));
  const std::size_t n = x.rows(), cols = x.cols(), bins = static_cast<std::size_t>(options.bins);
  std::vector<double> scores(n, 0);
  if (n == 0 || cols == 0) return scores;

  const ColumnRanges ranges = finite_ranges(x, options.arena, "hbos_scores");
  const std::vector<float>&low = ranges.low, &high = ranges.high;
  // Bins are closed at their lower edge when rows are counted, and at their upper edge when they are looked up, as the
  // authors' and the usual histogram functions together have it; it matters for whole numbers.
  std::vector<float> edges((bins + 1) * cols), scale(cols), doubt(cols);
  for (std::size_t c = 0; c < cols; ++c) {
    const double width = (static_cast<double>(high[c]) - low[c]) / static_cast<double>(bins);
    scale[c] = width > 0 ? static_cast<float>(std::min(1 / width, 1e38)) : 0;
    // Rounding of the quotient, and of the edges, which are as far from zero as the values.
    doubt[c] = static_cast<float>(static_cast<double>(bins) * 4e-7 +
                                  std::max(std::abs(low[c]), std::abs(high[c])) * (scale[c] * 2.4e-7));
    for (std::size_t b = 0; b <= bins; ++b)
      edges[c * (bins + 1) + b] = b == bins ? high[c] : static_cast<float>(low[c] + static_cast<double>(b) * width);
  }
  const float top = static_cast<float>(bins - 1);
  const std::size_t blocks = (n + rows_at_once - 1) / rows_at_once;
  std::vector<std::uint8_t> codes(n * cols);
  std::vector<std::vector<std::uint32_t>> counts(blocks);
  parallel_for(
      blocks, 1,
      [&](std::size_t first, std::size_t last) {
        std::vector<int> bin_of(cols), edgy_of(cols);
        int *const bin = bin_of.data(), *const edgy = edgy_of.data();
        for (std::size_t block = first; block < last; ++block) {
          counts[block].assign(bins * cols, 0);
          std::uint32_t* const count = counts[block].data();
          for (std::size_t r = block * rows_at_once; r < std::min(n, (block + 1) * rows_at_once); ++r) {
            const float* row = x.row(r).data();
            std::uint8_t* code = codes.data() + r * cols;
            // The quotient decides, but near an edge, which is rare: there the edge does. Apart, as the first
            // vectorises.
            int near = 0;
            for (std::size_t c = 0; c < cols; ++c) {
              const float position = std::min((row[c] - low[c]) * scale[c], top);
              const int b = static_cast<int>(position);
              const float within = position - static_cast<float>(b);
              bin[c] = b;
              const int close = (within < doubt[c]) | (within > 1 - doubt[c]);
              edgy[c] = close;
              near |= close;
            }
            for (std::size_t c = 0; c < cols; ++c) ++count[c * bins + static_cast<std::size_t>(bin[c])];
            for (std::size_t c = 0; c < cols; ++c) code[c] = static_cast<std::uint8_t>(bin[c]);
            for (std::size_t c = 0; near != 0 && c < cols; ++c) {
              if (!edgy[c]) continue;
              const float v = row[c], *edge = edges.data() + c * (bins + 1);
              auto b = static_cast<std::size_t>(bin[c]);
              --count[c * bins + b];
              b -= b > 0 && v < edge[b];
              b += b + 1 < bins && v >= edge[b + 1];
              ++count[c * bins + b];
              code[c] = static_cast<std::uint8_t>(b - (b > 0 && v == edge[b]));
            }
          }
        }
      },
      options.arena);
  std::vector<double> value(bins * cols, 0);
  for (std::size_t c = 0; c < cols; ++c) {
    const double width = (static_cast<double>(high[c]) - low[c]) / static_cast<double>(bins);
    if (!(width > 0)) continue;  // constant: says nothing
    for (std::size_t b = 0; b < bins; ++b) {
      std::uint64_t total = 0;
      for (const auto& count : counts) total += count[c * bins + b];
      value[c * bins + b] = -std::log2(static_cast<double>(total) / (static_cast<double>(n) * width) + options.alpha);
    }
  }
  parallel_for(
      n, rows_at_once,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t r = begin; r < end; ++r) {
          const std::uint8_t* code = codes.data() + r * cols;
          double sums[4] = {0, 0, 0, 0};  // additions need not wait for each other
          for (std::size_t c = 0; c < cols; ++c) sums[c % 4] += value[c * bins + code[c]];
          scores[r] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
        }
      },
      options.arena);
  return scores;
}

std::vector<double> knn_scores(MatrixView<const float> x, std::size_t k, Arena* arena) {
  if (x.rows() == 0) return {};
  const Neighbors found = others(x, k, arena, "knn_scores");
  std::vector<double> scores(x.rows());
  for (std::size_t r = 0; r < scores.size(); ++r) scores[r] = found.distances(r, k - 1);
  return scores;
}

std::vector<double> lof_scores(MatrixView<const float> x, std::size_t k, Arena* arena) {
  if (x.rows() == 0) return {};
  const Neighbors found = others(x, k, arena, "lof_scores");
  const std::size_t n = x.rows();
  const double count = static_cast<double>(k);
  std::vector<double> density(n), scores(n);
  for (std::size_t r = 0; r < n; ++r) {
    double reach = 0;
    for (std::size_t i = 0; i < k; ++i)
      reach += std::max(found.distances(r, i), found.distances(found.rows(r, i), k - 1));
    density[r] = 1 / (reach / count + 1e-10);  // finite among more than k copies
  }
  for (std::size_t r = 0; r < n; ++r) {
    double sum = 0;
    for (std::size_t i = 0; i < k; ++i) sum += density[found.rows(r, i)];
    scores[r] = sum / count / density[r];
  }
  return scores;
}

}  // namespace redoubt
