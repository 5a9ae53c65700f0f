#include "redoubt/data/read.hpp"

#include <catch2/catch.hpp>
#include <fstream>

#include "redoubt/core/error.hpp"
#include "redoubt/data/npy.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

TEST_CASE("read: the ending picks the reader, the options give the roles", "[read]") {
  test::TempDir dir;
  std::ofstream(dir / "a.csv") << "a;b\n1;x\n2;y\n";
  std::ofstream(dir / "a.ARFF") << "@relation r\n@attribute a numeric\n@attribute b {x,y}\n@data\n1,x\n2,y\n";
  std::ofstream(dir / "a.svm") << "0 1:5\n1 1:6\n";
  std::ofstream(dir / "dir.arff.d") << "a\tb\n1\tx\n2\ty\n";
  Tensor<double> x{2, 2};
  x(1, 1) = 3;
  write_npy(x, dir / "a.npy");
  CHECK(read_file(dir / "a.csv", {.target = "b"}).classes().size() == 2);
  CHECK(read_file(dir / "a.ARFF").task() == Task::classification);
  CHECK(read_file(dir / "a.ARFF", {.target = "a"}).task() == Task::regression);
  CHECK(read_file(dir / "a.svm").task() == Task::classification);
  CHECK(read_file(dir / "a.svm", {.target = "f1"}).schema()[1].role == ColumnRole::feature);
  CHECK(read_file(dir / "a.npy", {.weight = "f1"}).weights()[1] == 3);
  CHECK(read_file(dir / "dir.arff.d").cols() == 2);
  CHECK_THROWS_AS(read_file(dir / "a.npy", {.target = "nope"}), Error);
  REDOUBT_NEED_DATA(npz, "adbench/6_cardio.npz");
  CHECK(read_file(npz).task() == Task::classification);
}
