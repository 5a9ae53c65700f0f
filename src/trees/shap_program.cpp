#include "trees/shap_program.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace redoubt::detail {

using kernels::detail::shap_constants;
using kernels::detail::shap_max_points;
using kernels::detail::ShapNode;

namespace {

double cover_of(const ForestArrays& a, std::int32_t child) { return child < 0 ? a.leaf_cover[~child] : a.cover[child]; }

}  // namespace

double left_share(const ForestArrays& a, std::int32_t node) {
  const double left = cover_of(a, a.left[node]), right = cover_of(a, a.right[node]);
  return left + right > 0 ? left / (left + right) : 0.5;
}

bool goes_left(const ForestArrays& a, std::int32_t node, float x) {
  const std::uint8_t flags = a.flags[node];
  if (a.category_set[node] < 0) {
    const bool missing = x != x || ((flags & zero_missing) && std::abs(x) <= 1e-35f);
    return missing ? flags & missing_left : x <= a.threshold[node];
  }
  if (x != x) return flags & missing_left;
  const std::uint32_t first = a.category_offsets[a.category_set[node]];
  const std::uint32_t words = a.category_offsets[a.category_set[node] + 1] - first;
  if (x > -1 && std::max(static_cast<double>(x), 0.0) < 32.0 * words) {
    const auto code = static_cast<std::uint64_t>(std::max(x, 0.0f));
    return a.category_bits[first + code / 32] >> (code % 32) & 1;
  }
  return flags & others_left;
}

QuadratureRule::QuadratureRule(std::size_t points) : at(points), weight(points) {
  // Roots of the Legendre polynomial on (-1, 1) by Newton's method from Tricomi's estimate.
  const double n = static_cast<double>(points);
  for (std::size_t i = 0; i < (points + 1) / 2; ++i) {
    double x = std::cos(std::numbers::pi * (static_cast<double>(i) + 0.75) / (n + 0.5)), slope = 1;
    for (int round = 0; round < 100; ++round) {
      double before = 1, value = x;
      for (std::size_t k = 2; k <= points; ++k) {
        const double d = static_cast<double>(k);
        const double next = ((2 * d - 1) * x * value - (d - 1) * before) / d;
        before = value;
        value = next;
      }
      slope = n * (x * value - before) / (x * x - 1);
      const double step = value / slope;
      x -= step;
      if (std::abs(step) < 1e-15) break;
    }
    const double w = 1 / ((1 - x * x) * slope * slope);
    at[i] = (1 - x) / 2;
    at[points - 1 - i] = (1 + x) / 2;
    weight[i] = weight[points - 1 - i] = w;
  }
}

ShapProgram::ShapProgram(const Forest& forest, std::size_t tree, std::size_t output) : output_(output) {
  const std::int32_t root = forest.arrays().roots[tree];
  if (root < 0) {
    const std::size_t width = forest.shape().leaf_width;
    expected_ = forest.arrays().leaf_values[static_cast<std::size_t>(~root) * width + (width > 1 ? output : 0)];
    return;
  }
  // A product of d factors without one of them has degree d - 1.
  const std::size_t needed = std::max<std::size_t>((walk(forest, tree) + 1) / 2, 1);
  passes_ = (needed + shap_max_points - 1) / shap_max_points;
  points_ = (needed + passes_ - 1) / passes_;
  fill();
  edges_ = {};
}

/// Fills everything but the tables; returns the most different features on a path.
std::size_t ShapProgram::walk(const Forest& forest, std::size_t tree) {
  const ForestArrays& a = forest.arrays();
  const std::size_t width = forest.shape().leaf_width;
  struct Frame {
    std::int32_t node;     // of the forest
    std::int32_t place;    // in the program, -1 before the node is entered
    std::int32_t parent;   // place
    std::int32_t restore;  // edge that was nearest on the feature before
    std::uint32_t level, features;
    std::uint8_t side, next;
    double weight;
  };
  std::vector<std::int32_t> nearest(forest.inputs(), -1);  // per feature: 2 * place + side of the lowest edge on it
  std::vector<Frame> stack = {{a.roots[tree], -1, -1, -1, 0, 0, 0, 0, 1.0}};
  std::size_t most = 0;
  while (!stack.empty()) {
    Frame& frame = stack.back();
    const std::int32_t node = frame.node;
    const std::uint32_t feature = a.feature[node];
    if (frame.place < 0) {
      frame.place = static_cast<std::int32_t>(nodes_.size());
      frame.restore = nearest[feature];
      if (frame.place > 0) order_.push_back(frame.place);
      ShapNode entry{};
      entry.threshold = a.threshold[node];
      entry.feature = feature;
      entry.parent = frame.parent;
      entry.ancestor = frame.restore < 0 ? -1 : frame.restore / 2;
      entry.ancestor_side = frame.restore < 0 ? 0 : frame.restore & 1;
      entry.slot = 2 * frame.level + frame.side;
      entry.side = frame.side;
      const bool plain = a.category_set[node] < 0 && !(a.flags[node] & zero_missing);
      entry.test = !plain                         ? kernels::detail::shap_decided
                   : a.flags[node] & missing_left ? kernels::detail::shap_missing_left
                                                  : kernels::detail::shap_missing_right;
      if (!plain) decided_.push_back({static_cast<std::uint32_t>(frame.place), node});
      slots_ = std::max<std::size_t>(slots_, entry.slot + 1);
      if (frame.restore < 0) ++frame.features;
      most = std::max<std::size_t>(most, frame.features);
      if (most > max_shap_depth)
        detail::fail(errc::unsupported, fmt::format("TreeShap: more than {} different columns on one path of tree {}",
                                                    max_shap_depth, tree));
      path_begin_.push_back(static_cast<std::uint32_t>(path_.size()));
      for (std::size_t i = 0; i + 1 < stack.size(); ++i)
        if (const std::uint32_t above = a.feature[stack[i].node];
            above != feature && nearest[above] >> 1 == stack[i].place)
          path_.push_back(static_cast<std::uint32_t>(stack[i].place));
      const double before = frame.restore < 0 ? 1.0 : edges_[frame.restore].z;
      const double left = left_share(a, node);
      for (const bool right : {false, true}) {
        const std::int32_t child = right ? a.right[node] : a.left[node];
        Edge edge;
        edge.ratio = right ? 1 - left : left;
        edge.z = before * edge.ratio;
        entry.child[right] = child < 0 ? -1 : static_cast<std::int32_t>(2 * (frame.level + 1) + right);
        if (child < 0) {
          edge.value = a.leaf_values[static_cast<std::size_t>(~child) * width + (width > 1 ? output_ : 0)];
          expected_ += frame.weight * edge.ratio * edge.value;
        }
        edges_.push_back(edge);
      }
      nodes_.push_back(entry);
    }
    if (frame.next == 2) {
      nearest[feature] = frame.restore;
      order_.push_back(~frame.place);
      stack.pop_back();
      continue;
    }
    const std::uint8_t side = frame.next++;
    nearest[feature] = 2 * frame.place + side;
    const std::int32_t child = side ? a.right[node] : a.left[node];
    if (child >= 0)
      stack.push_back({child, -1, frame.place, -1, frame.level + 1, frame.features, side, 0,
                       frame.weight * edges_[2 * frame.place + side].ratio});
  }
  path_begin_.push_back(static_cast<std::uint32_t>(path_.size()));
  return most;
}

void ShapProgram::fill() {
  const QuadratureRule rule(points_ * passes_);
  const std::size_t stride = shap_constants(points_);
  numbers_.resize(passes_ * nodes_.size() * stride);
  edge_values_.resize(passes_ * nodes_.size() * 2 * points_);
  for (const double t : rule.at) off_values_.push_back(-1 / (1 - t));
  for (std::size_t pass = 0; pass < passes_; ++pass)
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      double* const c = numbers_.data() + (pass * nodes_.size() + i) * stride;
      double* const values = edge_values_.data() + (pass * nodes_.size() + i) * 2 * points_;
      const ShapNode& node = nodes_[i];
      const double before = node.ancestor < 0 ? 1.0 : edges_[2 * node.ancestor + node.ancestor_side].z;
      for (std::size_t p = 0; p < points_; ++p) {
        const double t = rule.at[pass * points_ + p], w = rule.weight[pass * points_ + p];
        const auto q = [&](double z) { return (1 - t) * z + t; };
        const double upper = (1 - before) / q(before);
        for (std::size_t side = 0; side < 2; ++side) {
          const Edge& edge = edges_[2 * i + side];
          c[2 * side * points_ + p] = edge.value * q(edge.z) / q(before);
          c[(2 * side + 1) * points_ + p] = edge.value * (1 - t) * edge.z / q(before);
          values[side * points_ + p] = (1 - edge.z) / q(edge.z);
          c[(4 + side) * points_ + p] = w * (values[side * points_ + p] - upper);
        }
        c[6 * points_ + p] = w * (-1 / (1 - t) - upper);
      }
      for (std::size_t side = 0; side < 2; ++side)
        c[7 * points_ + side] = edges_[2 * i + side].value * edges_[2 * i + side].ratio;
    }
}

kernels::detail::ShapTree ShapProgram::view() const noexcept {
  return {nodes_.data(), nodes_.size(),       order_.data(),      numbers_.data(), points_,           passes_,
          slots_,        edge_values_.data(), off_values_.data(), path_.data(),    path_begin_.data()};
}

std::size_t ShapProgram::bytes() const noexcept {
  return nodes_.size() * sizeof(ShapNode) + (order_.size() + path_.size() + path_begin_.size()) * 4 +
         (numbers_.size() + edge_values_.size()) * sizeof(double);
}

}  // namespace redoubt::detail
