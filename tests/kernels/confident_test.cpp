#include "kernels/confident.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

#include "redoubt/core/random.hpp"

using namespace redoubt;
using kernels::detail::ConfidentRow;
using kernels::detail::ConfidentTable;

namespace {

template <class T, class Call>
void check_levels(Call call) {
  for (const std::size_t classes : {1u, 2u, 4u, 7u, 8u, 9u, 16u, 17u, 50u}) {
    constexpr std::size_t rows = 40;
    const std::size_t stride = classes + 3;
    Random random(classes);
    std::vector<T> p(rows * stride), least(classes);
    for (T& v : p) v = static_cast<T>(random.below(6)) / 5;  // many equal ones
    for (T& v : least) v = static_cast<T>(random.below(8)) / 5;
    least[classes / 2] = std::numeric_limits<T>::quiet_NaN();
    p[3 * stride + classes - 1] = std::numeric_limits<T>::quiet_NaN();
    p[4 * stride] = T(-0.1);
    p[5 * stride] = std::numeric_limits<T>::infinity();
    std::vector<ConfidentRow> expected(rows), found(rows);
    call(kernels::detail::naive_confident_table, p.data(), stride, rows, classes, least.data(), expected.data());
    for (std::size_t r = 0; r < rows; ++r) {
      CHECK((expected[r].sound == 1) == (r != 3 && r != 4));
      if (r == 3) continue;
      T most = -1;
      double best = -1;
      for (std::size_t c = 0; c < classes; ++c) {
        most = std::max(most, p[r * stride + c]);
        if (p[r * stride + c] >= least[c]) best = std::max<double>(best, p[r * stride + c]);
      }
      CHECK(expected[r].most == most);
      CHECK(expected[r].best == best);
      if (best >= 0) CHECK(p[r * stride + expected[r].guess] == best);
    }
    for (int level = 1; level <= static_cast<int>(detected_isa()); ++level) {
      CAPTURE(classes, level);
      call(kernels::detail::confident_table(Isa(level)), p.data(), stride, rows, classes, least.data(), found.data());
      for (std::size_t r = 0; r < rows; ++r) {
        REQUIRE(found[r].sound == expected[r].sound);
        if (r == 3) continue;  // with NaN the rest means nothing
        REQUIRE(found[r].most == expected[r].most);
        REQUIRE(found[r].best == expected[r].best);
        if (found[r].best >= 0) REQUIRE(found[r].guess == expected[r].guess);
      }
    }
  }
}

}  // namespace

TEST_CASE("confident classes of rows are those of the reference at every level", "[confident]") {
  check_levels<double>([](const ConfidentTable& t, auto... values) { t.fp64(values...); });
  check_levels<float>([](const ConfidentTable& t, auto... values) { t.fp32(values...); });
}
