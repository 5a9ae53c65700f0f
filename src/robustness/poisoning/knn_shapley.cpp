#include "redoubt/robustness/poisoning/knn_shapley.hpp"

#include <fmt/format.h>

#include <cmath>
#include <numeric>

#include "redoubt/core/parallel.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/core/tensor.hpp"
#include "redoubt/kernels/distance.hpp"
#include "robustness/complete.hpp"
#include "robustness/poisoning/labelled.hpp"
#include "robustness/radix.hpp"
#include "robustness/rows.hpp"

namespace redoubt {
namespace {

constexpr std::size_t most_blocks = 16;  // each holds sums for all rows
constexpr std::size_t queries_at_once = 8;

/// Per training row: sum over the queries of its value, and of the square. `self[q]`: a row that does not count for
/// query q (it is the query); empty: none.
struct Sums {
  std::vector<double> values, squares;
};

Sums sum_values(MatrixView<const float> x, std::span<const std::int32_t> labels, MatrixView<const float> queries,
                std::span<const std::int32_t> query_labels, std::span<const std::uint64_t> self, std::size_t k,
                Arena* arena) {
  const std::size_t n = x.rows(), count = queries.rows(), grain = (count + most_blocks - 1) / most_blocks;
  std::vector<Sums> parts((count + grain - 1) / grain);
  const double most = static_cast<double>(k);
  parallel_for(
      count, grain,
      [&](std::size_t begin, std::size_t end) {
        Sums& sums = parts[begin / grain];
        sums.values.assign(n, 0);
        sums.squares.assign(n, 0);
        Tensor<float> distances({queries_at_once, n});
        std::vector<std::uint32_t> rows;
        detail::FloatOrder order;
        for (std::size_t first = begin; first < end; first += queries_at_once) {
          const std::size_t last = std::min(end, first + queries_at_once);
          kernels::squared_distances(queries.slice(first, last), x,
                                     MatrixView<float>(distances.data(), last - first, n), arena);
          for (std::size_t q = first; q < last; ++q) {
            const float* d = distances.row(q - first).data();
            order.sort(n, [&](std::size_t i) { return std::min(d[i], 3e38f); });
            rows.clear();
            for (std::size_t i = 0; i < n; ++i)
              if (self.empty() || order.position(i) != self[q]) rows.push_back(order.position(i));
            if (rows.empty()) continue;
            // From the farthest to the nearest: s_i = s_(i+1) + (match_i - match_(i+1)) / k * min(k, i) / i.
            const std::int32_t label = query_labels[q];
            const double all = static_cast<double>(rows.size());
            double next = labels[rows.back()] == label, value = next * std::min(most, all) / (all * most);
            for (std::size_t i = rows.size(); i-- > 0;) {
              const double match = labels[rows[i]] == label, rank = static_cast<double>(i + 1);
              value += (match - next) * std::min(most, rank) / (rank * most);
              next = match;
              sums.values[rows[i]] += value;
              sums.squares[rows[i]] += value * value;
            }
          }
        }
      },
      arena);
  Sums total{std::vector<double>(n, 0), std::vector<double>(n, 0)};
  for (const Sums& part : parts)
    for (std::size_t r = 0; r < n; ++r) {
      total.values[r] += part.values[r];
      total.squares[r] += part.squares[r];
    }
  return total;
}

}  // namespace

std::vector<double> knn_shapley(MatrixView<const float> x, std::span<const std::int32_t> labels,
                                MatrixView<const float> queries, std::span<const std::int32_t> query_labels,
                                std::size_t k, Arena* arena) {
  if (labels.size() != x.rows() || query_labels.size() != queries.rows() || queries.cols() != x.cols())
    detail::fail(errc::shape_mismatch,
                 fmt::format("knn_shapley: rows are {} x {} with {} labels, queries are {} x {} with {} labels",
                             x.rows(), x.cols(), labels.size(), queries.rows(), queries.cols(), query_labels.size()));
  if (k < 1) detail::fail(errc::invalid_argument, "knn_shapley: k is 0; it must be at least 1");
  if (queries.rows() == 0) detail::fail(errc::invalid_argument, "knn_shapley: there are no queries");
  detail::require_finite(x, "knn_shapley");
  detail::require_finite(queries, "knn_shapley, queries");
  auto values = sum_values(x, labels, queries, query_labels, {}, k, arena).values;
  for (double& v : values) v /= static_cast<double>(queries.rows());
  return values;
}

void KnnShapley::update(const Batch& batch) { detail::add_labelled(*this, batch); }
void KnnShapley::merge(const KnnShapley& other) { detail::merge_labelled(*this, other); }

Verdict KnnShapley::finish() const {
  constexpr std::size_t fewest = 20;
  if (k < 1) detail::fail(errc::invalid_argument, fmt::format("KnnShapley::k is {}; it must be at least 1", k));
  if (!(cut > 0)) detail::fail(errc::invalid_argument, fmt::format("KnnShapley::cut is {}; it must be positive", cut));
  const std::size_t n = ids_.size();
  if (n < fewest || width_ == 0)
    return Verdict::abstain(
        std::string(id), stage,
        fmt::format("needs at least {} labelled rows with features; there are {} rows of {}", fewest, n, width_));

  const Tensor<float> x = detail::completed(MatrixView<const float>(features_.data(), n, width_), true);
  std::vector<std::uint64_t> chosen(n);
  std::iota(chosen.begin(), chosen.end(), std::uint64_t{0});
  if (max_queries != 0 && n > max_queries) {
    Random(seed, 0).shuffle(chosen);
    chosen.resize(max_queries);
    std::sort(chosen.begin(), chosen.end());
  }
  Tensor<float> queries({chosen.size(), width_});
  std::vector<std::int32_t> query_labels;
  std::vector<double> count(n, static_cast<double>(chosen.size()));
  for (std::size_t q = 0; q < chosen.size(); ++q) {
    std::copy_n(x.row(chosen[q]).data(), width_, queries.row(q).data());
    query_labels.push_back(labels_[chosen[q]]);
    count[chosen[q]] -= 1;
  }
  const Sums sums = sum_values(x, labels_, queries, query_labels, chosen, static_cast<std::size_t>(k), nullptr);

  Verdict verdict;
  verdict.check = id;
  verdict.stage = stage;
  for (std::size_t r = 0; r < n; ++r) {
    const double mean = sums.values[r] / count[r];
    const double error = std::sqrt(std::max(0.0, sums.squares[r] / count[r] - mean * mean) / count[r]);
    if (mean < -cut * error && mean < 0)
      verdict.findings.push_back(
          {ids_[r], "", -mean * static_cast<double>(n),
           fmt::format("labelled {}: it misleads the rows near it (value {:.3g} +- {:.2g} of an average of {:.3g})",
                       names_[static_cast<std::size_t>(labels_[r])], mean, error, 1 / static_cast<double>(n))});
  }
  detail::finish_warning(verdict, n);
  verdict.summary = fmt::format("{} of {} rows have a negative value to {} neighbours", verdict.findings.size(), n, k);
  return verdict;
}

}  // namespace redoubt
