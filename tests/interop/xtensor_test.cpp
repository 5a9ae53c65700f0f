#include "redoubt/interop/xtensor.hpp"

#include <catch2/catch.hpp>
#include <xtensor/xarray.hpp>
#include <xtensor/xtensor.hpp>
#include <xtensor/xview.hpp>

using namespace redoubt;

namespace {
template <class C>
concept Viewable = requires(C& c) { as_view(c); };
float last(MatrixView<const float> m) { return m(m.rows() - 1, m.cols() - 1); }
std::size_t rank(TensorView<const float> t) { return t.rank(); }
}  // namespace

TEST_CASE("an xtensor container is viewed in place", "[interop][xtensor]") {
  xt::xarray<float> array = xt::xarray<float>::from_shape({2, 3, 4});
  for (std::size_t i = 0; i < array.size(); ++i) array.data()[i] = float(i);
  const TensorView<float> view = as_view(array);
  CHECK(view.data() == array.data());
  REQUIRE(view.rank() == 3);
  CHECK(view.extent(2) == 4);
  view.flat()[23] = -1;
  CHECK(array(1, 2, 3) == -1);
  const auto& constant = array;
  static_assert(std::is_same_v<decltype(as_view(constant)), TensorView<const float>>);
  CHECK(rank(array) == 3);  // implicitly
  xt::xtensor<float, 2> matrix = {{1, 2}, {3, 4}, {5, 6}};
  CHECK(last(matrix) == 6);
  CHECK(MatrixView<float>(matrix).data() == matrix.data());
  xt::xtensor<float, 2> thin = {{1}, {2}};  // xtensor gives an extent of 1 the stride 0
  CHECK(last(thin) == 2);
}

TEST_CASE("what is not dense and row-major is refused, never misread", "[interop][xtensor]") {
  using ColumnMajor = xt::xarray<float, xt::layout_type::column_major>;
  static_assert(Viewable<xt::xarray<float>>);
  static_assert(!Viewable<ColumnMajor>);
  ColumnMajor columns = {{1, 2, 3}, {4, 5, 6}};
  CHECK_THROWS_WITH(last(columns), Catch::Contains("row-major"));  // the implicit conversion checks at run time
  xt::xarray<float, xt::layout_type::dynamic> dynamic(std::vector<std::size_t>{2, 3}, xt::layout_type::column_major);
  CHECK_THROWS_AS(as_view(dynamic), Error);
  xt::xtensor<float, 2> matrix = {{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
  auto middle = xt::view(matrix, xt::range(1, 3), xt::all());
  CHECK(as_view(middle).data() == &matrix(1, 0));  // contiguous rows: the offset counts
  CHECK(last(middle) == 9);
  auto inner = xt::view(matrix, xt::all(), xt::range(0, 2));
  CHECK_THROWS_AS(as_view(inner), Error);
}

TEST_CASE("xtensor adapts Redoubt's storage in place", "[interop][xtensor]") {
  Tensor<float> tensor({2, 3, 4});
  auto adapted = as_xtensor(tensor);
  CHECK(adapted.data() == tensor.data());
  adapted(1, 2, 3) = 7;
  CHECK(tensor.flat()[23] == 7);
  const Tensor<float>& constant = tensor;
  auto read_only = as_xtensor(constant);
  CHECK(read_only.data() == tensor.data());
  CHECK(read_only(1, 2, 3) == 7);
  CHECK(as_view(adapted).data() == tensor.data());

  std::vector<float> storage(30);
  const MatrixView<float> padded(storage.data(), 3, 4, 10);
  auto matrix = as_xtensor(padded);
  CHECK(matrix.data() == storage.data());
  CHECK(matrix.shape()[1] == 4);
  matrix(2, 3) = 5;
  CHECK(storage[23] == 5);
  matrix.fill(1);
  CHECK(storage[3] == 1);
  float total = 0;
  for (float value : storage) total += value;
  CHECK(total == 12);  // the padding is untouched
  const MatrixView<float> one_row(storage.data(), 1, 4, 10), one_column(storage.data(), 3, 1, 10);
  CHECK(as_xtensor(one_row)(0, 3) == 1);
  CHECK(as_xtensor(one_column)(2, 0) == 1);
}
