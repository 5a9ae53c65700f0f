#include "redoubt/trees/sparse.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"

namespace redoubt {

Tensor<float> predict_sparse(const Forest& forest, const CsrView& x, Arena* arena) {
  if (x.cols != forest.inputs())
    detail::fail(errc::shape_mismatch, fmt::format("rows of {} columns for a forest of {}", x.cols, forest.inputs()));
  for (std::size_t r = 0; r < x.rows(); ++r) {
    const std::uint64_t begin = x.row_offsets[r], end = x.row_offsets[r + 1];
    if (begin > end || end > x.values.size() || end > x.columns.size())
      detail::fail(errc::invalid_argument,
                   fmt::format("sparse row {} has cells {} .. {} of {}", r, begin, end, x.values.size()));
    for (std::uint64_t i = begin; i < end; ++i)
      if (x.columns[i] >= x.cols)
        detail::fail(errc::invalid_argument,
                     fmt::format("sparse row {} has a cell in column {} of {}", r, x.columns[i], x.cols));
  }
  constexpr std::size_t block = 512;
  Tensor<float> out({x.rows(), forest.outputs()});
  parallel_for(
      x.rows(), block,
      [&](std::size_t begin, std::size_t end) {
        Tensor<float> dense({end - begin, x.cols});
        for (std::size_t r = begin; r < end; ++r)
          for (std::uint64_t i = x.row_offsets[r]; i < x.row_offsets[r + 1]; ++i)
            dense(r - begin, x.columns[i]) = x.values[i];
        forest.predict_batch(dense, MatrixView<float>(out).slice(begin, end), arena);
      },
      arena);
  return out;
}

}  // namespace redoubt
