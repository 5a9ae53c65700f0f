#include "redoubt/trees/boosting_callback.hpp"

#include <catch2/catch.hpp>
#include <stdexcept>

#include "trees/boosting_support.hpp"

namespace redoubt {
namespace {

TEST_CASE("a history holds the metrics of every round", "[boosting_callback]") {
  const auto& golden = test::boosting_golden();
  const TreeTarget y{.values = golden.value};
  BoostingHistory history;
  GradientBoostingOptions options{.trees = 12, .metrics = {"rmse", "l1"}, .callback = &history};
  const auto forest =
      GradientBoosting{options}.fit_encoded(golden.x, {}, y, {.validation = golden.x, .validation_target = y});
  CHECK(history.metrics == options.metrics);
  REQUIRE(history.values.size() == 12);
  double squares = 0;
  for (std::size_t r = 0; r < 240; ++r)
    squares += std::pow(test::predict_row(*forest, golden.x.row(r))[0] - golden.value[r], 2);
  CHECK(history.values.back()[0] == Approx(std::sqrt(squares / 240)).epsilon(1e-6));
  for (std::size_t i = 1; i < 12; ++i) CHECK(history.values[i][0] < history.values[i - 1][0]);
}

TEST_CASE("a callback can stop and can throw", "[boosting_callback]") {
  struct Stop : BoostingCallback {
    std::size_t seen = 0;
    bool thrower = false;
    bool after_round(const BoostingRound& round) override {
      CHECK(round.round == ++seen);
      CHECK(round.rounds == 30);
      CHECK(round.values.empty());  // no validation rows
      if (thrower) throw std::runtime_error("enough");
      return round.round < 4;
    }
  } stop;
  const auto& golden = test::boosting_golden();
  const GradientBoosting boosting{{.trees = 30, .callback = &stop}};
  CHECK(boosting.fit_encoded(golden.x, {}, {.values = golden.value})->trees() == 4);
  stop.seen = 0;
  stop.thrower = true;
  CHECK_THROWS_WITH(boosting.fit_encoded(golden.x, {}, {.values = golden.value}), "enough");
}

}  // namespace
}  // namespace redoubt
