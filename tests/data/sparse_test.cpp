#include "redoubt/data/sparse.hpp"

#include <catch2/catch.hpp>

using namespace redoubt;

TEST_CASE("a sparse dataset is viewed without copying", "[sparse]") {
  SparseDataset data;
  CHECK(data.rows() == 0);
  CHECK(data.view().rows() == 0);
  data.row_offsets = {0, 2, 2};
  data.columns = {1, 4};
  data.values = {0.5f, -1};
  data.cols = 5;
  const CsrView view = data.view();
  CHECK(view.rows() == 2);
  CHECK(view.cols == 5);
  CHECK(view.values.data() == data.values.data());
  CHECK(view.columns[1] == 4);
  CHECK(CsrView{}.rows() == 0);
}
