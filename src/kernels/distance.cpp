#include "redoubt/kernels/distance.hpp"

#include <fmt/format.h>

#include "kernels/dispatch.hpp"
#include "redoubt/core/parallel.hpp"
#include "redoubt/kernels/vector.hpp"

namespace redoubt::kernels {
namespace {

void check(const MatrixView<const float>& a, const MatrixView<const float>& b, const MatrixView<float>& out) {
  if (a.cols() != b.cols() || out.rows() != a.rows() || out.cols() != b.rows())
    redoubt::detail::fail(errc::shape_mismatch,
                          fmt::format("squared_distances: a is {}x{}, b is {}x{} and out is {}x{}", a.rows(), a.cols(),
                                      b.rows(), b.cols(), out.rows(), out.cols()));
}

}  // namespace

void naive::squared_distances(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> out, Arena*) {
  check(a, b, out);
  for (std::size_t i = 0; i < a.rows(); ++i)
    for (std::size_t j = 0; j < b.rows(); ++j) out(i, j) = naive::squared_distance(a.row(i), b.row(j));
}

void squared_distances(MatrixView<const float> a, MatrixView<const float> b, MatrixView<float> out, Arena* arena) {
  check(a, b, out);
  constexpr std::size_t rows_per_block = 16, cols_per_block = 64;  // 64 rows of b stay in L1/L2 for 16 rows of a
  const auto distance = kernels::squared_distance;
  parallel_for(
      a.rows(), rows_per_block,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t first = 0; first < b.rows(); first += cols_per_block)
          for (std::size_t i = begin; i < end; ++i)
            for (std::size_t j = first; j < b.rows() && j < first + cols_per_block; ++j)
              out(i, j) = distance(a.row(i), b.row(j));
      },
      arena);
}

}  // namespace redoubt::kernels
