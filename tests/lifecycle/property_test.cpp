#include "redoubt/lifecycle/property.hpp"

#include <catch2/catch.hpp>

using namespace redoubt;

TEST_CASE("properties keep their type") {
  const Properties properties{{"i", 7}, {"u", std::size_t{8}}, {"d", 0.1}, {"s", "text"}, {"b", true}};
  CHECK(properties.at("i").kind == Property::Kind::integer);
  CHECK(properties.at("u").kind == Property::Kind::integer);
  CHECK(properties.at("d").kind == Property::Kind::number);
  CHECK(properties.at("s").kind == Property::Kind::text);
  CHECK(properties.at("b").kind == Property::Kind::boolean);
  CHECK(properties.at("i").to_text() == "7");
  CHECK(properties.at("d").to_text() == "0.1");
  CHECK(properties.at("s").to_text() == "text");
  CHECK(properties.at("b").to_text() == "true");
}
