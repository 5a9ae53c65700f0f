#include "redoubt/core/version.hpp"

#include <fmt/format.h>

#include <catch2/catch.hpp>

TEST_CASE("the linked library reports the version of the headers", "[version]") {
  CHECK(redoubt::version() ==
        fmt::format("{}.{}.{}", REDOUBT_VERSION_MAJOR, REDOUBT_VERSION_MINOR, REDOUBT_VERSION_PATCH));
}
