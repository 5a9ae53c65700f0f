#include "redoubt/core/random.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <vector>

using namespace redoubt;

TEST_CASE("Philox4x32-10 gives the published values", "[random]") {
  // kat_vectors of the Random123 distribution, D. E. Shaw Research.
  using Block = std::array<std::uint32_t, 4>;
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t ones = 0xffffffff;
  CHECK(philox4x32({ones, ones, ones, ones}, {ones, ones}) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a generator is the Philox stream of its seed and stream number", "[random]") {
  Random random(0x0123456789abcdef, 0xfedcba9876543210);
  const std::array<std::uint32_t, 2> key = {0x89abcdef, 0x01234567};
  for (std::uint32_t block = 0; block < 3; ++block)
    for (std::uint32_t expected : philox4x32({block, 0, 0x76543210, 0xfedcba98}, key)) CHECK(random() == expected);
  Random same(1, 2), again(1, 2), other_stream(1, 3), other_seed(2, 2);
  const std::uint64_t first = same.next64();
  CHECK(first == again.next64());
  CHECK(first != other_stream.next64());
  CHECK(first != other_seed.next64());
}

TEST_CASE("uniform numbers have the moments of a uniform distribution", "[random]") {
  Random random(7);
  const int n = 200000;
  double sum = 0, squares = 0;
  for (int i = 0; i < n; ++i) {
    const double u = random.uniform();
    REQUIRE(u >= 0);
    REQUIRE(u < 1);
    sum += u;
    squares += u * u;
  }
  CHECK(std::abs(sum / n - 0.5) < 5 / std::sqrt(12.0 * n));  // five standard errors
  CHECK(std::abs(squares / n - 1.0 / 3) < 5 * std::sqrt(4.0 / 45 / n));
  for (int i = 0; i < 1000; ++i) {
    const double u = random.uniform(-2, 3);
    REQUIRE((u >= -2 && u < 3));
  }
}

TEST_CASE("normal numbers have the moments of a normal distribution", "[random]") {
  Random random(8);
  const int n = 200000;
  double sum = 0, squares = 0, fourth = 0;
  for (int i = 0; i < n; ++i) {
    const double x = random.normal();
    REQUIRE(std::isfinite(x));
    sum += x, squares += x * x, fourth += x * x * x * x;
  }
  CHECK(std::abs(sum / n) < 5 / std::sqrt(n));
  CHECK(std::abs(squares / n - 1) < 5 * std::sqrt(2.0 / n));
  CHECK(std::abs(fourth / n - 3) < 5 * std::sqrt(96.0 / n));
}

TEST_CASE("bounded numbers are unbiased", "[random]") {
  Random random(9);
  for (const std::uint64_t bound : {1ull, 2ull, 7ull, 1000ull}) {
    std::vector<int> counts(bound);
    const int n = 70000;
    for (int i = 0; i < n; ++i) {
      const std::uint64_t value = random.below(bound);
      REQUIRE(value < bound);
      ++counts[value];
    }
    double chi_square = 0;
    for (int count : counts) chi_square += std::pow(count - double(n) / double(bound), 2) / (double(n) / double(bound));
    CHECK(chi_square <= double(bound) - 1 + 6 * std::sqrt(2.0 * double(bound)));
  }
  // A bound just above half of the range rejects nearly half of the draws.
  for (int i = 0; i < 1000; ++i) CHECK(random.below((1ull << 63) + 1) <= 1ull << 63);
}

TEST_CASE("a shuffle is a permutation, and every place is equally likely", "[random]") {
  std::vector<int> first_place(5);
  for (std::uint64_t seed = 0; seed < 20000; ++seed) {
    std::vector<std::uint32_t> values(5);
    std::iota(values.begin(), values.end(), 0u);
    Random(seed).shuffle(std::span(values));
    ++first_place[values[0]];
    std::sort(values.begin(), values.end());
    for (std::uint32_t i = 0; i < 5; ++i) REQUIRE(values[i] == i);
  }
  for (int count : first_place) CHECK(std::abs(count - 4000) < 6 * std::sqrt(4000 * 0.8));
  std::vector<std::uint64_t> empty;
  Random(1).shuffle(std::span(empty));
  CHECK(empty.empty());
}
