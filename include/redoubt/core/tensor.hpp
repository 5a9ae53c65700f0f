#pragma once
#include <cstddef>
#include <initializer_list>
#include <span>
#include <vector>

#include "redoubt/core/memory.hpp"
#include "redoubt/core/view.hpp"

namespace redoubt {

namespace detail {
/// Product of `shape`; throws Error(shape_mismatch) on overflow or rank above `max_rank`.
std::size_t checked_size(std::span<const std::size_t> shape);
}  // namespace detail

/// Owning dense row-major tensor, 64-byte aligned, value semantics, zero-initialised.
/// T is a trivial arithmetic type. Thread-safety: as `std::vector`.
template <class T>
class Tensor {
 public:
  using value_type = T;

  Tensor() = default;
  /// Zero-filled tensor of `shape`. Throws Error(shape_mismatch) if the rank exceeds `max_rank`.
  explicit Tensor(std::span<const std::size_t> shape)
      : shape_(shape.begin(), shape.end()), values_(detail::checked_size(shape)) {}
  Tensor(std::initializer_list<std::size_t> shape)
      : Tensor(std::span<const std::size_t>(shape.begin(), shape.size())) {}

  T* data() noexcept { return values_.data(); }
  const T* data() const noexcept { return values_.data(); }
  std::size_t size() const noexcept { return values_.size(); }
  std::size_t rank() const noexcept { return shape_.size(); }
  std::span<const std::size_t> shape() const noexcept { return shape_; }
  std::size_t extent(std::size_t dim) const noexcept { return shape_[dim]; }
  std::size_t rows() const noexcept { return shape_.empty() ? 0 : shape_[0]; }
  std::size_t cols() const noexcept { return shape_.size() < 2 ? 1 : shape_[1]; }

  std::span<T> flat() noexcept { return values_; }
  std::span<const T> flat() const noexcept { return values_; }
  /// Row r of a rank-2 tensor.
  std::span<T> row(std::size_t r) noexcept { return {values_.data() + r * cols(), cols()}; }
  std::span<const T> row(std::size_t r) const noexcept { return {values_.data() + r * cols(), cols()}; }
  T& operator()(std::size_t r, std::size_t c) noexcept { return values_[r * cols() + c]; }
  const T& operator()(std::size_t r, std::size_t c) const noexcept { return values_[r * cols() + c]; }

  bool operator==(const Tensor&) const = default;

 private:
  std::vector<std::size_t> shape_;
  detail::AlignedVector<T> values_;
};

}  // namespace redoubt
