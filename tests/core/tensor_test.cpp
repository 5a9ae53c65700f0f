#include "redoubt/core/tensor.hpp"

#include <catch2/catch.hpp>
#include <cstdint>

using namespace redoubt;

TEST_CASE("a tensor is zero-filled, row-major and aligned", "[tensor]") {
  for (const std::size_t cols : {1, 3, 16, 100}) {
    Tensor<float> t({7, cols});
    REQUIRE(t.size() == 7 * cols);
    CHECK(reinterpret_cast<std::uintptr_t>(t.data()) % tensor_alignment == 0);
    for (float value : t.flat()) CHECK(value == 0);
    t(2, cols - 1) = 5;
    CHECK(t.data()[2 * cols + cols - 1] == 5);
    CHECK(t.row(2)[cols - 1] == 5);
    CHECK(t.row(2).size() == cols);
  }
}

TEST_CASE("a tensor knows its shape", "[tensor]") {
  const Tensor<double> t({2, 3, 4});
  CHECK(t.rank() == 3);
  CHECK(t.extent(2) == 4);
  CHECK(t.rows() == 2);
  CHECK(t.cols() == 3);
  CHECK(t.size() == 24);
  CHECK(Tensor<int>().size() == 0);
  CHECK(Tensor<int>({5}).cols() == 1);
  CHECK(Tensor<int>({0, 9}).size() == 0);
}

TEST_CASE("tensors are values", "[tensor]") {
  Tensor<int> a({2, 2});
  a(1, 1) = 3;
  Tensor<int> b = a;
  CHECK(a == b);
  b(0, 0) = 1;
  CHECK(a(0, 0) == 0);
  CHECK_FALSE(a == b);
  CHECK_FALSE(Tensor<int>({1, 4}) == Tensor<int>({4, 1}));
}

TEST_CASE("impossible shapes are refused", "[tensor]") {
  CHECK_THROWS_WITH(Tensor<float>({1, 1, 1, 1, 1, 1, 1}), Catch::Contains("at most 6") && Catch::Contains("got 7"));
  try {
    Tensor<float>({std::size_t{1} << 40, std::size_t{1} << 40});
    FAIL("an overflowing shape was accepted");
  } catch (const Error& error) {
    CHECK(error.code() == errc::shape_mismatch);
  }
}
