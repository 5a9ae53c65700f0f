#include "kernels/near.hpp"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/emulated_tiles.hpp"
#include "redoubt/core/random.hpp"

using namespace redoubt;
using kernels::detail::near_panel;
using kernels::detail::near_rows;
using kernels::detail::NearBlocks;

namespace {

/// Small whole numbers: sums are exact in any order, in bf16 as in fp32.
float whole(Random& random) { return static_cast<float>(random.below(9)) - 4; }

float word(Random& random, bool narrow) {
  if (!narrow) return whole(random);
  const auto low = std::bit_cast<std::uint32_t>(whole(random)), high = std::bit_cast<std::uint32_t>(whole(random));
  return std::bit_cast<float>(low >> 16 | high);
}

}  // namespace

TEST_CASE("near pairs are those of the reference at every level, NaN among them", "[near]") {
  for (const bool narrow : {false, true})
    for (const std::size_t words : {0u, 1u, 2u, 17u, 50u}) {
      const std::size_t depth = narrow ? kernels::detail::near_depth(words) : words;
      constexpr std::size_t groups = 8, panels = 2, rows = groups * near_rows, cols = panels * near_panel;
      Random random(depth);
      // What lies between the rows on the left must not matter.
      const std::size_t a_row = depth + 3;
      std::vector<float> a(rows * a_row, std::numeric_limits<float>::quiet_NaN()), b(cols * depth), start(cols),
          reach(cols), base(rows), own(rows);
      for (std::size_t i = 0; i < rows; ++i)
        for (std::size_t k = 0; k < depth; ++k) a[i * a_row + k] = word(random, narrow);
      for (float& v : b) v = word(random, narrow);
      for (auto* values : {&start, &reach, &base})
        for (float& v : *values) v = whole(random);
      for (float& v : own) v = static_cast<float>(static_cast<double>(depth) * 8 + whole(random));
      start[50] = std::numeric_limits<float>::quiet_NaN();
      own[5] = base[5] = std::numeric_limits<float>::infinity();
      reach[7] = -std::numeric_limits<float>::infinity();
      std::vector<std::uint64_t> expected(rows * panels), found(rows * panels, 1);
      NearBlocks blocks{.a = a.data(),
                        .a_row = a_row,
                        .groups = groups,
                        .b = b.data(),
                        .panels = panels,
                        .depth = depth,
                        .start = start.data(),
                        .reach = reach.data(),
                        .base = base.data(),
                        .own = own.data(),
                        .hits = expected.data()};
      narrow ? kernels::naive::near_bf16(blocks) : kernels::naive::near_fp32(blocks);
      std::size_t hits = 0;
      for (const std::uint64_t bits : expected) hits += static_cast<std::size_t>(std::popcount(bits));
      CHECK((hits > rows && hits < rows * cols - rows));
      CHECK((expected[rows + 9] >> 2 & 1) == 1);  // NaN
      blocks.hits = found.data();
      for (int level = 0; level <= static_cast<int>(detected_isa()); ++level) {
        const auto kernel = narrow ? kernels::detail::near_bf16(Isa(level)) : kernels::detail::near_fp32(Isa(level));
        if (!kernel) continue;
        std::fill(found.begin(), found.end(), ~std::uint64_t{0});
        kernel(blocks);
        CHECK(found == expected);
      }
      if (!narrow) continue;
      std::fill(found.begin(), found.end(), ~std::uint64_t{0});
      kernels::detail::near_tiles<test::EmulatedNear>(blocks);
      CHECK(found == expected);
    }
}
