#include "redoubt/kernels/interval.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/dispatch.hpp"
#include "redoubt/core/parallel.hpp"

namespace redoubt::kernels {
namespace {

void check(const MatrixView<const float>& lower, const MatrixView<const float>& upper, const MatrixView<const float>& w,
           const MatrixView<float>& dst_lower, const MatrixView<float>& dst_upper) {
  if (lower.rows() != upper.rows() || lower.cols() != upper.cols() || lower.cols() != w.rows() ||
      dst_lower.rows() != lower.rows() || dst_upper.rows() != lower.rows() || dst_lower.cols() != w.cols() ||
      dst_upper.cols() != w.cols())
    redoubt::detail::fail(
        errc::shape_mismatch,
        fmt::format("affine_bounds: lower is {}x{}, upper {}x{}, w {}x{}, dst_lower {}x{} and dst_upper {}x{}",
                    lower.rows(), lower.cols(), upper.rows(), upper.cols(), w.rows(), w.cols(), dst_lower.rows(),
                    dst_lower.cols(), dst_upper.rows(), dst_upper.cols()));
}

void naive_row(std::span<const float> lower, std::span<const float> upper, const MatrixView<const float>& w,
               const float* bias, std::span<float> dst_lower, std::span<float> dst_upper) {
  constexpr float infinity = std::numeric_limits<float>::infinity();
  for (std::size_t j = 0; j < w.cols(); ++j) {
    double low = bias ? bias[j] : 0, high = low, magnitude = std::abs(low);
    for (std::size_t p = 0; p < w.rows(); ++p) {
      const double at_lower = double(w(p, j)) * lower[p], at_upper = double(w(p, j)) * upper[p];
      low += std::min(at_lower, at_upper);
      high += std::max(at_lower, at_upper);
      magnitude += std::max(std::abs(at_lower), std::abs(at_upper));
    }
    // Room for what a single-precision product may lose, then away from the interval.
    const double widening = double(w.rows() + 2) * 0x1p-24 * magnitude + std::numeric_limits<float>::min();
    dst_lower[j] = std::nextafter(static_cast<float>(low - widening), -infinity);
    dst_upper[j] = std::nextafter(static_cast<float>(high + widening), infinity);
  }
}

}  // namespace

void naive::affine_bounds(MatrixView<const float> src_lower, MatrixView<const float> src_upper,
                          MatrixView<const float> w, const float* bias, MatrixView<float> dst_lower,
                          MatrixView<float> dst_upper, Arena*) {
  check(src_lower, src_upper, w, dst_lower, dst_upper);
  for (std::size_t i = 0; i < src_lower.rows(); ++i)
    naive_row(src_lower.row(i), src_upper.row(i), w, bias, dst_lower.row(i), dst_upper.row(i));
}

void affine_bounds(MatrixView<const float> src_lower, MatrixView<const float> src_upper, MatrixView<const float> w,
                   const float* bias, MatrixView<float> dst_lower, MatrixView<float> dst_upper, Arena* arena) {
  check(src_lower, src_upper, w, dst_lower, dst_upper);
  const detail::Table* table = detail::table();
  constexpr std::size_t rows_per_block = 8;
  parallel_for(
      src_lower.rows(), rows_per_block,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          if (table)
            table->affine_bounds(src_lower.row(i).data(), src_upper.row(i).data(), w.rows(), w.data(), w.stride(),
                                 w.cols(), bias, dst_lower.row(i).data(), dst_upper.row(i).data());
          else
            naive_row(src_lower.row(i), src_upper.row(i), w, bias, dst_lower.row(i), dst_upper.row(i));
        }
      },
      arena);
}

}  // namespace redoubt::kernels
