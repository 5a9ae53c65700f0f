#include "redoubt/nn/schedule.hpp"

#include "redoubt/core/error.hpp"
#include "support/test_data.hpp"

using namespace redoubt;

TEST_CASE("Schedule: every kind has its shape", "[schedule]") {
  CHECK(Schedule{}.at(0, 10) == 1);
  CHECK(Schedule{}.at(9, 10) == 1);
  const Schedule warm{.kind = ScheduleKind::linear, .warmup = 0.2, .final = 0.5};
  CHECK(warm.at(0, 100) == Approx(1.0 / 21));
  CHECK(warm.at(19, 100) == Approx(20.0 / 21));
  CHECK(warm.at(20, 100) == 1);
  CHECK(warm.at(60, 100) == Approx(0.75));
  CHECK(warm.at(500, 100) == warm.at(99, 100));
  const Schedule cosine{.kind = ScheduleKind::cosine, .final = 0.1};
  CHECK(cosine.at(0, 100) == 1);
  CHECK(cosine.at(50, 100) == Approx(0.55));
  CHECK(cosine.at(99, 100) == Approx(0.1).margin(1e-3));
  const Schedule steps{.kind = ScheduleKind::step, .every = 0.25, .factor = 0.5};
  CHECK(steps.at(24, 100) == 1);
  CHECK(steps.at(25, 100) == 0.5);
  CHECK(steps.at(75, 100) == 0.125);
}

TEST_CASE("Schedule: bad options are refused by name", "[schedule]") {
  CHECK_THROWS_WITH(check(Schedule{.warmup = 1}), Catch::Contains("warmup is 1"));
  CHECK_THROWS_WITH(check(Schedule{.final = -1}), Catch::Contains("final"));
  CHECK_THROWS_WITH(check(Schedule{.every = 0}), Catch::Contains("every"));
  CHECK_THROWS_WITH(check(Schedule{.factor = 2}), Catch::Contains("factor"));
  CHECK_NOTHROW(check(Schedule{}));
}
