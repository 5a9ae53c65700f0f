// Where the job's data comes from: the simulated marketplace, or the user's file with label flips planted into it.
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "job.hpp"

namespace job {

namespace {

[[noreturn]] void usage(const char* program, int code) {
  std::fprintf(code == 0 ? stdout : stderr,
               "usage: %s [FILE --target COLUMN [--source COLUMN] [--time COLUMN]] [--goal FILE] [--out FOLDER]\n"
               "          [--no-quotes] [--no-header] [--target-suffix TEXT]\n"
               "Without FILE: a simulated marketplace.\n",
               program);
  std::exit(code);
}

/// A copy of the target column in which every row of `positions` has another class (or, for regression, the value of
/// another row).
Column turn(const Column& target, const std::vector<std::size_t>& positions, std::uint64_t seed) {
  Random random(seed);
  Column turned = target;
  const std::size_t classes = target.spec.categories.size();
  for (std::size_t row : positions) {
    if (target.spec.type == ColumnType::categorical) {
      if (target.codes[row] >= 0 && classes > 1)
        turned.codes[row] = static_cast<std::int32_t>((target.codes[row] + 1 + random.below(classes - 1)) % classes);
    } else {
      turned.numbers[row] = target.numbers[random.below(target.size())];
    }
  }
  return turned;
}

/// A seeded choice of `share` of the positions 0..rows-1, ascending.
std::vector<std::size_t> choose(std::size_t rows, double share, std::uint64_t seed) {
  Random random(seed);
  std::vector<std::size_t> chosen;
  for (std::size_t row = 0; row < rows; ++row)
    if (random.uniform() < share) chosen.push_back(row);
  return chosen;
}

Column target_of(const Dataset& data) { return data.column(data.schema().find(ColumnRole::target)); }

Input simulated_input(const Arguments& arguments) {
  const Marketplace market = generate_marketplace({.seed = 2026});
  const std::string path = arguments.out + "/marketplace.csv";
  write_marketplace_csv(market, path);
  Input input;
  input.simulated = true;
  input.origin = path;
  input.data = read_csv(path, marketplace_csv_options());
  input.planted = "SIMULATED marketplace: one bought five-star campaign, one one-star brigade, mislabelled rows";
  input.poisoned = market.poisoned();
  std::sort(input.poisoned.begin(), input.poisoned.end());
  input.true_target = target_of(market.with_true_labels(input.data));
  return input;
}

Input file_input(const Arguments& arguments) {
  CsvOptions options;
  options.target = arguments.target;
  options.source = arguments.source;
  options.time = arguments.time;
  options.target_suffix = arguments.target_suffix;
  options.quoting = !arguments.no_quotes;
  if (arguments.no_header) options.header = Header::absent;
  Input input;
  input.origin = arguments.file;
  input.data = read_file(arguments.file, options);
  if (input.data.task() == Task::none) {
    std::fprintf(stderr, "%s has no target column; name one with --target\n", arguments.file.c_str());
    std::exit(3);
  }
  if (input.data.schema().find(ColumnRole::source) == Schema::npos) {
    // Without accounts the delivery is the smallest unit that can be traced: this file is one.
    std::vector<Column> columns;
    for (std::size_t c = 0; c < input.data.cols(); ++c) columns.push_back(input.data.column(c));
    Column delivery;
    delivery.spec = {"delivery", ColumnType::categorical, ColumnRole::source, {"first"}};
    delivery.codes.assign(input.data.rows(), 0);
    columns.push_back(std::move(delivery));
    input.data = Dataset(std::move(columns), {input.data.row_ids().begin(), input.data.row_ids().end()})
                     .with_quarantine(input.data.quarantine());
  }
  input.true_target = target_of(input.data);
  if (input.data.task() != Task::classification) {
    input.planted = "nothing (flips need classes)";
    return input;
  }
  const PlantedFlips planted = plant_flips(input.data, {.flip_rate = 0.05, .source_rate = 0.0, .seed = 1});
  input.planted = "label flips, 5 % of the rows at random, planted into a copy of the file";
  input.poisoned = planted.random;
  std::sort(input.poisoned.begin(), input.poisoned.end());
  input.data = planted.data;
  return input;
}

}  // namespace

Arguments parse(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    auto value = [&]() -> std::string {
      if (i + 1 == argc) usage(argv[0], 2);
      return argv[++i];
    };
    if (name == "--target")
      arguments.target = value();
    else if (name == "--source")
      arguments.source = value();
    else if (name == "--time")
      arguments.time = value();
    else if (name == "--goal")
      arguments.goal = value();
    else if (name == "--out")
      arguments.out = value();
    else if (name == "--target-suffix")
      arguments.target_suffix = value();
    else if (name == "--no-quotes")
      arguments.no_quotes = true;
    else if (name == "--no-header")
      arguments.no_header = true;
    else if (name == "--help" || name == "-h")
      usage(argv[0], 0);
    else if (name.starts_with("--") || !arguments.file.empty())
      usage(argv[0], 2);
    else
      arguments.file = name;
  }
  if (arguments.file.empty() && !(arguments.target.empty() && arguments.source.empty() && arguments.time.empty()))
    usage(argv[0], 2);
  return arguments;
}

bool Input::is_poisoned(RowId row) const { return std::binary_search(poisoned.begin(), poisoned.end(), row); }

Dataset Input::with_true_labels(const Dataset& rows) const {
  std::vector<std::size_t> positions;
  const auto ids = data.row_ids();  // ascending: row ids are line numbers
  for (RowId id : rows.row_ids())
    positions.push_back(static_cast<std::size_t>(std::lower_bound(ids.begin(), ids.end(), id) - ids.begin()));
  return rows.with_column(true_target.take(positions));
}

Input read_input(const Arguments& arguments) {
  return arguments.file.empty() ? simulated_input(arguments) : file_input(arguments);
}

Split make_split(const Input& input, std::string& how) {
  const bool has_time = !input.data.times().empty();
  const bool has_sources = input.data.source_names().size() >= 10;
  Split split;
  if (has_time && has_sources) {
    how = "the latest rows of sources that training does not contain";
    split = split_by_source_and_time(input.data, 0.25, 7);
  } else if (has_time) {
    how = "the latest rows";
    split = split_by_time(input.data, 0.2);
  } else if (has_sources) {
    how = "whole sources";
    split = split_by_source(input.data, 0.2, 7);
  } else {
    how = "a stratified fifth of the rows (the file has neither time nor several sources)";
    split = split_stratified(input.data, 0.2, 7);
  }
  split.second = input.with_true_labels(split.second).seal();
  return split;
}

PoisonFound compare(const Input& input, const Dataset& train, const std::vector<RowId>& blocked) {
  std::vector<RowId> sorted = blocked;
  std::sort(sorted.begin(), sorted.end());
  PoisonFound found;
  for (RowId row : train.row_ids()) {
    const bool flagged = std::binary_search(sorted.begin(), sorted.end(), row);
    if (input.is_poisoned(row)) {
      ++found.planted;
      found.found += flagged;
    } else {
      ++found.clean;
      found.false_alarms += flagged;
    }
  }
  if (found.planted) found.recall = static_cast<double>(found.found) / static_cast<double>(found.planted);
  if (found.clean)
    found.false_positive_rate = static_cast<double>(found.false_alarms) / static_cast<double>(found.clean);
  return found;
}

Dataset with_poisoned_delivery(const Dataset& train, std::vector<std::string>& sources) {
  const auto chosen = choose(train.rows(), 0.6, 3);
  const Dataset copies = train.take(chosen);
  std::vector<std::size_t> all(copies.rows());
  for (std::size_t row = 0; row < all.size(); ++row) all[row] = row;
  sources = {"late-delivery-1", "late-delivery-2", "late-delivery-3"};
  std::vector<Column> columns;
  for (std::size_t c = 0; c < copies.cols(); ++c) {
    Column column = copies.column(c);
    if (column.spec.role == ColumnRole::target) column = turn(column, all, 4);
    if (column.spec.role == ColumnRole::source) {
      column.spec.categories = sources;
      for (std::size_t row = 0; row < copies.rows(); ++row) column.codes[row] = static_cast<std::int32_t>(row % 3);
    }
    columns.push_back(std::move(column));
  }
  const RowId first = *std::max_element(train.row_ids().begin(), train.row_ids().end()) + 1'000'000;
  std::vector<RowId> ids(copies.rows());
  for (std::size_t row = 0; row < ids.size(); ++row) ids[row] = first + row;
  return Dataset::concat(train, Dataset(std::move(columns), std::move(ids)));
}

std::string goal_path(const Arguments& arguments, const Input& input, const Dataset& train) {
  if (!arguments.goal.empty()) {
    // A broken file is said now, not after training; a missing one is for the gate to refuse.
    if (std::filesystem::exists(arguments.goal)) Goal::read(arguments.goal);
    return arguments.goal;
  }
  if (input.simulated) return REDOUBT_MARKETPLACE_GOAL;
  const std::string path = arguments.out + "/goal.json";
  Goal goal;
  goal.target = input.true_target.spec.name;
  goal.latency_budget_us = 2000;
  const std::size_t class_count = input.true_target.spec.categories.size();
  if (train.task() == Task::classification && class_count > 2) {
    // ROC AUC hardly moves with many classes: ask for half the log loss of guessing, and watch its rise.
    goal.metric = "log_loss";
    goal.threshold = 0.5 * std::log(static_cast<double>(class_count));
    goal.max_regression = 0.05;
    std::ofstream(path) << goal.to_json() << '\n';
    std::printf("no goal file was given: wrote %s (log_loss at most %.3f)\n", path.c_str(), goal.threshold);
    return path;
  }
  // Ask for what a plain linear model reaches on a fifth of the training rows, less a margin.
  const auto [fit, check] = train.split(0.2, 11);
  const bool classes = train.task() == Task::classification;
  const Model baseline = classes ? LogisticRegression{}.fit(fit) : Ridge{}.fit(fit);
  goal.metric = classes ? "roc_auc" : "rmse";
  const double reached = baseline.evaluate(check).value(goal.metric);
  goal.threshold = classes ? reached - 0.05 : reached * 1.05;
  goal.max_regression = classes ? 0.01 : reached * 0.02;
  std::ofstream(path) << goal.to_json() << '\n';
  std::printf("no goal file was given: wrote %s from a linear baseline (%s %.4f)\n", path.c_str(), goal.metric.c_str(),
              reached);
  return path;
}

}  // namespace job
