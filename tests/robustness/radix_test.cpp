#include "robustness/radix.hpp"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "redoubt/core/random.hpp"

using namespace redoubt;

namespace {

void check(detail::FloatOrder& order, const std::vector<float>& values) {
  std::vector<std::uint32_t> expected(values.size());
  std::iota(expected.begin(), expected.end(), 0u);
  std::stable_sort(expected.begin(), expected.end(), [&](auto a, auto b) { return values[a] < values[b]; });
  order.sort(values.size(), [&](std::size_t i) { return values[i]; });
  REQUIRE(order.size() == values.size());
  for (std::size_t r = 0; r < values.size(); ++r) {
    REQUIRE(order.position(r) == expected[r]);
    if (r > 0) REQUIRE((order.key(r - 1) == order.key(r)) == (values[expected[r - 1]] == values[expected[r]]));
  }
}

}  // namespace

TEST_CASE("floats are ordered as a stable sort orders them", "[radix]") {
  detail::FloatOrder order;  // one for all: it keeps its memory
  Random random(3);
  check(order, {});
  check(order, {1.5f});
  check(order, std::vector<float>(100, -2.0f));
  check(order, {0.0f, -0.0f, 1.0f, -1.0f, -0.0f, 0.0f, std::numeric_limits<float>::max(),
                -std::numeric_limits<float>::max(), std::numeric_limits<float>::denorm_min()});
  for (const std::size_t n : {7u, 1000u, 20000u}) {
    std::vector<float> normal(n), whole(n), alike(n);
    for (float& v : normal) v = static_cast<float>(random.normal());
    for (float& v : whole) v = static_cast<float>(random.below(7)) - 3;
    for (std::size_t i = 0; i < n; ++i)
      alike[i] = std::bit_cast<float>(0x3f800000u + static_cast<std::uint32_t>((n - i) % 2048));
    std::vector<float> tiny = normal, far = alike, opposite = normal, tailed = normal, two = normal;
    for (float& v : tailed) v = std::exp(4 * v);
    for (float& v : two) v = v > 0 ? 1.0f : 0.0f;
    for (float& v : tiny) v *= 1e-40f;
    // One value so far away that all others share a place; they differ in their lowest bits, the largest first:
    // insertion gives up.
    far.back() = 1e30f;
    opposite.front() = -std::numeric_limits<float>::max(), opposite.back() = std::numeric_limits<float>::max();
    for (const auto* values : {&normal, &whole, &alike, &tiny, &far, &opposite, &tailed, &two}) check(order, *values);
    std::sort(normal.begin(), normal.end());
    check(order, normal);
    std::reverse(normal.begin(), normal.end());
    check(order, normal);
  }
}
