// Neighbours of other points: brackets of products.hpp in blocks, one matrix product with a bias each.
#include <cmath>

#include "neighbors/products.hpp"
#include "neighbors/search.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t query_rows = 128, point_rows = 512;  // the products of a block stay in the second-level cache

/// Rows minus `centre`, and their squared norms.
struct Centred {
  Tensor<float> rows;
  std::vector<double> norms;

  Centred(MatrixView<const float> x, const std::vector<float>& centre, std::size_t begin, std::size_t end)
      : rows({end - begin, x.cols()}), norms(end - begin) {
    for (std::size_t r = begin; r < end; ++r)
      norms[r - begin] = centre_row(x.row(r).data(), centre, rows.row(r - begin).data());
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

/// The points, centred, with what the bound of the error needs.
struct Prepared {
  Prepared(MatrixView<const float> x, std::size_t block, std::vector<float> about)
      : centre(std::move(about)),
        all(x, centre, 0, x.rows()),
        bias(x.rows()),
        longest((x.rows() + block - 1) / block, 0) {
    for (std::size_t r = 0; r < x.rows(); ++r) {
      bias[r] = static_cast<float>(-0.5 * all.norms[r]);
      longest[r / block] = std::max(longest[r / block], std::sqrt(all.norms[r]));
    }
  }
  std::vector<float> centre;
  Centred all;
  std::vector<float> bias;      ///< -|b|^2 / 2
  std::vector<double> longest;  ///< per block of rows
};

}  // namespace

void brute_find(MatrixView<const float> points, MatrixView<const float> queries, std::size_t k, bool others,
                Neighbors& out, Arena* arena) {
  const std::size_t n = points.rows(), cols = points.cols();
  constexpr std::size_t most_kept = std::size_t{1} << 26;  // 1 GB: beyond, candidates are kept for few rows at a time
  if (others && n * k <= most_kept) return self_join(points, k, out, arena);
  const Prepared prepared(points, point_rows, mean_of(points));
  const double error = error_of(cols);
  const MatrixView<const float> rows(prepared.all.rows);
  Arena serial(1);  // the queries are what is shared out

  parallel_for(
      queries.rows(), query_rows,
      [&](std::size_t begin, std::size_t end) {
        const std::size_t count = end - begin;
        const Centred mine(queries, prepared.centre, begin, end);
        Tensor<float> products({count, std::min(n, point_rows)});
        std::vector<Best> best(count, Best(k));
        std::vector<float> sorted;
        for (std::size_t first = 0; first < n; first += point_rows) {
          const std::size_t size = std::min(point_rows, n - first);
          const MatrixView<float> brackets(products.data(), count, size, products.cols());
          kernels::MatmulOptions options;
          options.epilogue.bias = prepared.bias.data() + first;
          options.arena = &serial;
          kernels::matmul_nt(mine.rows, rows.slice(first, first + size), brackets, options);
          for (std::size_t i = 0; i < count; ++i) {
            const float* values = brackets.row(i).data();
            const std::size_t query = begin + i;
            const double norm = mine.norms[i];
            const double reach = std::sqrt(norm) + prepared.longest[first / point_rows];
            const double slack = error * reach * reach + 1e-36;
            const auto least_of = [&](double worst) {
              if (!(reach < no_overflow)) return -std::numeric_limits<float>::infinity();
              return below((norm - worst) / 2 - slack);
            };
            float least = least_of(best[i].worst());
            if (first == 0 && size > k + 1 && reach < no_overflow) {
              // Nothing is known yet: the k + 1 largest brackets (one may be the query itself) bound the k-th distance.
              sorted.assign(values, values + size);
              std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(k), sorted.end(),
                               [](float a, float b) { return a > b; });
              least = below(sorted[k] - 2 * slack);
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
