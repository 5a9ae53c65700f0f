#include "redoubt/core/runtime.hpp"

#include <catch2/catch.hpp>

extern "C" {
void openblas_set_num_threads(int threads);
int openblas_get_num_threads(void);
int openblas_get_parallel(void);
}

using namespace redoubt;

TEST_CASE("OpenBLAS keeps its threads until the option says otherwise", "[runtime]") {
  if (openblas_get_parallel() == 0) {
    CHECK(openblas_threads() == 1);
    WARN("SKIPPED: this OpenBLAS is the serial build");
    return;
  }
  openblas_set_num_threads(2);
  REQUIRE(openblas_get_num_threads() == 2);
  CHECK(openblas_threads() == 2);
  configure({});
  CHECK(openblas_get_num_threads() == 2);
  configure({.single_threaded_openblas = true});
  CHECK(openblas_get_num_threads() == 1);
  CHECK(openblas_threads() == 1);
}
