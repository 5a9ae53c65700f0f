// A prediction service inside the process: a rate limit before it, a guard that mends impossible rows, and a monitor
// that notices probing and stays silent about it.
#include <redoubt/redoubt.hpp>

int main() {
  const auto data = redoubt::generate_tabular(4000);
  const auto model = redoubt::GradientBoosting{{.trees = 50}}.fit(data);
  redoubt::QueryMonitor monitor(data);
  redoubt::MonitorObserver observer(monitor);
  redoubt::InputGuard guard(model.encoder(), data, {.range = redoubt::GuardAction::clip});
  redoubt::RateLimiter limiter({.rows_per_second = 50, .all_rows_per_second = 5000});
  redoubt::ServerOptions options;
  options.observer = &observer;
  options.guard = &guard;
  options.gatekeeper = &limiter;
  redoubt::Server server(options);
  server.set_model("clicks", model);
  std::cout << "serving " << server.url() << "/v2/models/clicks/infer\n";

  // The same monitor also takes queries that are predicted in process: here one that walks along a boundary.
  std::vector<float> row(model.inputs());
  model.encoder().raw_row(data.row(0), row);
  for (int query = 0; query < 200; ++query) {
    row[static_cast<std::size_t>(query) % row.size()] += 0.01f;
    monitor.observe(/*caller=*/42, row);
  }
  std::cout << monitor.verdict() << '\n';
  server.stop();
  return monitor.suspicious() > 0 ? 0 : 1;
}
