#pragma once
// What the subcommands share: data arguments, progress on a terminal, output, exit codes.
#include <CLI/CLI.hpp>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "redoubt/core/progress.hpp"
#include "redoubt/data/dataset.hpp"
#include "redoubt/model/model.hpp"

namespace redoubt::cli {

/// Exit codes, listed by `redoubt --help`.
enum Exit : int {
  done = 0,
  said_no = 1,      ///< a check, a gate or a self-test says no
  usage = 2,        ///< the command line is wrong
  bad_input = 3,    ///< a file cannot be used as asked
  system_error = 4  ///< the operating system refused, or a bug
};

struct DataArguments {
  std::string file, target, source, time, weight, delimiter, target_suffix;
  std::vector<std::string> ignore, types;
  bool strict = false, no_quotes = false, no_header = false;
};

/// Adds FILE, --target, --source, ... to a subcommand.
void add_data_arguments(CLI::App& app, DataArguments& arguments, bool needs_target);
Dataset read(const DataArguments& arguments);

/// Settings of an estimator given as --set name=value.
using Settings = std::map<std::string, std::string>;
Settings parse_settings(const std::vector<std::string>& assignments);
/// Names of the estimators that `fit` knows.
const std::vector<std::string>& estimators();
/// Error(invalid_argument) naming the setting that this estimator does not have, and those it has.
Model fit(const std::string& estimator, const Dataset& data, Settings settings, ProgressSink* progress);

/// A line on stderr that moves; silent when stderr is not a terminal.
class TerminalProgress final : public ProgressSink {
 public:
  void update(std::string_view stage, std::size_t done, std::size_t total) override;
};

/// Prints `json` to stdout, indented.
void print(const nlohmann::json& json);
/// Prints what was quarantined, at most `most` lines, to stderr.
void print_quarantine(const Dataset& data, std::size_t most = 10);
nlohmann::json describe(const Schema& schema);

// The subcommands; each adds itself to the app and runs when it was chosen.
void add_train(CLI::App& app, int& exit_code);
void add_evaluate(CLI::App& app, int& exit_code);
void add_predict(CLI::App& app, int& exit_code);
void add_screen(CLI::App& app, int& exit_code);
void add_import(CLI::App& app, int& exit_code);
void add_inspect(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_lineage(CLI::App& app, int& exit_code);
void add_serve(CLI::App& app, int& exit_code);

}  // namespace redoubt::cli
