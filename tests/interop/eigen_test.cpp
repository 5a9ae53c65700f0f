#include "redoubt/interop/eigen.hpp"

#include <catch2/catch.hpp>

using namespace redoubt;

namespace {
using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class M>
concept Viewable = requires(M& m) { as_view(m); };
}  // namespace

TEST_CASE("a row-major Eigen matrix is viewed in place", "[interop][eigen]") {
  RowMajor matrix = RowMajor::Random(5, 7);
  const MatrixView<float> view = as_view(matrix);
  CHECK(view.data() == matrix.data());
  REQUIRE(view.rows() == 5);
  REQUIRE(view.cols() == 7);
  for (std::size_t r = 0; r < 5; ++r)
    for (std::size_t c = 0; c < 7; ++c) CHECK(view(r, c) == matrix(Eigen::Index(r), Eigen::Index(c)));
  view(4, 6) = 42;
  CHECK(matrix(4, 6) == 42);
  const RowMajor& constant = matrix;
  static_assert(std::is_same_v<decltype(as_view(constant)), MatrixView<const float>>);
  CHECK(as_view(constant).data() == matrix.data());
}

TEST_CASE("blocks, maps and refs keep their stride", "[interop][eigen]") {
  RowMajor matrix = RowMajor::Random(6, 9);
  auto block = matrix.block(1, 2, 3, 4);
  const auto view = as_view(block);
  CHECK(view.data() == &matrix(1, 2));
  CHECK(view.stride() == 9);
  CHECK(view(2, 3) == matrix(3, 5));
  Eigen::Ref<RowMajor, 0, Eigen::OuterStride<>> ref(block);
  CHECK(as_view(ref).data() == &matrix(1, 2));
  std::vector<float> storage(40);
  Eigen::Map<RowMajor, 0, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>> strided(
      storage.data(), 4, 5, Eigen::Stride<Eigen::Dynamic, Eigen::Dynamic>(10, 2));
  CHECK_THROWS_AS(as_view(strided), Error);
}

TEST_CASE("a column-major Eigen matrix does not compile into a view, its transpose does", "[interop][eigen]") {
  static_assert(Viewable<RowMajor>);
  static_assert(!Viewable<Eigen::MatrixXf>);
  static_assert(!Viewable<const Eigen::MatrixXd>);
  Eigen::MatrixXf matrix = Eigen::MatrixXf::Random(3, 4);
  auto transposed = matrix.transpose();
  const auto view = as_view(transposed);
  CHECK(view.data() == matrix.data());
  CHECK(view.rows() == 4);
  CHECK(view(3, 1) == matrix(1, 3));
}

TEST_CASE("Eigen maps Redoubt's storage in place", "[interop][eigen]") {
  Tensor<double> tensor({4, 3});
  auto map = as_eigen(tensor);
  CHECK(map.data() == tensor.data());
  map(2, 1) = 8;
  CHECK(tensor(2, 1) == 8);
  const Tensor<double>& constant = tensor;
  CHECK(as_eigen(constant).data() == tensor.data());
  static_assert(std::is_same_v<decltype(as_eigen(constant).data()), const double*>);

  std::vector<float> storage(50);
  const MatrixView<float> padded(storage.data(), 5, 4, 10);
  auto strided = as_eigen(padded);
  strided.setOnes();
  CHECK(strided.data() == storage.data());
  CHECK(storage[3] == 1);
  CHECK(storage[4] == 0);
  CHECK(storage[43] == 1);
  // And back: the same view.
  const auto again = as_view(strided);
  CHECK(again.data() == padded.data());
  CHECK(again.stride() == 10);

  Tensor<float> cube({2, 2, 2});
  CHECK_THROWS_AS(as_eigen(cube), Error);
}

TEST_CASE("vectors and spans share storage", "[interop][eigen]") {
  Eigen::VectorXf column(5);
  Eigen::RowVectorXd row(3);
  CHECK(as_span(column).data() == column.data());
  CHECK(as_span(row).size() == 3);
  std::vector<float> values = {3, 4};
  auto vector = as_eigen(std::span(values));
  CHECK(vector.data() == values.data());
  CHECK(vector.norm() == 5);
  RowMajor matrix(4, 4);
  auto diagonal_like = matrix.col(1);
  CHECK_THROWS_AS(as_span(diagonal_like), Error);
}
