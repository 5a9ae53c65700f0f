#pragma once
#include <array>
#include <cstddef>
#include <span>
#include <type_traits>

#include "redoubt/core/error.hpp"

namespace redoubt {

inline constexpr std::size_t max_rank = 6;  ///< most dimensions a tensor may have

namespace detail {
[[noreturn]] void fail_rank(std::size_t rank);
[[noreturn]] void fail_not_matrix(std::size_t rank);
[[noreturn]] void fail_not_dense();
template <class C>
concept HasDataAndShape = requires(C& c) {
  c.data();
  c.shape().begin();
  c.shape().end();
};
template <class C, class T>
using elements_convertible =
    std::is_convertible<std::remove_pointer_t<decltype(std::declval<C&>().data())> (*)[], T (*)[]>;
}  // namespace detail

/// Non-owning view of a dense row-major tensor. Copying copies the view, never the elements.
/// Converts implicitly from anything with `data()` and `shape()` in row-major order
/// (`Tensor`, `xt::xarray`, ...); the source must outlive the view. If the source also has `strides()`, they are
/// checked: Error(unsupported) unless the elements are dense and row-major.
template <class T>
class TensorView {
 public:
  using value_type = std::remove_cv_t<T>;

  constexpr TensorView() noexcept = default;
  /// `shape` has at most `max_rank` entries; throws Error(shape_mismatch) otherwise.
  TensorView(T* data, std::span<const std::size_t> shape) : data_(data), rank_(shape.size()) {
    if (rank_ > max_rank) detail::fail_rank(rank_);
    for (std::size_t i = 0; i < rank_; ++i) shape_[i] = shape[i];
  }
  template <class C>
    requires detail::HasDataAndShape<C> && detail::elements_convertible<C, T>::value &&
             (!std::is_same_v<std::remove_cv_t<C>, TensorView>)
  TensorView(C& source) : data_(source.data()) {  // NOLINT: implicit by design
    for (auto extent : source.shape()) {
      if (rank_ == max_rank) detail::fail_rank(rank_ + 1);
      shape_[rank_++] = static_cast<std::size_t>(extent);
    }
    if constexpr (requires { source.strides().begin(); }) check_dense(source.strides());
    if constexpr (requires { data_ + source.data_offset(); }) data_ += source.data_offset();
  }

  T* data() const noexcept { return data_; }
  std::size_t rank() const noexcept { return rank_; }
  std::span<const std::size_t> shape() const noexcept { return {shape_.data(), rank_}; }
  std::size_t extent(std::size_t dim) const noexcept { return shape_[dim]; }
  std::size_t size() const noexcept {
    std::size_t n = 1;
    for (std::size_t i = 0; i < rank_; ++i) n *= shape_[i];
    return rank_ == 0 && data_ == nullptr ? 0 : n;
  }
  std::span<T> flat() const noexcept { return {data_, size()}; }

 private:
  template <class Strides>
  void check_dense(const Strides& strides) const {
    std::array<std::ptrdiff_t, max_rank> expected{};
    std::ptrdiff_t step = 1;
    for (std::size_t i = rank_; i-- > 0; step *= static_cast<std::ptrdiff_t>(shape_[i])) expected[i] = step;
    std::size_t i = 0;
    for (auto stride : strides) {
      // The stride of an extent of 1 is never used, and conventions differ.
      if (i < rank_ && shape_[i] != 1 && static_cast<std::ptrdiff_t>(stride) != expected[i] && size() != 0)
        detail::fail_not_dense();
      ++i;
    }
  }

  T* data_ = nullptr;
  std::size_t rank_ = 0;
  std::array<std::size_t, max_rank> shape_{};
};

/// Non-owning view of a row-major matrix whose rows are `stride` elements apart.
/// Converts implicitly from rank-2 tensors and from anything that `TensorView` accepts.
template <class T>
class MatrixView {
 public:
  using value_type = std::remove_cv_t<T>;

  constexpr MatrixView() noexcept = default;
  constexpr MatrixView(T* data, std::size_t rows, std::size_t cols) noexcept : MatrixView(data, rows, cols, cols) {}
  constexpr MatrixView(T* data, std::size_t rows, std::size_t cols, std::size_t stride) noexcept
      : data_(data), rows_(rows), cols_(cols), stride_(stride) {}
  template <class C>
    requires detail::HasDataAndShape<C> && detail::elements_convertible<C, T>::value &&
             (!std::is_same_v<std::remove_cv_t<C>, MatrixView>)
  MatrixView(C& source) {  // NOLINT: implicit by design
    const TensorView<T> view(source);
    if (view.rank() != 2) detail::fail_not_matrix(view.rank());
    *this = MatrixView(view.data(), view.extent(0), view.extent(1));
  }
  /// A mutable view is also a const view.
  constexpr operator MatrixView<const T>() const noexcept  // NOLINT: implicit by design
    requires(!std::is_const_v<T>)
  {
    return {data_, rows_, cols_, stride_};
  }

  T* data() const noexcept { return data_; }
  std::size_t rows() const noexcept { return rows_; }
  std::size_t cols() const noexcept { return cols_; }
  std::size_t stride() const noexcept { return stride_; }
  std::span<T> row(std::size_t r) const noexcept { return {data_ + r * stride_, cols_}; }
  T& operator()(std::size_t r, std::size_t c) const noexcept { return data_[r * stride_ + c]; }
  /// Rows [begin, end) of the same storage.
  MatrixView slice(std::size_t begin, std::size_t end) const noexcept {
    return {data_ + begin * stride_, end - begin, cols_, stride_};
  }

 private:
  T* data_ = nullptr;
  std::size_t rows_ = 0, cols_ = 0, stride_ = 0;
};

}  // namespace redoubt
