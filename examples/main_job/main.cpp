// The whole job, once: read, split, screen, train, evaluate, attack, gate, publish, serve, notice a prober, refuse a
// poisoned retraining, see what happens if it is forced, trace it, roll back, and size the machine.
//   main_job                                              a simulated marketplace
//   main_job FILE --target COLUMN [--source COLUMN] [--time COLUMN]
#include <redoubt/advisor/advisor.hpp>
#include <redoubt/redoubt.hpp>
#include <redoubt/serve/observer.hpp>
#include <redoubt/serve/server.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "job.hpp"

namespace {

using namespace redoubt;

/// Numbers the stages on stdout.
void stage(const char* title) {
  static int number = 0;
  std::printf("\n%2d. %s\n", ++number, title);
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

std::string with_interval(const Evaluation& evaluation, const std::string& metric) {
  char text[128];
  if (evaluation.has_interval(metric)) {
    const Interval interval = evaluation.interval(metric);
    std::snprintf(text, sizeof text, "%s %.4f (95 %%: %.4f to %.4f)", metric.c_str(), evaluation.value(metric),
                  interval.low, interval.high);
  } else {
    std::snprintf(text, sizeof text, "%s %.4f", metric.c_str(), evaluation.value(metric));
  }
  return text;
}

void figure(const char* name, double value) { std::printf("figure %s %.6g\n", name, value); }

/// A boundary search in miniature: one row again and again, with two numbers moved a little each time.
Dataset probing_rows(const Dataset& rows, std::size_t queries) {
  const std::size_t victim = 0;
  std::vector<Column> columns;
  std::vector<std::size_t> numeric;
  for (std::size_t c = 0; c < rows.cols(); ++c) {
    if (rows.schema()[c].type == ColumnType::numeric && rows.schema()[c].role == ColumnRole::feature)
      numeric.push_back(c);
    columns.push_back(rows.column(c).take(std::vector<std::size_t>(queries, victim)));
  }
  Random random(21);
  for (std::size_t query = 0; query < queries && !numeric.empty(); ++query)
    for (int change = 0; change < 2; ++change) {
      double& value = columns[numeric[random.below(numeric.size())]].numbers[query];
      value += 0.02 * random.normal() * (std::abs(value) + 1.0);
    }
  return Dataset(std::move(columns));
}

/// What serving looks like: ordinary callers, and after a while the prober in between. The service answers them all and
/// the monitor looks on; nobody is told.
struct Traffic {
  std::size_t ordinary = 0, ordinary_alarms = 0;
  std::size_t noticed_at = 0;  ///< the prober's query at which the monitor first spoke up; 0: never
};

Traffic serve_with_prober(job::Client& client, const Model& model, QueryMonitor& monitor, const Dataset& rows,
                          std::size_t queries) {
  const Dataset probes = probing_rows(rows, queries);
  Traffic traffic;
  traffic.ordinary = std::min<std::size_t>(2 * queries, rows.rows());
  for (std::size_t turn = 0; turn < traffic.ordinary; ++turn) {
    const std::string caller = rows.sources().empty()
                                   ? std::to_string(turn)
                                   : rows.source_names()[static_cast<std::size_t>(rows.sources()[turn])];
    std::uint64_t alarms = monitor.suspicious();
    client.ask(model, rows.row(turn), caller);
    traffic.ordinary_alarms += monitor.suspicious() - alarms;
    if (turn % 2 == 0 && turn / 2 < queries) {
      alarms = monitor.suspicious();
      client.ask(model, probes.row(turn / 2), "prober");
      if (monitor.suspicious() > alarms && traffic.noticed_at == 0) traffic.noticed_at = turn / 2 + 1;
    }
  }
  return traffic;
}

/// Sources of `after` that `before` does not know, with their rows: what a release was trained on beyond the last one.
std::map<std::string, std::size_t> new_sources(const DatasetRows& before, const DatasetRows& after) {
  std::map<std::string, std::size_t> counts;
  for (std::int32_t source : after.sources)
    if (source >= 0) ++counts[after.source_names[static_cast<std::size_t>(source)]];
  for (std::int32_t source : before.sources)
    if (source >= 0) counts.erase(before.source_names[static_cast<std::size_t>(source)]);
  return counts;
}

int run(const job::Arguments& arguments) {
  const auto start = std::chrono::steady_clock::now();
  std::filesystem::create_directories(arguments.out);
  std::filesystem::remove_all(arguments.out + "/workspace");
  Workspace workspace = Workspace::open(arguments.out + "/workspace", {.actor = "main_job"});
  Registry registry = workspace.registry();
  Run release = workspace.begin_run("release");

  stage("Read and check the schema");
  const job::Input input = job::read_input(arguments);
  std::printf("    %s: %zu rows, %zu columns; planted: %s\n", input.origin.c_str(), input.data.rows(),
              input.data.cols(), input.planted.c_str());
  for (const QuarantinedRow& row : input.data.quarantine())
    std::printf("    quarantined %s:%zu field %zu: %s\n", row.file.c_str(), row.line, row.column, row.reason.c_str());
  {
    RunStage read =
        release.begin_stage("read", {{"file", input.origin}, {"quarantined", input.data.quarantine().size()}});
    read.output(input.data, {.name = "all", .origin = input.origin});
    read.complete();
  }

  stage("Split without leakage");
  std::string how;
  const auto [train, holdout] = job::make_split(input, how);
  std::printf("    %zu rows to train on, %zu sealed (%s; labels trusted)\n", train.rows(), holdout.rows(), how.c_str());
  {
    RunStage splitting = release.begin_stage("split", {{"how", how}});
    splitting.input(input.data, {.name = "all", .origin = input.origin, .role = "offered"});
    splitting.output(train, {.name = "offered", .origin = input.origin, .role = "offered"});
    splitting.output(holdout, {.name = "holdout", .origin = input.origin});
    splitting.complete();
  }
  const std::string goal_path = job::goal_path(arguments, input, train);

  stage("Screen for poison, per row and per source");
  const auto screen_start = std::chrono::steady_clock::now();
  ScreenReport report = screen(train);
  const double screen_seconds = seconds_since(screen_start);
  if (train.task() == Task::classification) calibrate(report, train);
  std::cout << report;
  const job::PoisonFound found = job::compare(input, train, report.blocked());
  std::printf("    planted poison found: %zu of %zu (recall %.3f), false alarms %zu of %zu (%.4f), %.1f s\n",
              found.found, found.planted, found.recall, found.false_alarms, found.clean, found.false_positive_rate,
              screen_seconds);
  const Dataset screened = train.without(report.blocked());
  {
    RunStage screening = release.begin_stage("screen");
    screening.input(train, {.name = "offered", .origin = input.origin, .role = "offered"});
    screening.verdict("screen", report.to_json());
    screening.output(screened, {.name = "train", .origin = input.origin});
    screening.complete();
  }

  stage("Train a GradientBoosting and an Mlp");
  std::vector<Model> models;
  for (const bool boosting : {true, false}) {
    RunStage training = release.begin_stage("train");
    training.input(screened, {.name = "train", .origin = input.origin});
    const Model fitted = boosting ? GradientBoosting{{.trees = 150, .seed = 1}}.fit(screened)
                                  : Mlp{{.hidden = {32}, .epochs = 12, .patience = 3, .seed = 1}}.fit(screened);
    models.push_back(training.output(fitted, fitted.info().algorithm));
    training.complete();
    std::printf("    %s: %s\n", fitted.info().algorithm.c_str(), fitted.info().options.c_str());
  }

  stage("Evaluate on the sealed holdout");
  std::vector<Evaluation> evaluations;
  const std::string metric = train.task() == Task::classification ? "roc_auc" : "rmse";
  for (const Model& model : models) {
    evaluations.push_back(model.evaluate(holdout));
    RunStage evaluation = release.begin_stage("evaluate");
    evaluation.input(model);
    evaluation.input(holdout, {.name = "holdout", .origin = input.origin});
    evaluation.metric(model.info().algorithm + "." + metric, evaluations.back().value(metric));
    evaluation.complete();
    std::printf("    %-18s %s\n", model.info().algorithm.c_str(), with_interval(evaluations.back(), metric).c_str());
  }
  const bool first_is_better =
      (evaluations[0].value(metric) >= evaluations[1].value(metric)) != lower_is_better(metric);
  const Model candidate = models[first_is_better ? 0 : 1];
  const Evaluation& evaluation = evaluations[first_is_better ? 0 : 1];
  std::cout << evaluation << '\n';

  stage("Robustness curve");
  const SensitivityReport curve = sensitivity(candidate, holdout, {.metric = metric, .max_rows = 500});
  std::cout << curve;
  {
    RunStage robustness = release.begin_stage("robustness");
    robustness.input(candidate);
    robustness.input(holdout, {.name = "holdout", .origin = input.origin});
    robustness.verdict("sensitivity", curve.to_json());
    robustness.complete();
  }

  stage("Gate and publish");
  const GateReport gate_report = gate(candidate, Model{}, holdout, goal_path);
  {
    RunStage gating = release.begin_stage("gate", {{"goal", goal_path}});
    gating.input(candidate);
    gating.verdict("gate", gate_report.to_json());
    gating.complete();
  }
  release.complete();
  std::cout << gate_report;
  if (!gate_report.passed()) {
    std::printf("    the gate says no: nothing is published\n");
    return 1;
  }
  const std::string name = "model";
  const ModelVersion published = registry.publish(name, candidate, gate_report);
  std::printf("    published %s version %llu, hash %.12s\n", name.c_str(),
              static_cast<unsigned long long>(published.version), published.model_hash.c_str());

  stage("Serve it, and compare with the answers in process");
  Model live = registry.load(name);
  QueryMonitor monitor(screened);
  MonitorObserver observer(monitor);
  ServerOptions server_options;
  server_options.caller_header = "X-Caller";
  server_options.observer = &observer;
  Server server(server_options);
  server.set_model(name, live, std::to_string(published.version));
  job::Client client(server.port(), name);
  const std::size_t asked = std::min<std::size_t>(50, holdout.rows());
  std::size_t equal = 0;
  for (std::size_t row = 0; row < asked; ++row)
    equal += client.ask(live, holdout.row(row), "comparison") == live.predict_proba(holdout.row(row));
  const bool healthy = client.healthy();
  std::printf("    %s: %s; %zu of %zu answers equal those in process to the last bit\n", server.url().c_str(),
              healthy ? "healthy" : "NOT healthy", equal, asked);

  stage("Predict single rows, while a prober asks near-identical questions");
  const Traffic traffic = serve_with_prober(client, live, monitor, holdout, 300);
  std::printf(
      "    %zu ordinary queries: %zu alarms; the prober: %s\n", traffic.ordinary, traffic.ordinary_alarms,
      traffic.noticed_at ? ("noticed at its query " + std::to_string(traffic.noticed_at)).c_str() : "not noticed");
  std::cout << monitor.verdict() << '\n';
  {
    Run operation = workspace.begin_run("operation", {.parent_model = published.model_hash});
    RunStage serving = operation.begin_stage("serve", {{"url", server.url()}});
    serving.input(live);
    serving.metric("answers_equal_in_process", static_cast<double>(equal));
    serving.verdict("query_monitor", monitor.verdict().to_json());
    serving.complete();
    operation.complete();
  }

  stage("Retrain on poisoned data: what the gate says");
  std::vector<std::string> attackers;
  const Dataset poisoned = job::with_poisoned_delivery(screened, attackers);
  Run retraining = workspace.begin_run("poisoned retraining", {.parent_model = published.model_hash});
  Model worse;
  {
    RunStage training = retraining.begin_stage("train");
    training.input(poisoned, {.name = "train", .origin = input.origin});
    worse = training.output(GradientBoosting{{.trees = 150, .seed = 1}}.fit(poisoned), "gradient_boosting");
    training.complete();
  }
  const GateReport refusal = gate(worse, live, holdout, goal_path);
  retraining.complete();
  std::cout << refusal;
  bool refused = false;
  ModelVersion forced;
  try {
    forced = registry.publish(name, worse, refusal);
  } catch (const Error& error) {
    if (error.code() != errc::refused) throw;
    refused = true;
    std::printf("    %s\n", error.what());
  }

  stage("Force it out, see quality fall, trace it, roll back");
  if (refused)
    forced =
        registry.publish(name, worse, refusal, {.actor = "main_job", .force = true, .reason = "to show the damage"});
  live = registry.load(name);
  server.set_model(name, live, std::to_string(forced.version));
  const Evaluation damaged = live.evaluate(holdout);
  std::printf("    live now: version %llu, %s\n", static_cast<unsigned long long>(forced.version),
              with_interval(damaged, metric).c_str());
  const ModelOrigin now = workspace.origin(forced.model_hash), before = workspace.origin(published.model_hash);
  const auto suspects =
      new_sources(workspace.rows_of(before.trained_on.at(0).hash), workspace.rows_of(now.trained_on.at(0).hash));
  std::size_t traced = 0;
  for (const auto& [source, rows] : suspects) {
    const DataImpact impact = workspace.impact_of_source(source);
    std::printf("    new in its training data: source %s, %zu rows; it reached %zu model(s), releases:", source.c_str(),
                rows, impact.models.size());
    for (const std::string& reached : impact.releases) std::printf(" %s", reached.c_str());
    std::printf("\n");
    traced += std::count(attackers.begin(), attackers.end(), source);
  }
  std::printf("    sources traced: %zu of %zu\n", traced, attackers.size());
  registry.rollback(name, "quality fell; traced to new sources");
  live = registry.load(name);
  server.set_model(name, live, std::to_string(published.version));
  const bool restored = live.hash() == published.model_hash &&
                        live.evaluate(holdout).value(metric) == evaluation.value(metric) &&
                        client.ask(live, holdout.row(0), "comparison") == live.predict_proba(holdout.row(0));
  server.stop();
  const LogCheck log = workspace.verify_log();
  std::printf("    rolled back: %s; the log of %llu entries is %s\n",
              restored ? "the first model answers again, same bytes, same quality" : "FAILED",
              static_cast<unsigned long long>(log.entries), log.intact ? "intact" : log.reason.c_str());

  stage("Latency, and the smallest machine that meets the goal");
  const Goal goal = Goal::read(goal_path);
  const Recommendation advice = recommend(live, holdout, goal.latency_budget_us);
  std::cout << advice;
  {
    Run sizing = workspace.begin_run("sizing", {.parent_model = published.model_hash});
    RunStage measuring = sizing.begin_stage("latency", {{"budget_us", goal.latency_budget_us}});
    measuring.input(live);
    measuring.verdict("advice", advice.to_json());
    measuring.complete();
    sizing.complete();
  }

  const std::string html_path = arguments.out + "/report.html";
  job::write_report({input, report, found, evaluation, curve, gate_report, refusal, damaged, monitor.verdict(),
                     workspace.lineage_graph()},
                    html_path);

  std::printf("\nReport: %s\n", html_path.c_str());
  figure("main.poison.recall", found.recall);
  figure("main.poison.false_positive_rate", found.false_positive_rate);
  figure(train.task() == Task::classification ? "main.test.roc_auc" : "main.test.rmse", evaluation.value(metric));
  figure("main.prober.noticed", traffic.noticed_at > 0);
  figure("main.gate.refused_poisoned", refused);
  figure("main.rollback.restored", restored);
  figure("main.seconds", seconds_since(start));
  return equal == asked && healthy && refused && restored ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const job::Arguments arguments = job::parse(argc, argv);
  try {
    return run(arguments);
  } catch (const redoubt::Error& error) {
    std::fprintf(stderr, "main_job: %s\n", error.what());
    return 3;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "main_job: %s\n", error.what());
    return 4;
  }
}
