#include "redoubt/core/error.hpp"

#include <catch2/catch.hpp>
#include <cstring>

using namespace redoubt;

TEST_CASE("every code has a name of its own", "[error]") {
  for (int i = 0; i <= int(errc::internal); ++i) {
    CHECK(std::strcmp(to_string(errc(i)), "unknown") != 0);
    for (int j = 0; j < i; ++j) CHECK(std::strcmp(to_string(errc(i)), to_string(errc(j))) != 0);
  }
  CHECK(std::strcmp(to_string(errc(200)), "unknown") == 0);
}

TEST_CASE("an error carries its code and message", "[error]") {
  try {
    detail::fail(errc::shape_mismatch, "3 is not 4");
  } catch (const std::runtime_error& error) {
    CHECK(std::strcmp(error.what(), "3 is not 4") == 0);
    REQUIRE(dynamic_cast<const Error*>(&error));
    CHECK(dynamic_cast<const Error&>(error).code() == errc::shape_mismatch);
  }
}
