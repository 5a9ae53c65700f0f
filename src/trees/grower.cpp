#include "trees/grower.hpp"

#include <algorithm>
#include <cmath>

#include "trees/leafwise.hpp"

namespace redoubt::detail {
namespace {

/// Power of two that brings numbers up to `largest` below 2^30.
double integer_scale(double largest) {
  int exponent = 0;
  std::frexp(largest, &exponent);
  return largest > 0 ? std::ldexp(1.0, std::min(30 - exponent, 1000)) : 1.0;
}

GradientBoostingOptions translate(const GrowerOptions& o) {
  GradientBoostingOptions r;
  r.learning_rate = 1;
  r.max_leaves = o.max_leaves;
  r.max_depth = o.max_depth;
  r.min_leaf_rows = o.min_leaf_rows;
  r.min_leaf_hessian = o.min_leaf_hessian;
  r.l2 = o.l2;
  r.min_gain = o.min_gain;
  r.max_one_hot = o.max_one_hot;
  r.category_smoothing = o.category_smoothing;
  r.category_l2 = o.category_l2;
  r.min_category_rows = o.min_category_rows;
  r.max_category_side = o.max_category_side;
  r.arena = o.arena;
  return r;
}

}  // namespace

struct Grower::Impl {
  GradientBoostingOptions options;
  LeafwiseGrower grower;
  std::vector<std::uint32_t> rows;
  Gradients gradients;

  Impl(const BinnedMatrix& bins, const GrowerOptions& o) : options(translate(o)), grower(bins, options, o.weights) {}
};

Grower::Grower(const BinnedMatrix& bins, const GrowerOptions& options) : impl_(std::make_unique<Impl>(bins, options)) {}
Grower::~Grower() = default;
Grower::Grower(Grower&&) noexcept = default;

GrownTree Grower::grow(std::span<const std::uint32_t> rows, std::span<const float> g, std::span<const float> h,
                       std::uint64_t, std::span<const std::uint8_t> column_on) {
  Gradients& q = impl_->gradients;
  double largest_g = 0, largest_h = 0;
  for (const auto r : rows) {
    largest_g = std::max(largest_g, std::abs(static_cast<double>(g[r])));
    largest_h = std::max(largest_h, static_cast<double>(h[r]));
  }
  q.g_scale = integer_scale(largest_g);
  q.h_scale = integer_scale(largest_h);
  q.rows.resize(g.size());
  for (const auto r : rows)
    q.rows[r] = {static_cast<std::int32_t>(std::lrint(g[r] * q.g_scale)),
                 static_cast<std::int32_t>(std::lrint(h[r] * q.h_scale))};
  impl_->rows.assign(rows.begin(), rows.end());
  return impl_->grower.grow(impl_->rows, q, column_on);
}

std::span<const std::uint32_t> Grower::leaf_rows(std::size_t leaf) const noexcept {
  const std::size_t begin = impl_->grower.leaf_begin(leaf);
  return std::span(impl_->rows).subspan(begin, impl_->grower.leaf_end(leaf) - begin);
}

}  // namespace redoubt::detail
