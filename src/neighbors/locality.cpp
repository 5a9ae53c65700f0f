#include "neighbors/locality.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "neighbors/products.hpp"
#include "redoubt/core/random.hpp"
#include "redoubt/kernels/matmul.hpp"

namespace redoubt::detail {
namespace {

constexpr std::size_t most_directions = 16, sampled = 1024, rounds = 4, rows_at_once = 256;

/// Columns of q orthonormal, as far as fp32 goes; zero where they depend on earlier ones.
void orthonormalise(Tensor<float>& q) {
  for (std::size_t j = 0; j < q.cols(); ++j) {
    double before = 0, norm = 0;
    for (std::size_t r = 0; r < q.rows(); ++r) before += static_cast<double>(q(r, j)) * q(r, j);
    for (int twice = 0; twice < 2; ++twice) {
      for (std::size_t i = 0; i < j; ++i) {
        double dot = 0;
        for (std::size_t r = 0; r < q.rows(); ++r) dot += static_cast<double>(q(r, i)) * q(r, j);
        for (std::size_t r = 0; r < q.rows(); ++r) q(r, j) = static_cast<float>(q(r, j) - dot * q(r, i));
      }
    }
    for (std::size_t r = 0; r < q.rows(); ++r) norm += static_cast<double>(q(r, j)) * q(r, j);
    const double scale = norm > 1e-6 * before && norm > 1e-30 ? 1 / std::sqrt(norm) : 0;
    for (std::size_t r = 0; r < q.rows(); ++r) q(r, j) = static_cast<float>(scale * q(r, j));
  }
  // Two passes leave them orthogonal to about 1e-6 but for those of which next to nothing was left.
  for (std::size_t j = 0; j < q.cols(); ++j)
    for (std::size_t i = 0; i < j; ++i) {
      double dot = 0;
      for (std::size_t r = 0; r < q.rows(); ++r) dot += static_cast<double>(q(r, i)) * q(r, j);
      if (std::abs(dot) > 1e-5)
        for (std::size_t r = 0; r < q.rows(); ++r) q(r, j) = 0;
    }
}

/// The main directions of a sample, by subspace iteration: columns.
Tensor<float> directions_of(MatrixView<const float> x, const std::vector<float>& centre) {
  const std::size_t count = std::min(sampled, x.rows()), width = std::min(most_directions, x.cols());
  Tensor<float> sample({count, x.cols()}), q({x.cols(), width}), projected({count, width});
  float largest = 0;
  for (std::size_t r = 0; r < count; ++r) {
    centre_row(x.row(r * x.rows() / count).data(), centre, sample.row(r).data());
    for (const float v : sample.row(r)) largest = std::max(largest, std::abs(v));
  }
  if (!(largest > 1e-30f)) return {};
  for (float& v : sample.flat()) v /= largest;
  Random random(1);
  for (float& v : q.flat()) v = static_cast<float>(random.normal());
  Arena serial(1);
  kernels::MatmulOptions options;
  options.arena = &serial;
  for (std::size_t i = 0; i < rounds; ++i) {
    orthonormalise(q);
    kernels::matmul(sample, q, projected, options);
    kernels::matmul_tn(sample, projected, q, options);
  }
  orthonormalise(q);
  return q;
}

struct Splitter {
  const Tensor<float>& at;
  std::size_t block;
  std::vector<std::uint32_t>& order;

  void split(std::size_t begin, std::size_t end) {
    const std::size_t blocks = (end - begin + block - 1) / block;
    if (blocks < 2) return;
    const std::size_t width = at.cols();
    double sums[most_directions] = {}, squares[most_directions] = {};
    for (std::size_t i = begin; i < end; ++i) {
      const float* row = at.row(order[i]).data();
      for (std::size_t c = 0; c < width; ++c) {
        sums[c] += row[c];
        squares[c] += static_cast<double>(row[c]) * row[c];
      }
    }
    std::size_t widest = 0;
    double most = -1;
    for (std::size_t c = 0; c < width; ++c) {
      const double spread = squares[c] - sums[c] * sums[c] / static_cast<double>(end - begin);
      if (spread > most) most = spread, widest = c;
    }
    const std::size_t middle = begin + blocks / 2 * block;
    const auto place = [&](std::size_t i) { return order.begin() + static_cast<std::ptrdiff_t>(i); };
    std::nth_element(place(begin), place(middle), place(end), [&](std::uint32_t a, std::uint32_t b) {
      return at(a, widest) != at(b, widest) ? at(a, widest) < at(b, widest) : a < b;
    });
    split(begin, middle);
    split(middle, end);
  }
};

}  // namespace

Locality order_by_nearness(MatrixView<const float> x, const std::vector<float>& centre, std::size_t block,
                           Arena* arena) {
  Locality found;
  found.order.resize(x.rows());
  found.coordinates = Tensor<float>({x.rows(), 0});
  std::iota(found.order.begin(), found.order.end(), 0u);
  const Tensor<float> q = directions_of(x, centre);
  if (q.size() == 0) return found;
  Tensor<float> at({x.rows(), q.cols()});
  parallel_for(
      x.rows(), rows_at_once,
      [&](std::size_t begin, std::size_t end) {
        Tensor<float> rows({end - begin, x.cols()});
        for (std::size_t r = begin; r < end; ++r) centre_row(x.row(r).data(), centre, rows.row(r - begin).data());
        Arena serial(1);
        kernels::MatmulOptions options;
        options.arena = &serial;
        kernels::matmul(rows, q, MatrixView<float>(at.row(begin).data(), end - begin, q.cols()), options);
      },
      arena);
  for (const float v : at.flat())
    if (!(std::abs(v) < 1e17f)) return found;
  Splitter{at, block, found.order}.split(0, x.rows());
  found.coordinates = std::move(at);
  found.error = static_cast<double>(x.cols() + 16) * 0x1p-24 * std::sqrt(static_cast<double>(q.cols()));
  return found;
}

}  // namespace redoubt::detail
