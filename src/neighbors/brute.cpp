// Distances in blocks by |a - b|^2 = |a|^2 - 2 (ab - |b|^2 / 2), of which the bracket is one matrix product with a
// bias.
#include <cmath>
#include <mutex>

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

std::vector<float> mean_of(MatrixView<const float> x) {
  std::vector<double> sums(x.cols(), 0);
  for (std::size_t r = 0; r < x.rows(); ++r)
    for (std::size_t c = 0; c < x.cols(); ++c) sums[c] += x(r, c);
  std::vector<float> mean(x.cols());
  for (std::size_t c = 0; c < x.cols(); ++c) mean[c] = static_cast<float>(sums[c] / static_cast<double>(x.rows()));
  return mean;
}

/// Bound of |bracket in fp32 - its value|, for norms that sum to s: times s^2. The product errs by
/// (cols + 1) 2^-24 (|a||b| + |b|^2 / 2), centring and the bias by less than the rest.
double error_of(std::size_t cols) { return static_cast<double>(cols + 16) * 0x1p-25; }

float below(double value) { return std::nextafter(static_cast<float>(value), -std::numeric_limits<float>::infinity()); }

constexpr std::size_t block = 256, group = 3;  // among themselves: points of a block, blocks of a product

/// Nearest others of the points among themselves. Each pair is looked at once, for both.
class SelfJoin {
 public:
  SelfJoin(MatrixView<const float> points, std::size_t k)
      : points_(points),
        k_(k),
        prepared_(points, block, mean_of(points)),
        rows_(prepared_.all.rows),
        error_(error_of(points.cols())),
        best_(points.rows(), Best(k)),
        reach_(points.rows(), std::numeric_limits<float>::infinity()),
        locks_(blocks()) {}

  void run(Neighbors& out, Arena* arena) {
    parallel_for(
        blocks(), 1,
        [&](std::size_t begin, std::size_t end) {
          Tensor<float> products({block, block});
          for (std::size_t b = begin; b < end; ++b) within(b, products.data());
        },
        arena);
    struct Task {
      std::size_t first, last, with;
    };
    std::vector<Task> tasks;
    for (std::size_t j = 1; j < blocks(); ++j)
      for (std::size_t i = 0; i < j; i += group) tasks.push_back({i, std::min(i + group, j), j});
    parallel_for(
        tasks.size(), 16,
        [&](std::size_t begin, std::size_t end) {
          Tensor<float> products({group * block, block});
          for (std::size_t t = begin; t < end; ++t) {
            const Task& task = tasks[t];
            multiply(task.first * block, task.last * block, task.with, products.data());
            for (std::size_t i = task.first; i < task.last; ++i)
              between(i, task.with, products.data() + (i - task.first) * block * block);
          }
        },
        arena);
    parallel_for(
        points_.rows(), 1024,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t r = begin; r < end; ++r) best_[r].write(out, r);
        },
        arena);
  }

 private:
  std::size_t blocks() const { return (points_.rows() + block - 1) / block; }
  std::size_t end_of(std::size_t b) const { return std::min(points_.rows(), (b + 1) * block); }

  /// Brackets of rows [begin, end) with those of block `with`, `block` floats per row.
  void multiply(std::size_t begin, std::size_t end, std::size_t with, float* products) {
    const std::size_t first = with * block, last = end_of(with);
    kernels::MatmulOptions options;
    options.epilogue.bias = prepared_.bias.data() + first;
    options.arena = &serial_;
    kernels::matmul_nt(rows_.slice(begin, end), rows_.slice(first, last), {products, end - begin, last - first, block},
                       options);
  }

  double slack(std::size_t row, std::size_t with) const {
    const double reach = std::sqrt(prepared_.all.norms[row]) + prepared_.longest[with];
    return reach < no_overflow ? 1.001 * error_ * reach * reach + 1e-36 : std::numeric_limits<double>::infinity();
  }

  double measure(std::size_t i, std::size_t j) const {
    return squared_distance(points_.row(i).data(), points_.row(j).data(), points_.cols());
  }

  /// Half the squared distance within which row r still takes others, not rounded down.
  void narrow(std::size_t r) {
    reach_[r] = std::nextafter(static_cast<float>(best_[r].worst() / 2 * (1 + 0x1p-20)),
                               std::numeric_limits<float>::infinity());
  }

  void within(std::size_t b, float* products) {
    const std::size_t first = b * block, size = end_of(b) - first;
    multiply(first, first + size, b, products);
    std::vector<float> sorted;
    for (std::size_t i = 0; i < size; ++i) {
      const float* values = products + i * block;
      float least = -std::numeric_limits<float>::infinity();
      if (const double s = slack(first + i, b); size > k_ + 1 && std::isfinite(s)) {
        // The k + 1 largest brackets, of which one may be of the row with itself, bound the k-th distance.
        sorted.assign(values, values + size);
        std::nth_element(sorted.begin(), sorted.begin() + static_cast<std::ptrdiff_t>(k_), sorted.end(),
                         [](float x, float y) { return x > y; });
        least = below(sorted[k_] - 2 * s);
      }
      for (std::size_t j = 0; j < size; ++j)
        if (!(values[j] < least) && j != i)
          best_[first + i].offer(measure(first + i, first + j), static_cast<std::uint32_t>(first + j));
      narrow(first + i);
    }
  }

  void between(std::size_t a, std::size_t b, const float* products) {
    const std::scoped_lock hold(locks_[a], locks_[b]);
    const std::size_t first = b * block, size = end_of(b) - first;
    const float* reach = reach_.data() + first;
    for (std::size_t i = a * block; i < end_of(a); ++i, products += block) {
      // A pair matters if |a|^2 - 2 bracket is within the reach of either; the factors outweigh rounding here.
      const float base = below(0.5 * prepared_.all.norms[i] * (1 - 0x1p-20) - slack(i, b));
      float own = base - reach_[i];
      const auto far = [&](std::size_t j) {
        const float other = base - reach[j];
        return products[j] < (own < other ? own : other);
      };
      const auto look = [&](std::size_t j) {
        if (far(j)) return;
        const double distance = measure(i, first + j);
        best_[i].offer(distance, static_cast<std::uint32_t>(first + j));
        best_[first + j].offer(distance, static_cast<std::uint32_t>(i));
        narrow(i);
        narrow(first + j);
        own = base - reach_[i];
      };
      constexpr std::size_t step = 64;
      std::size_t j = 0;
      for (; j + step <= size; j += step) {
        int any = 0;
        const float limit = own;
        for (std::size_t c = j; c < j + step; ++c) {
          const float other = base - reach[c];
          any |= !(products[c] < (limit < other ? limit : other));
        }
        for (std::size_t c = j; any != 0 && c < j + step; ++c) look(c);
      }
      for (; j < size; ++j) look(j);
    }
  }

  MatrixView<const float> points_;
  std::size_t k_;
  Prepared prepared_;
  MatrixView<const float> rows_;
  double error_;
  std::vector<Best> best_;
  std::vector<float> reach_;
  std::vector<std::mutex> locks_;  // one thread at a time on a block; the order does not matter for what is nearest
  Arena serial_{1};                // tasks are what is shared out, not products
};

}  // namespace

void brute_find(MatrixView<const float> points, MatrixView<const float> queries, std::size_t k, bool others,
                Neighbors& out, Arena* arena) {
  const std::size_t n = points.rows(), cols = points.cols();
  constexpr std::size_t most_kept = std::size_t{1} << 26;  // 1 GB: beyond, candidates are kept for few rows at a time
  if (others && n * k <= most_kept) return SelfJoin(points, k).run(out, arena);
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
