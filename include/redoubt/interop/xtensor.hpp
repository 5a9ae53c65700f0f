#pragma once
#include <array>
#include <cstddef>
#include <type_traits>
#include <vector>
#include <xtensor/xadapt.hpp>
#include <xtensor/xview.hpp>

#include "redoubt/core/tensor.hpp"
#include "redoubt/core/view.hpp"

// Redoubt's views of xtensor's containers and xtensor's adaptors of Redoubt's, in both directions without a copy. The
// owner must outlive the view. Row-major containers also convert implicitly wherever a TensorView or MatrixView is
// asked for, without this header. This header includes xtensor; no other header of Redoubt does.
namespace redoubt {

namespace detail {
template <class C>
concept XtensorStorage = requires(C& c) {
  c.data();
  c.strides();
  c.shape();
  C::static_layout;
};
template <class C>
concept XtensorColumnMajor = XtensorStorage<C> && std::remove_cv_t<C>::static_layout == xt::layout_type::column_major;
template <class C>
using XtensorElement = std::remove_pointer_t<decltype(std::declval<C&>().data())>;
}  // namespace detail

/// View of an xarray, xtensor, adaptor or contiguous xt::view. Const in, const out. Throws Error(unsupported) if the
/// elements are not dense in row-major order, Error(shape_mismatch) above `max_rank` dimensions.
template <detail::XtensorStorage C>
  requires(!detail::XtensorColumnMajor<C>)
TensorView<detail::XtensorElement<C>> as_view(C& container) {
  return TensorView<detail::XtensorElement<C>>(container);
}

/// Column-major containers cannot be viewed without a copy: assign them to an xt::xarray<T> (row-major) first.
template <detail::XtensorColumnMajor C>
void as_view(C& container) = delete;

/// xtensor adaptor over the storage of a view; its rank is known at run time.
template <class T>
auto as_xtensor(TensorView<T> view) {
  const std::vector<std::size_t> shape(view.shape().begin(), view.shape().end());
  return xt::adapt<xt::layout_type::row_major>(view.data(), view.size(), xt::no_ownership(), shape);
}
template <class T>
auto as_xtensor(Tensor<T>& tensor) {
  return as_xtensor(TensorView<T>(tensor));
}
template <class T>
auto as_xtensor(const Tensor<T>& tensor) {
  return as_xtensor(TensorView<const T>(tensor));
}

/// Rank-2 xt::view over the storage of a matrix view: the row stride stays, what lies between the rows is not touched.
template <class T>
auto as_xtensor(MatrixView<T> view) {
  const std::array<std::size_t, 2> shape = {view.rows(), view.stride()};
  return xt::view(
      xt::adapt<xt::layout_type::row_major>(view.data(), view.rows() * view.stride(), xt::no_ownership(), shape),
      xt::all(), xt::range(std::size_t{0}, view.cols()));
}

}  // namespace redoubt
