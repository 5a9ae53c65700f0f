#include "redoubt/serve/observer.hpp"

#include <catch2/catch.hpp>

#include "lifecycle/sample.hpp"
#include "redoubt/data/encoder.hpp"
#include "redoubt/robustness/monitor/query_monitor.hpp"

using namespace redoubt;

TEST_CASE("a monitor observer hands every row to its monitor, callers apart") {
  const auto data = test::sample_rows(400, 1);
  const auto model = test::sample_model(data);
  QueryMonitor monitor(data);
  MonitorObserver observer(monitor);
  std::vector<float> raw(model.inputs());
  model.encoder().raw_row(data.row(7), raw);
  for (int i = 0; i < 100; ++i) {
    raw[0] += 1e-4f;
    observer.observe("prober", std::span<const float>(raw));
  }
  CHECK(monitor.queries() == 100);
  CHECK(monitor.suspicious() > 0);
  REQUIRE_FALSE(monitor.alarms().empty());
  observer.observe("somebody", data.row(3));
  CHECK(monitor.queries() == 101);
}
