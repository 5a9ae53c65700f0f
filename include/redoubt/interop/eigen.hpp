#pragma once
#include <Eigen/Core>
#include <span>
#include <type_traits>

#include "redoubt/core/tensor.hpp"
#include "redoubt/core/view.hpp"

// Redoubt's views of Eigen's matrices and Eigen's maps of Redoubt's, in both directions without a copy. The owner must
// outlive the view. This header includes Eigen; no other header of Redoubt does.
namespace redoubt {

namespace detail {
/// An Eigen expression whose elements lie in memory (Matrix, Map, Ref, Block of them).
template <class M>
concept EigenStorage = std::is_base_of_v<Eigen::EigenBase<std::remove_cv_t<M>>, std::remove_cv_t<M>> &&
                       ((static_cast<int>(std::remove_cv_t<M>::Flags) & Eigen::DirectAccessBit) != 0);
template <class M>
concept EigenVector = EigenStorage<M> && (std::remove_cv_t<M>::IsVectorAtCompileTime != 0);
template <class M>
concept EigenRowMajor = EigenStorage<M> && !EigenVector<M> && (std::remove_cv_t<M>::IsRowMajor != 0);
template <class M>
concept EigenColumnMajor = EigenStorage<M> && !EigenVector<M> && (std::remove_cv_t<M>::IsRowMajor == 0);

template <class M>
using EigenElement = std::remove_pointer_t<decltype(std::declval<M&>().data())>;

inline void need_unit_stride(Eigen::Index stride) {
  if (stride != 1) fail(errc::unsupported, "as_view: the elements of a row of the Eigen expression are not adjacent");
}
}  // namespace detail

/// View of a row-major Eigen matrix, Map, Ref or Block. Const in, const out. Throws Error(unsupported) if the elements
/// of a row are not adjacent (an inner stride other than 1).
template <detail::EigenRowMajor M>
MatrixView<detail::EigenElement<M>> as_view(M& matrix) {
  detail::need_unit_stride(matrix.innerStride());
  return {matrix.data(), static_cast<std::size_t>(matrix.rows()), static_cast<std::size_t>(matrix.cols()),
          static_cast<std::size_t>(matrix.outerStride())};
}

/// Eigen's default order is column-major: use Eigen::Matrix<T, Dynamic, Dynamic, Eigen::RowMajor>, or view the
/// transpose, which is row-major.
template <detail::EigenColumnMajor M>
void as_view(M& matrix) = delete;

/// Span of an Eigen vector or row vector. Throws Error(unsupported) if its elements are not adjacent.
template <detail::EigenVector M>
std::span<detail::EigenElement<M>> as_span(M& vector) {
  detail::need_unit_stride(vector.innerStride());
  return {vector.data(), static_cast<std::size_t>(vector.size())};
}

/// Row-major Eigen matrix over the storage of Redoubt's view; const elements give a const map.
template <class T>
using EigenMap = Eigen::Map<
    std::conditional_t<std::is_const_v<T>,
                       const Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>,
                       Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>,
    Eigen::Unaligned, Eigen::OuterStride<>>;

template <class T>
EigenMap<T> as_eigen(MatrixView<T> view) {
  return {view.data(), static_cast<Eigen::Index>(view.rows()), static_cast<Eigen::Index>(view.cols()),
          Eigen::OuterStride<>(static_cast<Eigen::Index>(view.stride()))};
}
template <class T>
EigenMap<T> as_eigen(Tensor<T>& tensor) {
  return as_eigen(MatrixView<T>(tensor));
}
template <class T>
EigenMap<const T> as_eigen(const Tensor<T>& tensor) {
  return as_eigen(MatrixView<const T>(tensor));
}

/// Column vector over a span.
template <class T>
auto as_eigen(std::span<T> values) {
  using Vector = Eigen::Matrix<std::remove_const_t<T>, Eigen::Dynamic, 1>;
  return Eigen::Map<std::conditional_t<std::is_const_v<T>, const Vector, Vector>>(
      values.data(), static_cast<Eigen::Index>(values.size()));
}

}  // namespace redoubt
