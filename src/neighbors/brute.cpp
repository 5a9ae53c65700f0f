// Distances in blocks by |a - b|^2 = |a|^2 - 2 (ab - |b|^2 / 2), of which the bracket is one matrix product with a
// bias.
#include <cmath>

#include "neighbors/search.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t query_rows = 128, point_rows = 512;  // the products of a block stay in the second-level cache
constexpr double no_overflow = 1e18;  // of norms; with larger ones every distance is measured exactly

/// Rows minus `centre` (distances stay, norms shrink, and with them the error), and the norms of what is kept.
struct Centred {
  Tensor<float> rows;
  std::vector<double> norms;

  Centred(MatrixView<const float> x, const std::vector<float>& centre, std::size_t begin, std::size_t end)
      : rows({end - begin, x.cols()}), norms(end - begin) {
    for (std::size_t r = begin; r < end; ++r) {
      const float* from = x.row(r).data();
      float* to = rows.row(r - begin).data();
      double norm = 0;
      for (std::size_t c = 0; c < x.cols(); ++c) {
        to[c] = from[c] - centre[c];
        norm += static_cast<double>(to[c]) * to[c];
      }
      norms[r - begin] = norm;
    }
  }
};

/// Positions among `count` values that are not below `least`; NaN counts. In steps, as few are.
template <class Take>
void each_from(const float* values, std::size_t count, float least, Take take) {
  constexpr std::size_t step = 64;
  std::size_t j = 0;
  for (; j + step <= count; j += step) {
    int any = 0;
    for (std::size_t i = 0; i < step; ++i) any |= !(values[j + i] < least);
    if (any == 0) continue;
    for (std::size_t i = 0; i < step; ++i)
      if (!(values[j + i] < least)) take(j + i);
  }
  for (; j < count; ++j)
    if (!(values[j] < least)) take(j);
}

}  // namespace

void brute_find(MatrixView<const float> points, MatrixView<const float> queries, std::size_t k, bool others,
                Neighbors& out, Arena* arena) {
  const std::size_t n = points.rows(), cols = points.cols();
  std::vector<float> centre(cols);
  {
    std::vector<double> sums(cols, 0);
    for (std::size_t r = 0; r < n; ++r)
      for (std::size_t c = 0; c < cols; ++c) sums[c] += points(r, c);
    for (std::size_t c = 0; c < cols; ++c) centre[c] = static_cast<float>(sums[c] / static_cast<double>(n));
  }
  const Centred all(points, centre, 0, n);
  std::vector<float> bias(n);
  std::vector<double> longest((n + point_rows - 1) / point_rows, 0);
  for (std::size_t r = 0; r < n; ++r) {
    bias[r] = static_cast<float>(-0.5 * all.norms[r]);
    longest[r / point_rows] = std::max(longest[r / point_rows], std::sqrt(all.norms[r]));
  }
  // Bound of |bracket in fp32 - its value|, for norms that sum to s: times s^2. The product errs by
  // (cols + 1) 2^-24 (|a||b| + |b|^2 / 2), centring and the bias by less than the rest.
  const double error = static_cast<double>(cols + 16) * 0x1p-25;
  const MatrixView<const float> rows(all.rows);
  Arena serial(1);  // the queries are what is shared out

  parallel_for(
      queries.rows(), query_rows,
      [&](std::size_t begin, std::size_t end) {
        const std::size_t count = end - begin;
        const Centred mine(queries, centre, begin, end);
        Tensor<float> products({count, std::min(n, point_rows)});
        std::vector<Best> best(count, Best(k));
        std::vector<float> sorted;
        for (std::size_t first = 0; first < n; first += point_rows) {
          const std::size_t size = std::min(point_rows, n - first);
          const MatrixView<float> brackets(products.data(), count, size, products.cols());
          kernels::MatmulOptions options;
          options.epilogue.bias = bias.data() + first;
          options.arena = &serial;
          kernels::matmul_nt(mine.rows, rows.slice(first, first + size), brackets, options);
          for (std::size_t i = 0; i < count; ++i) {
            const float* values = brackets.row(i).data();
            const std::size_t query = begin + i;
            const double norm = mine.norms[i];
            const double reach = std::sqrt(norm) + longest[first / point_rows];
            const double slack = error * reach * reach + 1e-36;
            const auto least_of = [&](double worst) {
              if (!(reach < no_overflow)) return -std::numeric_limits<float>::infinity();
              return std::nextafter(static_cast<float>((norm - worst) / 2 - slack),
                                    -std::numeric_limits<float>::infinity());
            };
            float least = least_of(best[i].worst());
            if (first == 0 && size > k + 1 && reach < no_overflow) {
              // Nothing is known yet: the k + 1 largest brackets (one may be the query itself) bound the k-th distance.
              sorted.assign(values, values + size);
              std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(k), sorted.end(),
                               [](float a, float b) { return a > b; });
              least =
                  std::nextafter(static_cast<float>(sorted[k] - 2 * slack), -std::numeric_limits<float>::infinity());
            }
            each_from(values, size, least, [&](std::size_t j) {
              if (values[j] < least) return;  // it has risen meanwhile
              const std::size_t row = first + j;
              if (others && row == query) return;
              best[i].offer(squared_distance(queries.row(query).data(), points.row(row).data(), cols),
                            static_cast<std::uint32_t>(row));
              least = std::max(least, least_of(best[i].worst()));
            });
          }
        }
        for (std::size_t i = 0; i < count; ++i) best[i].write(out, begin + i);
      },
      arena);
}

}  // namespace redoubt::detail
