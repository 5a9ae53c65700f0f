#include "redoubt/core/tensor.hpp"

#include <fmt/format.h>

namespace redoubt::detail {

void fail_rank(std::size_t rank) {
  fail(errc::shape_mismatch, fmt::format("a tensor has at most {} dimensions, got {}", max_rank, rank));
}

void fail_not_matrix(std::size_t rank) {
  fail(errc::shape_mismatch, fmt::format("a matrix has 2 dimensions, got {}", rank));
}

void fail_not_dense() {
  fail(errc::unsupported,
       "a tensor view needs dense elements in row-major order; copy the source into that order first");
}

std::size_t checked_size(std::span<const std::size_t> shape) {
  if (shape.size() > max_rank) fail_rank(shape.size());
  std::size_t size = 1;
  for (std::size_t extent : shape) {
    if (__builtin_mul_overflow(size, extent, &size))
      fail(errc::shape_mismatch, "the number of elements of the tensor overflows 64 bits");
  }
  return shape.empty() ? 0 : size;
}

}  // namespace redoubt::detail
