#include "redoubt/core/view.hpp"

#include <catch2/catch.hpp>
#include <type_traits>
#include <vector>

#include "redoubt/core/tensor.hpp"

using namespace redoubt;

namespace {
float corner(MatrixView<const float> m) { return m(m.rows() - 1, m.cols() - 1); }
void fill(MatrixView<float> m, float value) {
  for (std::size_t r = 0; r < m.rows(); ++r)
    for (float& x : m.row(r)) x = value;
}
std::size_t count(TensorView<const float> t) { return t.size(); }

/// A stranger with data() and shape(), as xtensor's containers have them.
struct Foreign {
  std::vector<float> values = {1, 2, 3, 4, 5, 6};
  std::vector<int> extents = {2, 3};
  const float* data() const { return values.data(); }
  float* data() { return values.data(); }
  const std::vector<int>& shape() const { return extents; }
};
}  // namespace

TEST_CASE("views convert implicitly from tensors and from strangers with data and shape", "[view]") {
  Tensor<float> t({2, 3});
  t(1, 2) = 9;
  CHECK(corner(t) == 9);
  CHECK(corner(std::as_const(t)) == 9);
  CHECK(count(t) == 6);
  fill(t, 4);
  CHECK(t(0, 0) == 4);
  Foreign foreign;
  CHECK(corner(foreign) == 6);
  fill(foreign, 8);
  CHECK(foreign.values[5] == 8);
  const MatrixView<float> mutable_view = t;
  CHECK(corner(mutable_view) == 4);
  CHECK(mutable_view.data() == t.data());
}

TEST_CASE("a view never drops const and never changes the element type", "[view]") {
  static_assert(std::is_convertible_v<Tensor<float>&, MatrixView<float>>);
  static_assert(!std::is_convertible_v<const Tensor<float>&, MatrixView<float>>);
  static_assert(!std::is_convertible_v<Tensor<double>&, MatrixView<float>>);
  static_assert(!std::is_convertible_v<MatrixView<const float>, MatrixView<float>>);
  static_assert(!std::is_convertible_v<Tensor<float>, MatrixView<float>>);  // a temporary would dangle
  SUCCEED();
}

TEST_CASE("strides and slices address the same storage", "[view]") {
  std::vector<float> storage(4 * 10);
  for (std::size_t i = 0; i < storage.size(); ++i) storage[i] = float(i);
  const MatrixView<float> view(storage.data(), 4, 3, 10);
  CHECK(view(2, 1) == 21);
  CHECK(view.row(3).size() == 3);
  CHECK(view.row(3)[2] == 32);
  const auto middle = view.slice(1, 3);
  CHECK(middle.rows() == 2);
  CHECK(middle.stride() == 10);
  CHECK(middle(0, 0) == 10);
}

TEST_CASE("ranks that do not fit are refused with the rank in the message", "[view]") {
  Tensor<float> cube({2, 2, 2});
  CHECK_THROWS_WITH(corner(cube), Catch::Contains("2 dimensions, got 3"));
  const std::vector<std::size_t> shape(7, 1);
  float value = 0;
  CHECK_THROWS_AS(TensorView<float>(&value, shape), Error);
  CHECK(TensorView<float>().size() == 0);
}
