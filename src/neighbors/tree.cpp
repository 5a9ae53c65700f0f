#include <cmath>

#include "neighbors/search.hpp"
#include "redoubt/core/parallel.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t block = 32;  // points of a leaf
constexpr std::size_t queries_per_task = 256;
// The incremental bound of a box is a sum of at most one term per column, each replaced with rounding at every level.
constexpr double bound_slack = 1 - 1e-12;

}  // namespace

PointTree::PointTree(MatrixView<const float> points, Arena* arena) : points_(points), order_(points.rows()) {
  for (std::size_t i = 0; i < order_.size(); ++i) order_[i] = static_cast<std::uint32_t>(i);
  if (order_.empty()) return;
  split(0, static_cast<std::uint32_t>(order_.size()));
  std::size_t leaves = 0;
  for (Node& node : nodes_)
    if (node.right == 0) node.column = static_cast<std::uint32_t>(leaves++);
  const std::size_t cols = points.cols();
  blocks_.resize(leaves * cols * block);
  parallel_for(
      nodes_.size(), 256,
      [&](std::size_t first, std::size_t last) {
        for (std::size_t n = first; n < last; ++n)
          if (const Node& node = nodes_[n]; node.right == 0) {
            float* to = blocks_.data() + node.column * cols * block;
            for (std::uint32_t i = node.begin; i < node.end; ++i)
              for (std::size_t c = 0; c < cols; ++c) to[c * block + (i - node.begin)] = points(order_[i], c);
          }
      },
      arena);
}

void PointTree::split(std::uint32_t begin, std::uint32_t end) {
  const std::size_t self = nodes_.size();
  nodes_.emplace_back();
  const auto leaf = [&] { nodes_[self].begin = begin, nodes_[self].end = end; };
  if (end - begin <= block) return leaf();
  std::size_t column = 0;
  float widest = -1;
  constexpr float inf = std::numeric_limits<float>::infinity();
  std::vector<float> low(points_.cols(), inf), high(points_.cols(), -inf);
  for (std::uint32_t i = begin; i < end; ++i) {
    const float* row = points_.row(order_[i]).data();
    for (std::size_t c = 0; c < low.size(); ++c) {
      low[c] = std::min(low[c], row[c]);
      high[c] = std::max(high[c], row[c]);
    }
  }
  for (std::size_t c = 0; c < low.size(); ++c)
    if (const float width = high[c] - low[c]; width > widest) widest = width, column = c;
  // Half the points on each side, also where many are equal: both sides may hold the cut.
  const std::uint32_t middle = begin + (end - begin + 1) / 2;
  if (low.empty() || middle == end) return leaf();
  std::nth_element(order_.begin() + begin, order_.begin() + middle, order_.begin() + end,
                   [&](std::uint32_t a, std::uint32_t b) {
                     const float x = points_(a, column), y = points_(b, column);
                     return x != y ? x < y : a < b;
                   });
  nodes_[self].cut = points_(order_[middle], column);
  nodes_[self].column = static_cast<std::uint32_t>(column);
  split(begin, middle);
  nodes_[self].right = static_cast<std::uint32_t>(nodes_.size());
  split(middle, end);
}

struct PointTree::Walk {
  Walk(std::size_t k, std::size_t cols) : best(k), offsets(cols) {}
  Best best;
  const float* query = nullptr;
  std::uint32_t self = no_point;
  std::vector<double> offsets;  ///< per column: distance of the query from the box
  float near[block];
};

void PointTree::visit(Walk& walk, std::uint32_t n, double bound) const {
  while (true) {
    const Node& node = nodes_[n];
    if (node.right == 0) break;
    const double away = static_cast<double>(walk.query[node.column]) - node.cut;
    const std::uint32_t first = away < 0 ? n + 1 : node.right, second = away < 0 ? node.right : n + 1;
    double& offset = walk.offsets[node.column];
    const double before = offset, other = std::max(bound, bound - before * before + away * away);
    visit(walk, first, bound);
    if (other * bound_slack > walk.best.worst()) return;
    // The last child needs no return, but its offset must be taken back.
    offset = std::abs(away);
    visit(walk, second, other);
    offset = before;
    return;
  }
  const Node& leaf = nodes_[n];
  const std::size_t cols = points_.cols();
  const float* from = blocks_.data() + leaf.column * cols * block;
  float* near = walk.near;
  for (std::size_t j = 0; j < block; ++j) near[j] = 0;
  for (std::size_t c = 0; c < cols; ++c, from += block) {
    const float q = walk.query[c];
    for (std::size_t j = 0; j < block; ++j) {
      const float d = from[j] - q;
      near[j] += d * d;
    }
  }
  // fp32 differences, squares and sums err by at most so much; what may be among the best is measured exactly.
  const double slack = 1 + static_cast<double>(cols + 4) * 0x1p-23;
  // Rounded up, so to infinity where fp32 overflows.
  const auto limit = [&] {
    return std::nextafter(static_cast<float>(walk.best.worst() * slack + 1e-36),
                          std::numeric_limits<float>::infinity());
  };
  float most = limit();
  for (std::uint32_t i = leaf.begin; i < leaf.end; ++i) {
    if (near[i - leaf.begin] > most) continue;
    const std::uint32_t row = order_[i];
    if (row == walk.self) continue;
    walk.best.offer(squared_distance(walk.query, points_.row(row).data(), cols), row);
    most = limit();
  }
}

void PointTree::find(MatrixView<const float> queries, std::size_t k, bool others, Neighbors& out, Arena* arena) const {
  parallel_for(
      queries.rows(), queries_per_task,
      [&](std::size_t begin, std::size_t end) {
        Walk walk(k, points_.cols());
        for (std::size_t i = begin; i < end; ++i) {
          // In the order of the leaves neighbours walk the same nodes.
          const std::size_t r = others ? order_[i] : i;
          walk.query = queries.row(r).data();
          walk.self = others ? static_cast<std::uint32_t>(r) : no_point;
          std::fill(walk.offsets.begin(), walk.offsets.end(), 0.0);
          visit(walk, 0, 0);
          walk.best.write(out, r);
        }
      },
      arena);
}

}  // namespace redoubt::detail
