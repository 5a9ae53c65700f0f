#include "redoubt/neighbors/nearest_neighbors.hpp"

#include <fmt/format.h>

#include <cmath>
#include <optional>

#include "neighbors/search.hpp"

namespace redoubt {
namespace {

constexpr std::size_t tree_columns = 16;  // above, boxes of the tree hardly exclude anything

void require_finite(MatrixView<const float> x, const char* what) {
  for (std::size_t r = 0; r < x.rows(); ++r)
    for (std::size_t c = 0; c < x.cols(); ++c)
      if (!std::isfinite(x(r, c)))
        detail::fail(errc::invalid_argument,
                     fmt::format("NearestNeighbors: {} {} has {} in column {}; fill in or drop missing values first",
                                 what, r, x(r, c), c));
}

}  // namespace

void detail::Best::write(Neighbors& out, std::size_t r) {
  std::sort_heap(heap_.begin(), heap_.end());
  for (std::size_t i = 0; i < heap_.size(); ++i) {
    out.rows(r, i) = heap_[i].row;
    out.distances(r, i) = static_cast<float>(std::sqrt(heap_[i].distance));
  }
  clear();
}

struct NearestNeighbors::Impl {
  Impl(MatrixView<const float> x, const NearestNeighborsOptions& options)
      : points({x.rows(), x.cols()}), search(options.search), arena(options.arena) {
    if (x.rows() >= detail::no_point)
      detail::fail(errc::unsupported, fmt::format("NearestNeighbors: {} points are too many", x.rows()));
    require_finite(x, "point");
    for (std::size_t r = 0; r < x.rows(); ++r) std::copy_n(x.row(r).data(), x.cols(), points.row(r).data());
    if (search == NeighborSearch::automatic)
      search = x.cols() <= tree_columns ? NeighborSearch::tree : NeighborSearch::brute;
    if (search == NeighborSearch::tree) tree.emplace(points, arena);
  }

  Neighbors find(MatrixView<const float> queries, std::size_t k, bool others) const {
    const std::size_t most = points.rows() - (others && points.rows() > 0 ? 1 : 0);
    if (k < 1 || k > most)
      detail::fail(errc::invalid_argument,
                   fmt::format("NearestNeighbors: k is {}; it must be in [1, {}], as there are {} points", k, most,
                               points.rows()));
    Neighbors out{Tensor<std::uint32_t>({queries.rows(), k}), Tensor<float>({queries.rows(), k})};
    if (tree)
      tree->find(queries, k, others, out, arena);
    else
      detail::brute_find(points, queries, k, others, out, arena);
    return out;
  }

  Tensor<float> points;
  NeighborSearch search;
  Arena* arena;
  std::optional<detail::PointTree> tree;
};

NearestNeighbors::NearestNeighbors(MatrixView<const float> points, const NearestNeighborsOptions& options)
    : impl_(Shared<const Impl>::make(points, options)) {}

std::size_t NearestNeighbors::rows() const noexcept { return impl_->points.rows(); }
std::size_t NearestNeighbors::cols() const noexcept { return impl_->points.cols(); }
NeighborSearch NearestNeighbors::search() const noexcept { return impl_->search; }

Neighbors NearestNeighbors::find(MatrixView<const float> queries, std::size_t k) const {
  if (queries.cols() != cols())
    detail::fail(errc::shape_mismatch,
                 fmt::format("NearestNeighbors: the points have {} columns, the queries {}", cols(), queries.cols()));
  require_finite(queries, "query");
  return impl_->find(queries, k, false);
}

Neighbors NearestNeighbors::find_others(std::size_t k) const { return impl_->find(impl_->points, k, true); }

}  // namespace redoubt
