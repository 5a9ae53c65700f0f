#include "redoubt/serve/admission.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <string>

#include "lifecycle/sample.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/robustness/monitor/input_guard.hpp"
#include "redoubt/serve/observer.hpp"
#include "serve/protocol.hpp"

using namespace redoubt;

TEST_CASE("a caller's bucket empties and fills again, callers apart", "[admission]") {
  RateLimiter limiter({.rows_per_second = 2, .burst = 10});
  const auto ask = [&](const char* caller, std::size_t rows, double at) {
    return limiter.admit_at({.caller = caller, .rows = rows}, at);
  };
  CHECK(ask("a", 10, 100) == Admission::allowed);
  CHECK(ask("a", 1, 100) == Admission::limited);
  CHECK(ask("b", 5, 100) == Admission::allowed);
  CHECK(ask("a", 2, 101) == Admission::allowed);
  CHECK(ask("a", 1, 101) == Admission::limited);
  CHECK(ask("a", 10, 1000) == Admission::allowed);  // never more than the burst
  CHECK(ask("a", 1, 1000) == Admission::limited);
  CHECK(ask("b", 11, 2000) == Admission::limited);
  CHECK(limiter.limited() == 4);
}

TEST_CASE("all callers together have a limit, and a refusal costs nothing", "[admission]") {
  RateLimiter limiter({.rows_per_second = 1, .burst = 5, .all_rows_per_second = 1, .all_burst = 20});
  int allowed = 0;
  for (int c = 0; c < 100; ++c)  // one attacker, a hundred accounts
    allowed += limiter.admit_at({.caller = "account " + std::to_string(c), .rows = 1}, 50) == Admission::allowed;
  CHECK(allowed == 20);
  CHECK(limiter.admit_at({.caller = "account 99", .rows = 5}, 56) == Admission::allowed);
}

TEST_CASE("memory of the rate limiter is fixed, authorisation comes first, bad options are named", "[admission]") {
  struct Closed final : Gatekeeper {
    Admission admit(const AdmissionRequest& request) noexcept override {
      return request.authorization == "Bearer key" ? Admission::allowed
             : request.authorization.empty()       ? Admission::unauthenticated
                                                   : Admission::forbidden;
    }
  } closed;
  RateLimiter limiter({.callers = 64, .first = &closed});
  const std::size_t before = limiter.memory_bytes();
  for (int c = 0; c < 10000; ++c)
    CHECK(limiter.admit_at({.caller = std::to_string(c), .authorization = "Bearer key"}, c) == Admission::allowed);
  CHECK(limiter.memory_bytes() == before);
  CHECK(limiter.admit({.caller = "x"}) == Admission::unauthenticated);
  CHECK(limiter.admit({.caller = "x", .authorization = "Bearer other"}) == Admission::forbidden);
  CHECK_THROWS_WITH(RateLimiter({.rows_per_second = 0}), Catch::Contains("rows_per_second"));
  CHECK_THROWS_WITH(RateLimiter({.burst = 0}), Catch::Contains("burst"));
  CHECK_THROWS_WITH(RateLimiter({.all_rows_per_second = -1}), Catch::Contains("all_rows_per_second"));
  CHECK_THROWS_WITH(RateLimiter({.callers = 1}), Catch::Contains("callers"));
}

TEST_CASE("a served model asks the gatekeeper and the guard", "[admission]") {
  const auto data = test::sample_rows(400, 1);
  const auto model = test::sample_model(data);
  InputGuard guard(model.encoder(), data, {.missing = GuardAction::ignore, .range = GuardAction::clip});
  RateLimiter limiter({.rows_per_second = 1e-6, .burst = 4});
  detail::Protocol protocol({.gatekeeper = &limiter, .guard = &guard});
  protocol.set_model("m", model, "1");
  std::vector<float> raw(model.inputs());
  model.encoder().raw_row(data.row(7), raw);
  std::size_t numeric = 0;
  while (model.schema()[numeric].type != ColumnType::numeric) ++numeric;
  const auto ask = [&](std::vector<float> row) {
    const nlohmann::json body = {
        {"inputs", {{{"name", "rows"}, {"datatype", "FP32"}, {"shape", {1, row.size()}}, {"data", row}}}}};
    const std::string text = body.dump();
    return protocol.handle({.method = "POST", .target = "/v2/models/m/infer", .body = text, .caller = "c"});
  };
  CHECK(ask(raw).status == 200);
  raw[numeric] = 1e30f;  // clipped
  const auto far = ask(raw);
  CHECK(far.status == 200);
  raw[numeric] = 1e35f;
  CHECK(ask(raw).body == far.body);  // both became the end of the range
  CHECK(guard.count(GuardAction::clip) == 2);
  InputGuard strict(model.encoder(), data, {.range = GuardAction::reject});
  detail::Protocol closed({.guard = &strict});
  closed.set_model("m", model, "1");
  const nlohmann::json body = {
      {"inputs", {{{"name", "rows"}, {"datatype", "FP32"}, {"shape", {1, raw.size()}}, {"data", raw}}}}};
  const std::string text = body.dump();
  const auto refused = closed.handle({.method = "POST", .target = "/v2/models/m/infer", .body = text, .caller = "c"});
  CHECK(refused.status == 422);
  CHECK(refused.body.find(model.schema()[numeric].name) != std::string::npos);
  CHECK(ask(raw).status == 200);
  CHECK(ask(raw).status == 429);  // the fifth row of a burst of four
}
