#include "redoubt/advisor/advisor.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sstream>

#include "lifecycle/sample.hpp"
#include "redoubt/core/error.hpp"
#include "redoubt/core/parallel.hpp"

using namespace redoubt;

namespace {
struct Fixture {
  Dataset data = test::sample_rows(300, 1);
  Model model = test::sample_model(data);
};
}  // namespace

TEST_CASE("latency of single rows and of batches is measured") {
  const Fixture f;
  const auto one = measure_latency(f.model, f.data, 1, {.calls = 300});
  CHECK(one.calls == 300);
  CHECK(one.threads == 1);
  CHECK(one.p50_us > 0);
  CHECK(one.p50_us <= one.p95_us);
  CHECK(one.p95_us <= one.p99_us);
  CHECK(one.p99_us <= one.max_us);
  CHECK(one.rows_per_second == Approx(1e6 / one.mean_us));
  const auto batch = measure_latency(f.model, f.data, 2, {.batch = 256, .calls = 40});
  CHECK(batch.threads == 2);
  CHECK(batch.rows_per_second == Approx(256e6 / batch.mean_us));
  CHECK(nlohmann::json::parse(batch.to_json())["batch"] == 256);
}

TEST_CASE("measuring ends in time, after enough calls") {
  const Fixture f;
  const auto latency =
      measure_latency(f.model, f.data, 1, {.batch = 4096, .calls = 1000000, .warm_up = 0, .max_seconds = 1e-6});
  CHECK(latency.calls == 20);
}

TEST_CASE("the smallest thread count within the budget is named and verified") {
  const Fixture f;
  const auto easy = recommend(f.model, f.data, 1e7, {.batch = 64, .calls = 40});
  CHECK(easy.met);
  CHECK(easy.threads == 1);
  CHECK(easy.measured.size() == 1);
  CHECK(easy.verified.p95_us <= 1e7);
  CHECK(easy.verified.calls == 40);

  const auto hopeless = recommend(f.model, f.data, 1e-3, {.batch = 64, .calls = 40});
  CHECK_FALSE(hopeless.met);
  CHECK(hopeless.threads == 0);
  CHECK(hopeless.measured.back().threads == available_cpus());
  CHECK(hopeless.summary.find("no thread count") == 0);

  const auto single = recommend(f.model, f.data, 1e-3, {.calls = 40});
  CHECK(single.measured.size() == 1);
  const auto json = nlohmann::json::parse(easy.to_json());
  CHECK(json["met"] == true);
  CHECK(json["threads"] == 1);
  CHECK(json["usable_cpus"] == available_cpus());
  CHECK_FALSE(json["cpu"].get<std::string>().empty());
  CHECK(nlohmann::json::parse(hopeless.to_json())["verified"].is_null());
  std::ostringstream text;
  text << easy;
  CHECK(text.str().find("1 thread predicts 64 rows") == 0);
}

TEST_CASE("unusable input is refused") {
  const Fixture f;
  CHECK_THROWS_AS(measure_latency(f.model, f.data.take(std::vector<std::size_t>{}), 1), Error);
  CHECK_THROWS_AS(measure_latency(f.model, f.data, 0), Error);
  CHECK_THROWS_AS(measure_latency(f.model, f.data, 1, {.batch = 0}), Error);
  CHECK_THROWS_AS(measure_latency(f.model, f.data, 1, {.calls = 1}), Error);
  CHECK_THROWS_AS(recommend(f.model, f.data, 0), Error);
}
