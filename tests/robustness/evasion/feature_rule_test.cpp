#include "redoubt/robustness/evasion/feature_rule.hpp"

#include <catch2/catch.hpp>

TEST_CASE("a rule allows everything unless told otherwise", "[feature_rule]") {
  const redoubt::FeatureRule rule;
  CHECK_FALSE(rule.fixed);
  CHECK_FALSE(rule.whole);
  CHECK(rule.lower < -3e38f);
  CHECK(rule.upper > 3e38f);
  CHECK(rule.unit == 1);
  CHECK(rule.group == 0);
}
